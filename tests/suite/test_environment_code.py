"""The user's own environment module: found in the current folder, and what is wrong in it said as what it is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest
from epymarl_trust_region.errors import ConfigError, EnvironmentMissingError
from epymarl_trust_region.suite import environment_code
from epymarl_trust_region.suite.environments import check_environment, load_environment
from epymarl_trust_region.suite.lite.gymma import GymmaEnv
from support import ROOT

KEY = "my_env:MyEnv-v0"
MODULE = """
import gymnasium as gym, numpy as np
from gymnasium.spaces import Box, Discrete, Tuple
{extra}
class Env(gym.Env):
    n_agents = 2
    action_space = Tuple([Discrete(3)] * 2)
    observation_space = Tuple([Box(-1, 1, (4,), np.float32)] * 2)
    def obs(self): return tuple(s.sample() for s in self.observation_space)
    def reset(self, seed=None, options=None): super().reset(seed=seed); return self.obs(), {{}}
    def step(self, actions): return self.obs(), 1.0, False, False, {{}}
gym.register("MyEnv-v0", entry_point={entry})
"""


def write(extra: str = "", entry: str = "Env", file: str = "my_env.py") -> None:
    Path(file).parent.mkdir(exist_ok=True)
    Path(file).write_text(MODULE.format(extra=extra, entry=entry))


@pytest.fixture(autouse=True)
def folder(own_folder, monkeypatch) -> Path:
    """The current folder, which is not on the path; modules and ids that a test makes go with it."""
    monkeypatch.setattr(sys, "path", ["/where/the/script/is", *(entry for entry in sys.path if entry)])
    modules, ids = set(sys.modules), dict(gymnasium.registry)
    yield own_folder
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(own_folder)):
            del sys.modules[name]
    gymnasium.registry.clear()
    gymnasium.registry.update(ids)


def refused(key: str = KEY) -> str:
    with pytest.raises(EnvironmentMissingError) as caught:
        check_environment({"env": "gymma", "env_args": {"key": key, "time_limit": 5}})
    message = str(caught.value)
    assert message.startswith(f"environment {key}") and "\n" not in message and "pip" not in message
    return message


def test_a_module_in_the_current_folder_is_found_behind_the_script_and_before_packages(folder):
    write("import helper_of_mine")
    Path("helper_of_mine.py").touch()
    load_environment(KEY)
    assert sys.modules["my_env"].__file__ == str(folder / "my_env.py")
    assert sys.path[:2] == ["/where/the/script/is", str(folder)]
    load_environment(KEY)
    assert sys.path.count(str(folder)) == 1


@pytest.mark.parametrize("entry", ["", "."])
def test_a_folder_that_is_on_the_path_keeps_its_place(folder, entry):
    sys.path.append(entry)
    before = list(sys.path)
    write()
    load_environment(KEY)
    assert sys.path == before


def test_the_current_folder_is_left_alone_where_the_id_is_not_of_a_module_of_the_users(folder):
    load_environment("trust-region-climbing-v0")
    load_environment("CartPole-v1")
    assert str(folder) not in sys.path


def test_the_current_folder_is_not_searched_where_python_must_not(folder, monkeypatch):
    monkeypatch.setattr(environment_code, "_is_safe_path", lambda: True)
    write()
    assert "PYTHONSAFEPATH keeps Python from looking" in refused() and str(folder) not in sys.path


@pytest.mark.parametrize(
    "extra, message",
    [
        (
            "import scipy_of_mine",
            "my_env.py, line 4: ModuleNotFoundError: No module named 'scipy_of_mine'; install the package that "
            "provides scipy_of_mine, or name its folder in PYTHONPATH",
        ),
        ("def broken(:", "my_env.py, line 4: SyntaxError: invalid syntax in `def broken(:`; mend it"),
        ("1/0", "my_env.py, line 4: ZeroDivisionError: division by zero; mend it"),
        ("raise ValueError('a\\n\\n  b')", "my_env.py, line 4: ValueError: a b; mend it"),
        ("gym.register('A-v0')", "my_env.py, line 4: ValueError: Either "),  # raised within Gymnasium, by that line
        ("import json; json.loads('{{')", "my_env.py, line 4: JSONDecodeError: "),
        ("raise SystemExit(3)", "line 4: SystemExit: 3; a module that registers environments must not end Python"),
        ("import my_env.more", "line 4: ModuleNotFoundError: No module named 'my_env.more'; 'my_env' is not a pack"),
        ("import my_env.more", "'my_env' is not a package; mend it"),
        ("import numpy.more", "line 4: ModuleNotFoundError: No module named 'numpy.more'; mend it"),
        ("from . import more", "line 4: ImportError: attempted relative import with no known parent package; mend it"),
    ],
)  # fmt: skip
def test_an_error_in_the_module_is_reported_as_what_it_is(extra, message):
    write(extra)
    assert message in refused()


def test_a_name_that_cannot_be_imported_is_named():
    write("from numpy import no_such_name")
    assert "my_env.py, line 4: ImportError: cannot import name 'no_such_name' from 'numpy'" in refused()


def test_a_package_that_this_project_knows_is_named_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "lbforaging", None)  # any import of it fails
    write("import lbforaging.foraging")
    with pytest.raises(EnvironmentMissingError, match=r"my_env\.py, line 4: .*lbforaging.*; pip install lbforaging$"):
        load_environment(KEY)


@pytest.mark.parametrize(
    "key, message",
    [
        ("my_emv:MyEnv-v0", r"there is no module my_emv in the current folder \({here}\) or .*did you mean my_env\?"),
        ("nowhere:MyEnv-v0", r"no module nowhere in .*path; start from the folder that holds it, or name that folder"),
        ("no.such:MyEnv-v0", "there is no module no in the current folder"),
        ("my_env.more:MyEnv-v0", "there is no module my_env.more in"),
        ("my_env.py:MyEnv-v0", r"`my_env\.py` is not the name of a module; .* env_args\.key=my_env:MyEnv-v0$"),
        ("./envs/my_env.py:MyEnv-v0", r"is not the name of a module; .* env_args\.key=envs\.my_env:MyEnv-v0$"),
        ("my-env:MyEnv-v0", r"`my-env` is not the name of a module; .* env_args\.key=my_env:MyEnv-v0$"),
        (".my_env:MyEnv-v0", "`.my_env` is not the name of a module"),
        ("my_env:MyEnv-v1", r"does not exist: .*\(my_env is my_env\.py, and importing it registers no such id\)"),
    ],
)
def test_what_is_not_there_is_named(folder, key, message):
    write()
    assert re.search(message.format(here=re.escape(str(folder))), refused(key))


@pytest.mark.parametrize("module", ["01-my-env", "2my.env"])
def test_a_module_whose_name_no_import_statement_can_write_is_imported(module):
    if "." in module:
        write(file="2my/__init__.py")
    write(file=module.replace(".", "/") + ".py")
    check_environment({"env": "gymma", "env_args": {"key": f"{module}:MyEnv-v0", "time_limit": 5}})


def test_a_module_that_hides_the_users_own_is_named(folder):
    write(file="json.py")
    message = refused("json:MyEnv-v0")
    assert "json.py in the current folder is hidden behind it: rename yours" in message
    assert f"(json is {Path(sys.modules['json'].__file__).resolve()}, and" in message


@pytest.mark.parametrize("key", ["lbforaging:Nothing-v0", "trust-region-climbin-v0"])
def test_nothing_is_said_of_where_a_package_lies_that_this_project_knows(key, monkeypatch):
    monkeypatch.setitem(sys.modules, "lbforaging", sys)  # any module: it imports, and registers nothing
    with pytest.raises(EnvironmentMissingError) as caught:
        load_environment(key)
    assert "does not exist" in str(caught.value) and "registers no such id" not in str(caught.value)


def test_code_that_an_entry_point_names_is_imported_before_anything_is_built():
    write(entry='"my_env_code:Env"')
    assert "there is no module my_env_code in the current folder" in refused()
    write("1/0", file="my_env_code.py")
    assert "my_env_code.py, line 4: ZeroDivisionError" in refused()
    write(file="my_env_code.py")
    load_environment(KEY)
    gymnasium.registry["MyEnv-v0"].entry_point = "my_env_code:Enf"
    assert "module 'my_env_code' has no attribute 'Enf'; mend it" in refused()


def test_what_a_constructor_cannot_import_is_named():
    write()
    load_environment(KEY)
    sys.modules["my_env"].Env.__init__ = lambda self: __import__("scipy_of_mine")
    with pytest.raises(EnvironmentMissingError, match=r"No module named 'scipy_of_mine'.*; install the package that"):
        GymmaEnv(KEY, 5, 0, True, "sum")


def test_a_worded_error_passes_as_it_is():
    write("from epymarl_trust_region.errors import ConfigError; raise ConfigError('set x')")
    with pytest.raises(ConfigError, match="^set x$"):
        load_environment(KEY)


def test_debug_keeps_the_modules_own_traceback():
    write("1/0")
    with pytest.raises(EnvironmentMissingError) as caught:
        load_environment(KEY)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


# As `epymarl-tr` starts: a script in another folder, whose own folder is what Python puts on the path.
SCRIPT = """
import multiprocessing, sys
from epymarl_trust_region.cli import main
if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv.pop(1))
    sys.exit(main())
