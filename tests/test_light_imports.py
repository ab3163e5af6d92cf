"""What an import must not load: a learner no environments, an environment no networks. Each in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support import ROOT


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("learners", {"gymnasium", "mpe2", "vmas", "jax", "h5py"}),
        ("learners.matrl", {"gymnasium"}),
        ("offline.log_linear", {"gymnasium", "h5py"}),
        ("games", {"gymnasium", "torch"}),
        ("environments.games", {"torch", "sacred"}),
        ("environments.mpe", {"torch", "mpe2", "sacred"}),
    ],
)
def test_an_import_loads_no_more_than_it_needs(module, heavy):
    code = f"import sys, epymarl_trust_region.{module}\nprint(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "plugins")
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
