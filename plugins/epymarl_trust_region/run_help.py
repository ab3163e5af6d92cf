"""What `epymarl-tr run --help` prints: the flags and all names; and of one algorithm or environment every key.

Keys are said in the words of the yaml files: their comments, defaults, and the ranges that are checked.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .config import key, kinds, nearest
from .configuration import config_files
from .errors import ConfigError
from .run_config import RunConfig
from .suite import algorithms
from .suite.host import config_root
from .suite.selection import HostFiles

_SECTION = re.compile(r"# --- (.+?)(?: -+)?$")
_KEY = re.compile(r"""( *)(\w+):\s*("[^"]*"|'[^']*'|[^#]*?)\s*(?:#\s*(.*))?$""")
_WORDS = {int: "whole number", float: "number", bool: "True, False", str: "word", dict: "{key: value, ...}"}
_EXAMPLES = {
    "gymma": "--env-config=gymma with env_args.key=pz-mpe-simple-spread-v3 env_args.time_limit=25",
    "mamujoco": "--env-config=mamujoco with env_args.scenario=HalfCheetah env_args.partition=6x1",
    "smax": "--env-config=smax with env_args.map_name=3m",
}


@dataclass
class Key:
    """A key of a yaml file: its dotted name, its default as it stands there, and its comment."""

    name: str
    default: str
    comment: str
    section: str


def read_keys(text: str) -> tuple[list[str], list[Key]]:
    """The lines at the head of a yaml file, and its keys. Comments stand behind a key, or above it."""
    head: list[str] = []
    found: list[Key] = []
    above: list[str] = []
    section, parents = "", [""]
    for line in text.splitlines():
        if match := _SECTION.match(line):
            section, above = match[1].strip(" -"), []
        elif line.lstrip().startswith("#"):
            words = line.lstrip(" #")
            indent = len(line) - len(line.lstrip())
            if not found and not indent:
                head.append(line[1:].removeprefix(" "))
            elif found and indent > 12:  # goes on from the line before
                found[-1].comment += f" {words}"
            else:
                above.append(words)
        elif match := _KEY.match(line):
            depth = len(match[1]) // 2
            parents[depth + 1 :] = [match[2]]
            name = ".".join([*parents[1 : depth + 1], match[2]])
            comment = " ".join([*above, match[4] or ""]).strip()
            found.append(Key(name, match[3], comment, section))
            above = []
        else:
            above = []
    return head, found


def print_help(parser: argparse.ArgumentParser, name: str, host: HostFiles) -> None:
    """The flags and all names, or what there is to say of one of them.

    Args:
        name: of an algorithm or an environment; empty for all.

    Raises:
        ConfigError: no such name.
    """
    width = max(shutil.get_terminal_size((120, 24)).columns, 80)
    console = Console(width=width, highlight=False, soft_wrap=False, emoji=False, markup=False)
    files = {kind: config_files(host, kind) for kind in ("algs", "envs")}
    if not name:
        _all(console, parser, files, host)
        return
    for kind in ("algs", "envs"):
        if name in files[kind]:
            _one(console, name, kind, files[kind][name], host)
            return
    known = [*files["algs"], *files["envs"]]
    raise ConfigError(
        f"--help {name}: no such algorithm or environment{nearest(name, known)}; see epymarl-tr run --help"
    )


def _all(console: Console, parser: argparse.ArgumentParser, files: dict[str, dict[str, Path]], host: HostFiles) -> None:
    console.print(parser.format_help())
    for kind, title in (("algs", "algorithms (--config)"), ("envs", "environments (--env-config)")):
        table = Table(title=title, title_justify="left", title_style="", box=None, show_header=False)
        others: dict[str, list[str]] = {}
        for name, file in sorted(files[kind].items()):
            if owner := _owner(name, file):
                others.setdefault(owner, []).append(name)
            else:
                table.add_row(Text(name, "bold"), _first_sentence(read_keys(file.read_text())[0]))
        for owner, names in others.items():
            table.add_row(f"of {owner}", ", ".join(names))
        console.print(table)
        console.print()
    if host.name == "lite":
        console.print("The suite's own, qmix and others, need EPyMARL: epymarl-tr suite fetch")
    console.print("epymarl-tr run --help NAME: every key of one of them, with its default, range and meaning.")


def _first_sentence(lines: list[str]) -> str:
    text = "\n".join(lines).partition("\n ")[0]  # a reference is set in
    return " ".join(text.split()).partition(". ")[0].removesuffix(".")


def _owner(name: str, file: Path) -> str | None:
    """Whose an algorithm or environment is; None: this plugin's."""
    if config_root() in file.parents and config_root() / "lite" not in file.parents:
        return None
    if algorithms.algorithm_files().get(name) == file:
        return algorithms.listing().owner("algorithm", name)
    return "the built-in suite" if config_root() in file.parents else "EPyMARL"


def _one(console: Console, name: str, kind: str, file: Path, host: HostFiles) -> None:
    head, keys = read_keys(file.read_text())
    console.print("\n".join(head).strip(), end="\n\n" if head else "")
    learner = next((one.default.strip("\"'") for one in keys if one.name == "learner"), None)
    offline = learner in algorithms.offline_learners()
    console.print(_example(name, kind, offline), soft_wrap=True)
    ranges = _ranges(RunConfig)
    if schema := algorithms.schema_of(learner):
        ranges |= _ranges(schema)
    _print_keys(console, keys, ranges)
    if kind == "algs" and not offline:
        seen = {one.name for one in keys}
        for more in (config_root() / "run.yaml", host.config_dir / "default.yaml"):
            rest = [one for one in read_keys(more.read_text())[1] if one.name not in seen]
            for one in rest:
                one.section = f"Of every run ({more.name}; an environment's yaml has its say after it)"
            _print_keys(console, rest, ranges)
    console.print(f"From {file}; set any of them after `with`, as KEY=VALUE.", soft_wrap=True)


def _example(name: str, kind: str, offline: bool) -> str:
    if offline:
        return f"epymarl-tr offline --config={name} --data PATH\n"
    if kind == "algs":
        return f"epymarl-tr run --config={name} {_EXAMPLES['gymma']}\n"
    return f"epymarl-tr run --config=happo {_EXAMPLES.get(name, f'--env-config={name}')}\n"


def _print_keys(console: Console, keys: list[Key], ranges: dict[str, str]) -> None:
    sections = dict.fromkeys(one.section for one in keys)
    for section in sections:
        table = Table(box=None, pad_edge=False, title=section or None, title_justify="left", title_style="bold")
        for title in ("key", "default", "values", "meaning"):
            table.add_column(title, no_wrap=title == "key", style="bold" if title == "key" else "")
        for one in keys:
            if one.section == section and (one.default or one.comment):
                table.add_row(one.name, one.default, ranges.get(one.name, ""), one.comment)
        console.print(table)
        console.print()


def _ranges(schema: type[Any]) -> dict[str, str]:
    """What each key may be, in words."""
    return {f.name: " or ".join(_values(f, kinds(cast(Any, schema))[f.name])) for f in dataclasses.fields(schema)}


def _values(f: dataclasses.Field, kind: type) -> Iterator[str]:
    meta = f.metadata or key().metadata
    bounds = [f"{sign} {bound:g}" for sign, bound in meta["bounds"].items() if bound is not None]
    yield ", ".join(meta["choices"]) if meta["choices"] else " ".join([_WORDS[kind], ", ".join(bounds)]).strip()
    if meta["auto"]:
        yield "auto"
    if meta["optional"]:
        yield "None"
