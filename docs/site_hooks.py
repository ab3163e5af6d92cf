"""Hooks of mkdocs for the site (`make docs`): pages lie in the repository as GitHub shows them, and link to its files.

What a page of docs/ links to outside of docs/ is taken into the site at its path in the repository, pages of results/
among it; a link to a folder becomes text. `<!-- keys: NAME -->` is replaced by the table of configs/algs/NAME.yaml.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from epymarl_trust_region.run_config import RunConfig
from epymarl_trust_region.run_help import _ranges, read_keys
from epymarl_trust_region.suite import algorithms

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
_LINK = re.compile(r"\[([^\[\]]*)\]\(([^)#:\s]+)(#[^)]*)?\)")
_CODE = re.compile(r"`[^`\n]+`")
_KEYS = re.compile(r"<!-- keys: (\w+) -->")


def on_files(files: Any, config: Any) -> Any:
    """mkdocs' event: files of the repository that pages link to are files of the site."""
    from mkdocs.structure.files import File

    own = [ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("results/*/README.md"))]
    for path in [*own, *linked([*sorted(DOCS.rglob("*.md")), *own])]:
        if files.get_file_from_path(path.relative_to(ROOT).as_posix()) is None:
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """mkdocs' event: links lead to where the site has what they name, and tables of keys are filled in."""
    uri = page.file.src_uri
    path = DOCS / uri if (DOCS / uri).exists() else ROOT / uri
    return bars(_KEYS.sub(lambda match: table_of_keys(match[1]), relinked(markdown, path)))


def linked(pages: list[Path]) -> list[Path]:
    """Files outside of docs/ that these pages link to, and those that such pages link to in turn."""
    waiting, found = list(pages), dict[Path, None]()
    while waiting:
        page = waiting.pop()
        for target in _targets(page):
            if target.is_file() and target not in found and not target.is_relative_to(DOCS) and not _is_front(target):
                found[target] = None
                waiting += [target] if target.suffix == ".md" else []
    return list(found)


def relinked(markdown: str, page: Path) -> str:
    """The text of a page, its links as the site needs them."""
    here = _in_site(page)

    def link(match: re.Match) -> str:
        text, target, anchor = match[1], (page.parent / match[2]).resolve(), match[3] or ""
        if not target.is_file():
            return text
        return f"[{text}]({os.path.relpath(_in_site(target), here.parent)}{anchor})"

    return _LINK.sub(link, markdown)


def bars(markdown: str) -> str:
    """In a table GitHub needs a backslash before a bar in code, which mkdocs would show."""
    return re.sub(
        r"^\|.*$", lambda row: _CODE.sub(lambda code: code[0].replace("\\|", "|"), row[0]), markdown, flags=re.M
    )


def table_of_keys(name: str) -> str:
    """Key, default, values and meaning of every key of an algorithm's yaml, in its words, as Markdown."""
    _, keys = read_keys(algorithms.algorithm_files()[name].read_text(encoding="utf-8"))
    learner = next(one.default.strip("\"'") for one in keys if one.name == "learner")
    ranges = _ranges(RunConfig) | _ranges(algorithms.schema_of(learner))
    lines, section = [], ""
    for one in keys:
        if one.section != section:
            section = one.section
            lines += ["", f"**{section}**", "", "| key | default | values | meaning |", "|---|---|---|---|"]
        cells = (f"`{one.name}`", f"`{one.default}`" if one.default else "", ranges.get(one.name, ""), one.comment)
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |")
    return "\n".join(lines)


def _targets(page: Path) -> Iterator[Path]:
    for match in _LINK.finditer(page.read_text(encoding="utf-8")):
        yield (page.parent / match[2]).resolve()


def _is_front(path: Path) -> bool:
    return path == ROOT / "README.md"


def _in_site(path: Path) -> Path:
    """Where a file of the repository lies in the site; the README's place is taken by the site's own first page."""
    if _is_front(path):
        return Path("index.md")
    return path.relative_to(DOCS) if path.is_relative_to(DOCS) else path.relative_to(ROOT)
