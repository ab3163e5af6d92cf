"""What `watch` and `crossplay` take alike: their flags before `with`, keys after it, which actions, whole numbers."""

from __future__ import annotations

import argparse
from typing import Any

from .. import command_line
from ..config_files import split
from ..configuration import overrides
from ..errors import ConfigError


class Parser(command_line.Parser):
    """One that is asked for flags, and for keys after `with`."""

    def add_actions(self, otherwise: str) -> None:
        """`--greedy` and `--sample`, into `actions`."""
        self.add_argument(
            "--greedy", dest="actions", action="store_const", const="greedy", help="the likeliest actions"
        )
        text = f"sampled actions (default: as {otherwise})"
        self.add_argument("--sample", dest="actions", action="store_const", const="sample", help=text)

    def read(self, argv: list[str]) -> tuple[argparse.Namespace, dict[str, Any], bool | None]:
        """Flags, the flat keys after `with`, and whether the likeliest actions are wanted; None: nothing is said.

        Raises:
            ConfigError: a flag is unknown or out of range, or a word after `with` is no key=value.
        """
        at = argv.index("with") if "with" in argv else len(argv)
        options, settings = self.parse_args(argv[:at]), argv[at:]
        if files := split(settings)[1]:
            raise ConfigError(f"`{files[0]}` in the command line is no key=value; correct it")
        return options, overrides(settings), {"greedy": True, "sample": False, None: None}[options.actions]


def whole(word: str) -> int:
    """From 0 on."""
    if not (word.isascii() and word.isdigit() and int(word) < 2**31):
        raise argparse.ArgumentTypeError(f"{word} is no whole number from 0 to {2**31 - 1}")
    return int(word)


def positive(word: str) -> int:
    """From 1 on."""
    if not (word.isascii() and word.isdigit() and 0 < int(word) < 2**31):
        raise argparse.ArgumentTypeError(f"{word} is no whole number from 1 on")
    return int(word)