"""
SMALL = ("t_max=20", "batch_size_run=2", "batch_size=2", "buffer_size=2", "test_nepisode=2", "use_cuda=False")


def train(folder: Path, suite: str, start: str, *params: str) -> subprocess.CompletedProcess:
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin/start.py").write_text(SCRIPT)
    command = [sys.executable, "-W", "ignore", str(folder / "bin/start.py"), start, "run", f"--suite={suite}"]
    command += ["--config=happo", "--env-config=gymma", "--quiet", "--progress=off", "with", *SMALL]
    command += [f"env_args.key={KEY}", "env_args.time_limit=5", *params]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "plugins"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize(
    "suite, start, params",
    [
        ("lite", "spawn", ("env_processes=2",)),
        pytest.param("epymarl", "fork", ("env_processes=2",), marks=pytest.mark.integration),
        pytest.param("epymarl", "spawn", ("runner=parallel",), marks=pytest.mark.integration),
    ],
)
def test_a_run_and_its_workers_find_the_module(suite, start, params, folder):
    write("import helper_of_mine")
    Path("helper_of_mine.py").touch()
    done = train(folder, suite, start, *params)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / f"results/sacred/happo/{KEY.replace(':', '-')}/1/run.json").exists()


@pytest.mark.parametrize("suite", ["lite", pytest.param("epymarl", marks=pytest.mark.integration)])
def test_a_run_says_what_is_wrong_in_the_module_and_makes_no_folder(suite, folder):
    write("import scipy_of_mine")
    done = train(folder, suite, "fork")
    assert done.returncode == 2 and not (folder / "results").exists()
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert line.startswith(f"error: environment {KEY}: my_env.py, line 4: ModuleNotFoundError: No module named")
    assert "Traceback" not in done.stderr and "pip" not in done.stderr
