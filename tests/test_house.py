"""The picture of docs/architecture.md is that of the source, and shows no circles."""

from __future__ import annotations

import draw_house
import networkx as nx
import pytest
from support import ROOT

FOLDER = ROOT / "plugins" / draw_house.PACKAGE


def test_the_page_has_the_picture_of_the_source():
    assert draw_house.main(["--check"]) == 0


def test_an_arrow_that_a_longer_way_makes_needless_is_left_out():
    graph = {"a": {"b", "c", "d"}, "b": {"c"}, "c": {"d"}, "d": set()}
    reduced = draw_house.without_detours(nx.DiGraph(graph))
    assert {part: set(reduced[part]) for part in reduced} == {"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": set()}


def test_a_circle_is_refused():
    with pytest.raises(ValueError, match="a imports itself, by way of others"):
        draw_house.without_detours(nx.DiGraph({"a": {"b"}, "b": {"c"}, "c": {"a"}}))


def test_every_room_is_told_of():
    text = draw_house.PAGE.read_text(encoding="utf-8")
    rooms = draw_house.arrows(FOLDER)
    missing = {part for part in rooms if f"`{part}/`" not in text and f"`{part}.py`" not in text}
    assert missing == set() and {"learners", "suite", "git"} <= set(rooms)


def test_imports_of_every_kind_are_found(tmp_path):
    (tmp_path / "room").mkdir()
    (tmp_path / "room/a.py").write_text(
        "from ..one import x\nfrom . import b\nimport epymarl_trust_region.two.y\n"
        "def f():\n    from epymarl_trust_region import three\n"
    )
    (tmp_path / "cli.py").write_text("X = 'epymarl_trust_region.four.z'\n")
    for name in ("one", "two", "three", "four"):
        (tmp_path / f"{name}.py").write_text("")
    found = draw_house.arrows(tmp_path)
    assert set(found["room"]) == {"one", "two", "three"} and set(found["cli"]) == {"four"}
