"""examples/first_comparison.ipynb is stored without what it has printed, and runs from top to bottom."""

from __future__ import annotations

import base64
import json
import os

import pytest
from support import ROOT

NOTEBOOK = ROOT / "examples/first_comparison.ipynb"


def test_it_is_stored_as_it_was_before_it_ran():
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        assert cell.get("outputs", []) == [] and cell.get("execution_count") is None


def test_it_trains_reads_and_draws(own_folder, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("TMPDIR", str(own_folder))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(own_folder)}}).execute()
    *_, table, curves = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    lines = table[0]["data"]["text/plain"].splitlines()
    assert "HAPPO" in lines[0].upper() and "MAPPO" in lines[0].upper()
    assert [line.split()[0] for line in lines[2:]] == ["0", "100", "200", "300", "400", "500", "600"]
    (picture,) = [output["data"]["image/png"] for output in curves if "image/png" in output.get("data", {})]
    (own_folder / "curves.png").write_bytes(base64.b64decode(picture))
    assert (own_folder / "curves.png").stat().st_size > 5000
    assert not [
        output for cell in notebook.cells for output in cell.get("outputs", []) if output.get("name") == "stderr"
    ]
