"""Packages that add algorithms: what is found without importing them, and what a broken one may and may not do."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from epymarl_trust_region import cli
from epymarl_trust_region.errors import ConfigError, SuiteError
from epymarl_trust_region.extensions import packages
from epymarl_trust_region.offline import command as train_offline
from epymarl_trust_region.suite import algorithms, epymarl, registration
from extensions import installed, write_package, yaml_of
from recorded import made, write
from support import make_batch, make_learner

TASK = "env_args.key=trust-region-climbing-v0 env_args.time_limit=1 t_max=20 test_interval=20 test_nepisode=10".split()
# As short as a learner can be: HAPPO under another name.
LEARNER = """
from epymarl_trust_region.learners.happo import HAPPOLearner


class Mine(HAPPOLearner):
    pass
"""
# One with a dataclass of its own, in which a line is to be filled in.
MADE = """
from dataclasses import dataclass
from typing import ClassVar
from epymarl_trust_region.config import OnPolicyConfig, key
from epymarl_trust_region.onpolicy.learner import OnPolicyLearner


@dataclass(frozen=True, kw_only=True)
class C(OnPolicyConfig):
    {}


class Mine(OnPolicyLearner):
    config_class = C

    def update_policies(self, rollout): pass
"""
MINE = {"learner": {"mine_learner": "mine.code.learner:Mine"}}


def mine(**changes: str) -> dict[str, str]:
    """The files of a package in order, or with others in their place."""
    own = yaml_of("happo", name="mine", learner="mine_learner")
    files = {"mine/__init__.py": "", "mine/code/__init__.py": "", "mine/code/learner.py": LEARNER}
    return files | {"mine/algs/mine.yaml": own} | changes


def run(config: str, *words: str) -> int:
    flags = ["--suite=lite", f"--config={config}", "--env-config=gymma", "--quiet", "--progress=off"]
    return cli.main(["run", *flags, "with", *TASK, *words])


def error(config: str, capsys, *words: str) -> str:
    """The one line with which a run is refused."""
    assert run(config, *words) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line.removeprefix("error: ")


def doctor(capsys) -> list[str]:
    cli.doctor()
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("algorithms")]


@pytest.fixture
def site(tmp_path) -> Path:
    (tmp_path / "site").mkdir()
    return tmp_path / "site"


# What is found ------------------------------------------------------------------------------------------------------


def test_names_and_files_are_found_and_nothing_is_imported(site):
    write_package(site, "mine", MINE, mine(**{"mine/__init__.py": "raise SystemError"}))
    code = (
        "import sys; from epymarl_trust_region.suite import algorithms as a; found = a.listing()\n"
        "assert {'mine_learner', 'happo_learner'} <= set(a.learners())\n"
        "assert {'mine', 'happo'} <= set(a.algorithm_files())\n"
        "assert found.owner('algorithm', 'mine') == found.owner('learner', 'mine_learner') == 'mine 1.0'\n"
        "loaded = [m for m in sys.modules if m.split('.')[0] in ('torch', 'mine', 'gymnasium') or '.learners.' in m]\n"
        "assert not loaded, loaded"
    )
    plugins = Path(algorithms.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": f"{site}:{plugins}"}
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("folder", ["mine/algs", "mine/code/algs"])
def test_yaml_files_lie_beside_the_module_or_in_a_package_around_it(folder, site, monkeypatch):
    files = mine()
    files[f"{folder}/mine.yaml"] = files.pop("mine/algs/mine.yaml")
    write_package(site, "mine", MINE, files)
    with installed(site, monkeypatch):
        (package,) = packages()
        assert package.files == (site / folder / "mine.yaml",) and package.name == "mine 1.0"


def test_a_controller_and_a_network_of_ones_own_go_with_it(site, monkeypatch, own_folder):
    files = mine(
        **{
            "mine/mac.py": "from epymarl_trust_region.controllers.trust_region_mac import TrustRegionMAC\n"
            "class MyMAC(TrustRegionMAC):\n    pass\n",
            "mine/net.py": "from torch import nn\nclass Net(nn.Linear):\n"
            "    def __init__(self, input_dim, output_dim):\n        super().__init__(input_dim, output_dim)\n",
            "mine/code/learner.py": "from dataclasses import dataclass\n"
            "from epymarl_trust_region.config import key\n"
            "from epymarl_trust_region.learners.happo import HAPPOConfig, HAPPOLearner\n"
            "@dataclass(frozen=True, kw_only=True)\nclass MyConfig(HAPPOConfig):\n"
            "    mac: str = key(choices=('my_mac',))\n    boldness: float = key(ge=0)\n"
            "class Mine(HAPPOLearner):\n    config_class = MyConfig\n",
            "mine/algs/mine.yaml": yaml_of(
                "happo", name="mine", learner="mine_learner", mac="my_mac", actor_network="mine.net:Net", boldness=1.0
            ),
        }
    )
    write_package(site, "mine", MINE | {"controller": {"my_mac": "mine.mac:MyMAC"}}, files)
    with installed(site, monkeypatch):
        assert run("mine") == 0
        learner = make_learner(make_batch(), "mine")
        assert type(learner.mac).__name__ == "MyMAC" and type(learner.mac.agent.agents[0].network).__name__ == "Net"


def test_an_offline_learner_is_an_algorithm_of_the_command_offline(site, monkeypatch, own_folder, capsys):
    pytest.importorskip("h5py")
    write(own_folder / "data", [made(3), made(2, seed=1)])
    files = {
        "off/__init__.py": "from epymarl_trust_region.offline.log_linear import LogLinearOffline\n"
        "class Off(LogLinearOffline):\n    pass\n",
        "off/algs/off.yaml": yaml_of("log_linear_ppo_offline", name="off", learner="off_learner", iterations=2),
    }
    write_package(site, "off", {"offline learner": {"off_learner": "off:Off"}}, files)
    with installed(site, monkeypatch):
        assert train_offline.main(["--config=off", "--data", "data"]) == 0
        assert Path("results/offline/off/1/models/2/agent.th").is_file()
        assert cli.main(["offline", "--config=off", "--data", "data", "with", "z=-1.0"]) == 2
        assert "z=-1.0 is out of range" in capsys.readouterr().err
        assert "use `epymarl-tr offline --config=off --data PATH`" in error("off", capsys)
        assert cli.main(["offline", "--config=of", "--data", "data"]) == 2
        assert "(did you mean off?); use log_linear_ppo_offline, off" in capsys.readouterr().err


# What is broken -----------------------------------------------------------------------------------------------------

IMPORT_FAILS = "the learner mine_learner of the package mine 1.0: importing mine.code.learner fails"
YAML = "mine/algs/mine.yaml"
OF = "in --config=mine of the package mine 1.0 or the command line"
BROKEN = {
    "import": ({"mine/code/learner.py": "import no_such_thing"}, {}, f"{IMPORT_FAILS} (ModuleNotFoundError: No module"),
    "syntax": ({"mine/code/learner.py": "def"}, {}, f"{IMPORT_FAILS} (SyntaxError: "),
    "no class": ({"mine/code/learner.py": ""}, {}, "the learner mine_learner of the package mine 1.0: .* has no Mine"),
    "no target": ({}, {"learner": {"mine_learner": "mine"}}, "of the package mine 1.0 does not name a class; give mod"),
    "no config": ({"mine/code/learner.py": "class Mine: ..."}, {}, "code.learner:Mine has no config_class that is"),
    "no dataclass": (
        {"mine/code/learner.py": "from epymarl_trust_region.config import PPOConfig\nclass C(PPOConfig):\n    a: int\n"
         "class Mine:\n    config_class = C\n"}, {},
        "mine_learner of the package mine 1.0: C is no dataclass; decorate it",
    ),
    "unknown key": (
        {YAML: yaml_of("happo", name="mine", learner="mine_learner", eps_klip=1)}, {},
        f"unknown key `eps_klip` {OF} .did you mean eps_clip",
    ),
    "missing key": (
        {YAML: yaml_of("happo", name="mine", learner="mine_learner", eps_clip=None)}, {},
        "key `eps_clip` is missing from --config=mine of the package mine 1.0",
    ),
    "wrong value": ({YAML: yaml_of("happo", name="mine", learner="mine_learner", lr=-1)}, {}, "lr=-1.0 is out of"),
    "no yaml at all": ({YAML: "a: ["}, {}, "mine.yaml of the package mine 1.0 is not valid yaml: .*; mend it"),
    "a default": (
        {"mine/code/learner.py": MADE.format("eps: float = 0.1")}, {},
        "the package mine 1.0: C.eps has a default; write `eps: float = key",
    ),
    "a ClassVar forgotten": (
        {"mine/code/learner.py": MADE.format("algorithm: str = key()")}, {}, "C.algorithm is no key; declare",
    ),
    "an odd type": (
        {"mine/code/learner.py": MADE.format("eps: list[float] = key()")}, {},
        "mine_learner of the package mine 1.0: C.eps has the type list",
    ),
    "the line of the yaml": ({YAML: "a: 1\nb: c: d"}, {}, "is not valid yaml: .*line 2"),
    "no key of nobody": (
        {YAML: yaml_of("happo", name="mine", learner="mine_learner", agant=1)}, {}, "`agant` .*line; nothing reads",
    ),
    "no keys": ({YAML: "name: mine"}, {}, "mine.yaml of the package mine 1.0 has no key `learner`; add"),
}  # fmt: skip


def own_yaml(**changes) -> str:
    """For a learner that has only what all have."""
    none = dict.fromkeys(
        ("agent_order", "factor_clip", "lr", "epochs", "actor_num_mini_batch", "eps_clip", "entropy_coef")
    )
    return yaml_of("happo", **{**none, "name": "mine", "learner": "mine_learner", **changes})


@pytest.mark.parametrize(
    "field, changes, words, message",
    [
        ('algorithm: ClassVar[str] = "M"', {}, [], "C has no key `lr`, the step size of Adam; add `lr: float"),
        ("lr: float = key()", {"lr": 0.1}, [], "Mine.update_policies gives None; return a dictionary to be logged"),
        (
            'lr: float = key()\n    algorithm: ClassVar[str] = "M"', {"lr": 0.1}, ["common_reward=False"],
            "M does not support common_reward=False: it has one advantage for all agents",
        ),
    ],
)  # fmt: skip
def test_what_a_learner_lacks_is_said(field, changes, words, message, site, monkeypatch, own_folder, capsys):
    write_package(site, "mine", MINE, mine(**{"mine/code/learner.py": MADE.format(field), YAML: own_yaml(**changes)}))
    with installed(site, monkeypatch):
        assert message in error("mine", capsys, *words)


def test_a_run_records_whose_algorithm_it_was(site, monkeypatch, own_folder):
    write_package(site, "mine", MINE, mine())
    with installed(site, monkeypatch):
        for name in ("mine", "happo"):
            assert run(name) == 0
    found = {f.parts[2]: json.loads(f.read_text())["plugin"] for f in Path().glob("results/sacred/*/*/1/config.json")}
    assert found["mine"]["package"] == "mine 1.0" and "package" not in found["happo"]


def test_doctor_sees_a_yaml_whose_runs_would_be_filed_elsewhere(site, monkeypatch, own_folder, capsys):
    write_package(site, "mine", MINE, mine(**{YAML: yaml_of("happo", learner="mine_learner")}))
    with installed(site, monkeypatch):
        (said,) = doctor(capsys)
    assert "name=happo in algs/mine.yaml of the package mine 1.0" in said


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_package_is_named_when_it_is_asked_for_and_by_doctor_and_stops_nothing_else(
    case, site, monkeypatch, own_folder, capsys
):
    files, points, message = BROKEN[case]
    write_package(site, "mine", MINE | points, mine(**files))
    with installed(site, monkeypatch):
        line = error("mine", capsys)
        assert re.search(message.replace("(", r"\("), line), line
        assert not Path("results").exists()
        (said,) = doctor(capsys)
        assert said.startswith("algorithms   broken   mine 1.0: ") and len(said) > 40
        if case != "import":  # once is enough
            return
        assert run("happo") == 0 and "mine" not in capsys.readouterr().err
        assert train_offline.configuration("log_linear_ppo_offline", [])["iterations"] == 100


def test_a_name_of_ours_stays_ours(site, monkeypatch, own_folder, capsys):
    points = {"learner": {"happo_learner": "mine.code.learner:Mine"}, "controller": {"trust_region_mac": "mine.mac:M"}}
    points["offline learner"] = {"hatrpo_learner": "mine.code.learner:Mine"}  # of the same key, `learner`
    files = mine(**{"mine/algs/hatrpo.yaml": "learner: nothing"})
    files["mine/algs/mine.yaml"] = yaml_of("happo", name="mine")
    write_package(site, "mine", points, files)
    with installed(site, monkeypatch):
        assert algorithms.learners()["happo_learner"].package is None
        assert algorithms.algorithm_files()["hatrpo"].parent.name == "algs" and run("hatrpo") == 0
        warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
        assert [line.partition(", which")[0] for line in warnings] == [
            f"warning: the package mine 1.0 has the {kind} name `{name}`"
            for kind, name in (
                ("learner", "happo_learner"), ("offline learner", "hatrpo_learner"), ("controller", "trust_region_mac"),
                ("algorithm", "hatrpo")
            )
        ]  # fmt: skip
        assert all("this plugin's" in line and "rename it" in line for line in warnings)
        assert "which is this plugin's" in doctor(capsys)[0]


def test_a_name_of_the_suites_stays_the_suites(site, monkeypatch):
    points = {"learner": {"q_learner": "mine.code.learner:Mine"}, "controller": {"basic_mac": "mine.mac:M"}}
    write_package(site, "mine", points, mine(**{"mine/algs/qmix.yaml": yaml_of("happo", learner="q_learner")}))
    learners, controllers = {"q_learner": dict}, {"basic_mac": list}
    with installed(site, monkeypatch):
        for _ in range(2):
            registration.register_into(learners, controllers, {}, {}, lambda args, logger: None)
        algorithms.yield_to_host("algorithm", ["qmix", "vdn"])
        assert learners["q_learner"] is dict and controllers["basic_mac"] is list
        assert algorithms.schema_of("q_learner") is None and "qmix" not in algorithms.algorithm_files()
        problems = list(algorithms.listing().problems)
        assert len(problems) == 3 and all("package mine 1.0" in p and "which is the suite's" in p for p in problems)


def test_of_two_packages_of_one_name_neither_is_taken(site, monkeypatch, own_folder, capsys):
    for name in ("mine", "yours", "theirs"):
        files = {path.replace("mine/", f"{name}/"): text for path, text in mine().items()}
        write_package(site, name, {"learner": {"mine_learner": f"{name}.code.learner:Mine"}}, files)
    other = yaml_of("happo", name="other", learner="mine_learner")
    (site / "yours/algs/other.yaml").write_text(other)
    with installed(site, monkeypatch):
        line = error("mine", capsys)
        assert line.startswith("--config=mine is not to be had: mine 1.0 and theirs 1.0 both have the algorithm name")
        line = error("other", capsys)
        assert line.startswith("learner=mine_learner is not to be had: mine 1.0 and theirs 1.0 both have the learner")
        assert run("happo") == 0


def test_a_package_without_a_yaml_is_told_of(site, monkeypatch, own_folder, capsys):
    files = mine()
    del files["mine/algs/mine.yaml"]
    write_package(site, "mine", MINE, files)
    with installed(site, monkeypatch):
        assert run("mine") == 2
        said = capsys.readouterr().err
        assert "error: unknown --config=mine" in said
        assert "warning: the package mine 1.0 has no algs/*.yaml beside its module, so that no --config leads" in said
        assert "mine 1.0: the package mine 1.0 has no algs" in doctor(capsys)[0]


# Into a host's registries: all or nothing ---------------------------------------------------------------------------


@pytest.mark.parametrize("taken", ["learner", "controller", "environment", "runner"])
def test_registration_writes_everything_or_nothing(taken):
    ours = {"learner": "matrl_learner", "controller": "trust_region_mac", "environment": "mamujoco", "runner": "vector"}
    kinds = ("learner", "controller", "runner", "environment")
    registries = [{"own": 1} | ({ours[kind]: "Else"} if kind == taken else {}) for kind in kinds]
    before = [dict(registry) for registry in registries]
    with pytest.raises(SuiteError, match=f"the {taken} name `{ours[taken]}` is taken by 'Else'"):
        registration.register_into(*registries, lambda args, logger: None)
    assert registries == before


def test_the_patched_suites_check_names_the_packages(site, monkeypatch, caplog):
    """Its own main script finds a package's yaml by itself; what is refused there is refused by `check_config`."""
    for name in ("mine", "yours"):
        write_package(site, name, {"learner": {"mine_learner": f"{name}:Mine"}}, {f"{name}/__init__.py": LEARNER})
    monkeypatch.setattr(epymarl, "check_parts", lambda config: pytest.fail("too late"))
    with (
        installed(site, monkeypatch),
        pytest.raises(ConfigError, match="mine_learner is not to be had: mine 1.0 and y"),
    ):
        registration.check_config({"name": "x", "learner": "mine_learner"})


