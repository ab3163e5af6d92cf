"""For reports that are tested for their numbers: their pictures are drawn, but not kept, which takes long."""

from __future__ import annotations

import pytest


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures are kept as empty files; gives them by name."""
    from epymarl_trust_region.experiments.report.canvas import Picture

    kept = {}

    def save(picture, folder):
        kept[picture.name] = picture
        for end in ("png", "svg", "pdf"):
            (folder / f"{picture.name}.{end}").touch()

    monkeypatch.setattr(Picture, "save", save)
    monkeypatch.setattr(Picture, "svg", "<svg></svg>")
    return kept
