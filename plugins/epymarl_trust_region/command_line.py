"""What every command's flags are read with: argparse, which refuses in one line of ours and without its usage.

Nothing but the standard library is imported until something is refused: `doctor` is for broken installations.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import select
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

_NUMBERS = {"int": "whole number", "float": "number", "complex": "number"}
NOBODY_READS = 141  # exit code, 128 + SIGPIPE
_NEGATIVE = re.compile(r"-\.?\d")


def nobody_reads(pipe_broken: bool = False) -> bool:
    """Whether whoever read our output has closed it; what is still to be written then goes nowhere.

    Args:
        pipe_broken: a pipe has, which may have been another's; what could not be written is in no buffer any more.
    """
    if sys.stdout is None:
        return False
    try:
        sys.stdout.flush()
        closed = pipe_broken and _reader_is_gone(sys.stdout.fileno())
    except BrokenPipeError:
        closed = True
    except (OSError, ValueError):  # of no file, as a test's
        return False
    if closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return closed


def _reader_is_gone(pipe: int) -> bool:
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(pipe, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


class Parser(argparse.ArgumentParser):
    """One whose flags are written out, and whose errors name the flag, the nearest right one, and where help is."""

    def __init__(self, *, passes_on: bool = False, **options: Any) -> None:
        """
        Args:
            passes_on: words that it does not know are another's, who asks `check_flag`.
        """
        super().__init__(**{"allow_abbrev": False, **options})
        self._passes_on = passes_on

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            ConfigError: always.
        """
        from .errors import ConfigError

        raise ConfigError(self.in_words(message))

    def in_words(self, message: str) -> str:
        """argparse's message as one line of ours."""
        return f"{self._in_words(message)}; see {self.prog} --help"

    def parse_known_args(  # type: ignore[override]  # its types are those of three overloads
        self, args: Any = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """argparse's, after a look for flags that there are not: it would first ask for what is missing."""
        if self._passes_on:
            return super().parse_known_args(args, namespace)
        for word in self._before_others(args or ()):
            self.check_flag(word)
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"`{rest[0]}` is one word too many")
        return found, rest

    def _before_others(self, words: Sequence[str]) -> Iterable[str]:
        """The words that are this parser's: up to a command of its own, to `with`, and to `--`."""
        own_commands = next((a.choices for a in self._actions if isinstance(a, argparse._SubParsersAction)), {})
        for word in words:
            if word in ("with", "--") or word in own_commands:
                return
            yield word

    def check_flag(self, word: str, others: Iterable[str] = ()) -> None:
        """Refuse a word that looks like a flag and is none.

        Args:
            others: flags that somebody else reads.
        """
        flag, known = word.partition("=")[0], {*self._option_string_actions, *others}
        together = flag[:2] in known and flag[1:2] != "-"  # -jN
        if flag[:1] == "-" and flag != "-" and flag not in known and not together and not _NEGATIVE.match(flag):
            self.error(f"unknown flag {flag}{_nearest(flag, sorted(known))}")

    def _in_words(self, message: str) -> str:
        if match := re.fullmatch(r"the following arguments are required: (.*)", message):
            names = match[1].split(", ")
            return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} missing"
        match = re.fullmatch(r"argument ([^:]+): (.*)", message, re.DOTALL)
        if match is None:
            return " ".join(message.split())
        flag, what = match[1].split("/")[-1], " ".join(match[2].split())
        if value := re.fullmatch(r"invalid (\w+) value: '(.*)'", what):
            return f"{flag} {value[2]} is no {_NUMBERS.get(value[1], value[1])}"
        if value := re.fullmatch(r"invalid choice: '(.*?)' \(choose from (.*)\)", what):
            choices = value[2].replace("'", "").split(", ")
            return f"{flag} {value[1]} is none of {', '.join(choices)}{_nearest(value[1], choices)}"
        if re.match("expected (one|at least one|\\d+) argument", what):
            count = what.split()[1]
            return f"{flag} needs " + (f"{count} values" if count.isdigit() else "a value")
        if value := re.fullmatch(r"ignored explicit argument '(.*)'", what):
            return f"{flag} takes no value, and has {value[1]}"
        return f"{flag}: {what}"


def _nearest(word: str, known: Iterable[str]) -> str:
    match = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {match[0]}?)" if match else ""