def test_the_patched_suite_warns_of_packages_once_and_searches_their_folders(site, monkeypatch, caplog, tmp_path):
    write_package(site, "mine", MINE | {"controller": {"log_linear_mac": "mine:M"}}, mine())
    (tmp_path / "config").mkdir()
    (tmp_path / "config/default.yaml").write_text("{}")
    host = {name: SimpleNamespace(REGISTRY={}) for name in epymarl.REGISTRIES}
    host["run"] = SimpleNamespace(__file__=str(tmp_path / "run.py"))
    monkeypatch.setattr(registration, "importlib", SimpleNamespace(import_module=host.__getitem__))
    for name in ("_for_good", "_watch_workers_for_good"):
        monkeypatch.setattr(registration, name, SimpleNamespace(enter_context=id) if name == "_for_good" else list)
    monkeypatch.setattr(registration, "more_config_dirs", [])
    monkeypatch.setattr(registration, "check_all", lambda *_: None)
    monkeypatch.setattr(epymarl, "check_parts", lambda config: None)
    with installed(site, monkeypatch):
        registration.register()
        assert registration.more_config_dirs == [site / "mine"]
        assert not caplog.records  # workers register, too
        registration.check_config({"name": "x", "learner": "mine_learner"})
    (record,) = caplog.records
    assert "package mine 1.0 has the controller name `log_linear_mac`, which is this plugin's" in record.getMessage()
