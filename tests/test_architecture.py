"""The import rules of the package: who may import whom, held by reading the source and not by running it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from draw_house import PACKAGE, imported, part_of

ROOT = Path(__file__).resolve().parents[1] / "plugins" / PACKAGE

# Part of the package -> the other parts that it may import. `errors`, `interfaces` and the version are free to all.
MAY_IMPORT = {
    "__main__": {"cli"},
    "doctor": {"command_line", "suite", "extensions", "git"},
    "cli": {
        "main", "doctor", "suite", "experiments", "extensions", "studies", "offline", "recordings", "git", "provenance",
        "watch", "crossplay", "command_line",
    },
    "main": {"command_line", "configuration", "config_files", "seeding", "suite", "summary", "run_help"},
    "run_help": {"config", "configuration", "run_config", "suite"},
    "summary": set(),
    "command_line": set(),
    "configuration": {"config", "config_files", "suite", "provenance"},
    "config_files": {"config"},
    "seeding": set(),
    "config": {"extensions"},
    "run_config": {"config"},
    "extensions": set(),
    "errors": set(),
    "cores": set(),
    "interfaces": set(),
    "git": set(),
    "memory": set(),
    "provenance": {"git"},
    "suite": {
        "learners", "controllers", "runners", "environments", "recordings", "config", "run_config", "git", "extensions",
        "memory", "modules", "seeding",
    },
    "learners": {"onpolicy", "numerics", "config"},
    "onpolicy": {"numerics", "modules", "config", "seeding"},
    "controllers": {"modules"},
    "modules": {"numerics", "extensions", "cores"},
    "numerics": set(),
    "games": set(),
    "environments": {"games"},
    "runners": {"environments", "seeding", "cores"},
    "recordings": {"command_line", "memory"},
    "offline": {
        "main", "seeding", "config", "run_config", "controllers", "learners", "numerics", "recordings", "suite",
        "provenance", "modules", "command_line",
    },
    "experiments": {
        "command_line", "main", "configuration", "config_files", "seeding", "config", "run_config", "suite",
        "provenance", "git",
    },
    "studies": {"command_line", "experiments", "games", "numerics"},
    "crossplay": {
        "command_line", "config", "config_files", "configuration", "experiments", "seeding", "suite", "watch",
    },
    "watch": {"command_line", "config", "config_files", "configuration", "modules", "runners", "seeding", "suite"},
}  # fmt: skip
# The only third-party packages that these parts may import.
THIRD_PARTY = {
    "numerics": {"torch", "numpy", "threadpoolctl"},
    "games": {"numpy"},
    "recordings": {"numpy", "torch", "h5py"},
    "environments": {
        "numpy",
        "gymnasium",
        "gymnasium_robotics",
        "mujoco",
        "mpe2",
        "pettingzoo",
        "vmas",
        "torch",
        "jax",
        "jaxmarl",
        "smaclite",
    },
}
HOST_MODULES = {"components", "controllers", "envs", "learners", "main", "modules", "run", "runners", "search", "utils"}

FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def violations(source: str, file: str) -> list[str]:
    """The rules that `source`, standing at `file` (path inside the package), breaks."""
    part, found = part_of(file), []
    for name in imported(ast.parse(source), file):
        head, *rest = name.split(".")
        if head == PACKAGE:
            found += _inside(part, file, rest)
        elif head in HOST_MODULES and part != "suite":
            found.append(f"{file} imports the host's `{name}`; only suite/ may")
        elif part in THIRD_PARTY and head not in sys.stdlib_module_names:
            if head not in THIRD_PARTY[part]:
                found.append(f"{file} imports `{name}`; {part}/ may import only {sorted(THIRD_PARTY[part])}")
    return found


def _inside(part: str, file: str, target: list[str]) -> list[str]:
    other = target[0] if target else ""
    if other == "learners" and part == "learners" and file != "learners/__init__.py":
        return [f"{file} imports from learners; what two learners share belongs to onpolicy or numerics"]
    if other in MAY_IMPORT and other not in {part, "errors", "interfaces"} | MAY_IMPORT[part]:
        return [f"{file} imports {other}; {part} may import only {sorted(MAY_IMPORT[part])}"]
    return []


def is_constant(node: ast.AST) -> bool:
    """Literals and names, in containers: nothing that is computed."""
    allowed = (ast.Constant, ast.Name, ast.Attribute, ast.Dict, ast.List, ast.Tuple, ast.Set, ast.expr_context)
    return all(isinstance(inner, allowed) for inner in ast.walk(node))


def logic_in(source: str) -> list[str]:
    """The statements of an `__init__` that are not its docstring, imports or assignments of constants."""
    statements = ast.parse(source).body
    if statements and isinstance(statements[0], ast.Expr) and isinstance(statements[0].value, ast.Constant):
        statements = statements[1:]
    return [
        ast.unparse(node)
        for node in statements
        if not isinstance(node, ast.Import | ast.ImportFrom)
        and not (isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None and is_constant(node.value))
    ]


def test_every_part_of_the_package_has_its_rule() -> None:
    assert {part_of(file) for file in FILES} - {"__init__"} <= set(MAY_IMPORT)


@pytest.mark.parametrize("file", [file for file in FILES if file != "__init__.py"])
def test_file_keeps_the_import_rules(file: str) -> None:
    assert violations((ROOT / file).read_text(encoding="utf-8"), file) == []


@pytest.mark.parametrize("file", [file for file in FILES if file.endswith("__init__.py")])
def test_package_init_holds_no_logic(file: str) -> None:
    assert logic_in((ROOT / file).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("learners/happo.py", "from components.episode_buffer import EpisodeBatch"),
        ("main.py", "def f():\n    import run"),
        ("main.py", "import importlib\nimportlib.import_module('runners.parallel_runner')"),
        ("learners/hatrpo.py", "from epymarl_trust_region.learners.happo import HAPPOLearner"),
        ("learners/hatrpo.py", "from .happo import HAPPOLearner"),
        ("learners/hatrpo.py", "from . import happo"),
        ("learners/happo.py", "from ..suite import epymarl"),
        ("numerics/cg.py", "import scipy"),
        ("numerics/cg.py", "from epymarl_trust_region.onpolicy import rollout"),
        ("numerics/cg.py", "from epymarl_trust_region import onpolicy"),
        ("games/markov.py", "import gymnasium"),
        ("games/markov.py", "import torch"),
        ("onpolicy/rollout.py", "from epymarl_trust_region.learners import REGISTRY"),
        ("controllers/mac.py", "import epymarl_trust_region.onpolicy.rollout"),
        ("suite/lite/runner.py", "from ...experiments import sweep"),
    ],
)
def test_a_planted_violation_is_found(file: str, source: str) -> None:
    assert len(violations(source, file)) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("suite/epymarl.py", "from runners import REGISTRY"),
        ("suite/lite/runner.py", "from .buffer import EpisodeBatch\nfrom ..host import Host"),
        ("learners/happo.py", "import torch\nfrom ..errors import ConfigError\nfrom ..onpolicy import order"),
        ("learners/__init__.py", "from .happo import HAPPOLearner"),
        ("environments/games/game_env.py", "import gymnasium"),
        ("cli.py", "from epymarl_trust_region import __version__"),
    ],
)
def test_what_the_rules_allow_is_left_alone(file: str, source: str) -> None:
    assert violations(source, file) == []


@pytest.mark.parametrize(
    "source", ["X = f()", "if True:\n    X = 1", "def f(): ...", "X = [y for y in z]", "f()", "'doc'\n'x'"]
)
def test_planted_logic_is_found(source: str) -> None:
    assert len(logic_in(source)) == 1
