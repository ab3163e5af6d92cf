"""The pages name files of this repository; every one of them is there."""

from __future__ import annotations

import re

import pytest
from support import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "results/**/*.md", "patches/*.md")
    for path in ROOT.glob(pattern)
)
NAMED = re.compile(
    r"(?<![\w/.-])((?:tests|plugins|configs|docs|patches|results|examples)/[\w./*-]*\w\.(?:py|md|yaml|patch|csv|png))"
)
LINKED = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_is_there(page):
    text, folder = (ROOT / page).read_text(encoding="utf-8"), (ROOT / page).parent
    named = {name for name in NAMED.findall(text) if not name.startswith("results/sweeps/") and "*" not in name}
    missing = {name for name in named if not (ROOT / name).exists()}
    missing |= {link for link in LINKED.findall(text) if not (folder / link).exists()}
    assert missing == set()
