"""Configuration files after `with`: plain data of anyone's, which runs no code and writes nowhere else."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import yaml
from epymarl_trust_region import cli, configuration
from epymarl_trust_region.config import check_name, check_place
from epymarl_trust_region.config_files import read, read_all, split
from epymarl_trust_region.configuration import overrides
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.experiments.sweep_file import read_sweep
from epymarl_trust_region.suite.host import folder_name
from epymarl_trust_region.suite.selection import lite_host
from support import ROOT

pytestmark = pytest.mark.usefixtures("own_folder")

TOUCH = {"py/reduce": [{"py/type": "os.system"}, {"py/tuple": ["touch owned"]}]}
GAME = ["env_args.key=trust-region-climbing-v0", "env_args.time_limit=1", "t_max=5", "test_nepisode=10"]


def run(*params: str) -> int:
    flags = ["--suite=lite", "--config=happo", "--env-config=gymma", "--quiet", "--progress=off"]
    return cli.main(["run", *flags, "with", *GAME, *params])


class Touch:
    def __reduce__(self):
        return Path.touch, (Path("owned"),)


def write(name: str) -> str:
    if name.endswith((".pickle", ".pkl")):
        Path(name).write_bytes(pickle.dumps({"lr": Touch()}))
    elif name.endswith(".py"):
        Path(name).write_text("open('owned', 'w')\nlr = 1\n")
    elif name.endswith(".json"):
        Path(name).write_text(json.dumps({"lr": TOUCH}))
    else:
        Path(name).write_text("lr: !!python/object/apply:os.system ['touch owned']\n")
    return name


@pytest.mark.parametrize("name", ["evil.json", "evil.pickle", "evil.pkl", "evil.py", "evil.yaml", "evil.YML"])
def test_no_file_runs_code(name, capsys):
    assert run(write(name)) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and name in err and err.count("\n") == 1
    assert not Path("owned").exists() and not Path("results").exists()


@pytest.mark.parametrize("value", [TOUCH, [TOUCH], {"a": {"b": (TOUCH,)}}])
def test_no_value_of_the_command_line_does(value):
    """A sweep's yaml, or a recording's env_args, ends there."""
    with pytest.raises(ConfigError, match=r"env_args.x=... in the command line asks for a Python object \(`py/reduce`"):
        overrides(["with", f"env_args.x={value!r}"])
    written_otherwise = repr(value).replace("'py/reduce'", r"'p\x79' '/reduce'")
    with pytest.raises(ConfigError, match="asks for a Python object"):
        overrides(["with", f"env_args.x={written_otherwise}"])
    assert not Path("owned").exists()


def test_plain_files_still_work(capsys):
    Path("one.yaml").write_text("lr: 0.01\nenv_args: {time_limit: 3}\nlabel: null\n")
    Path("two.json").write_text(json.dumps({"lr": 0.02, "epochs": 2, "env_args.max_steps": 2}))
    assert run("one.yaml", "two.json", "epochs=3") == 0, capsys.readouterr().err
    saved = json.loads(Path("results/sacred/happo/trust-region-climbing-v0/1/config.json").read_text())
    assert (saved["lr"], saved["epochs"], saved["t_max"]) == (0.02, 3, 5)  # the later file, the command line
    assert saved["env_args"]["time_limit"] == 1 and saved["env_args"]["max_steps"] == 2
    assert saved["env_args"]["key"] == "trust-region-climbing-v0"


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a.yaml", "lrr: 1", "error: unknown key `lrr` in the command line (did you mean lr?)"),
        ("a.yaml", "- 1", "a.yaml holds no keys; give it lines such as"),
        ("a.yaml", "a: [", "a.yaml cannot be read: while parsing a flow node"),
        ("a.json", "{", "a.json cannot be read: Expecting property name"),
        ("a.json", "[" * 100_000, "a.json cannot be read: "),
        ("a.yaml", "when: 2020-01-01", "a.yaml has a date; write numbers"),
        ("a.yaml", "{1: 2}", "a.yaml has the key 1, which is no word"),
        ("a.yaml", "a: &a [1, *a]", "more than 20000 values, or repeats itself without end"),
        ("a.yaml", "\n".join([f"x{i + 1}: &x{i + 1} [{', '.join([f'*x{i}'] * 9)}]" if i else "x1: &x1 [1]"
                              for i in range(12)]), "more than 20000 values"),
        ("a.yaml", "a: " + "x" * 2**20, "a.yaml has 1048579 bytes, more than any configuration"),
        ("a.yaml", "actor_network: evil:Net", "a.yaml names code to import, actor_network=evil:Net; if you trust it"),
        ("a.yaml", "env_args: {key: 'evil:Env-v0'}", "a.yaml names code to import, env_args.key=evil:Env-v0"),
        ("a.yaml", "local_results_path: /tmp", "a.yaml sets local_results_path=/tmp, which is outside the current"),
        ("a.yaml", "local_results_path: x/../../y", "which is outside the current folder"),
        ("a.yaml", "save_episodes: ~/x", "a.yaml sets save_episodes=~/x, which is outside"),
        ("a.yaml", "name: ../../x", "name '../../x' is no name of a folder"),
        ("nowhere.yaml", None, "nowhere.yaml cannot be read: "),
        ("hapo", None, "`hapo` in the command line is neither key=value nor a file of plain data"),
    ],
)  # fmt: skip
def test_a_bad_file_is_one_line(name, text, message, capsys):
    if text is not None:
        Path(name).write_text(text)
    params = [param for param in GAME if not (text and "key:" in text and param.startswith("env_args.key"))]
    flags = ["--suite=lite", "--config=happo", "--env-config=gymma", "--quiet", "--progress=off"]
    assert cli.main(["run", *flags, "with", *params, name]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and len(err) < 400
    assert not Path("results").exists()


def test_what_the_user_has_typed_may_be_code():
    Path("a.yaml").write_text("{actor_network: 'mine:Net', env_args: {key: 'lbforaging:Foraging-v0'}}")
    typed = {"actor_network": "mine:Net"}
    assert read_all(["a.yaml"], typed, ["lbforaging"])["actor_network"] == "mine:Net"
    with pytest.raises(ConfigError, match="env_args.key=lbforaging:Foraging-v0"):
        read_all(["a.yaml"], typed)


def test_files_are_told_from_keys_and_flags():
    assert split(["--force", "with", "a=b.yaml", "c.yaml", "--x", "d"]) == (
        ["--force", "with", "a=b.yaml", "--x"], ["c.yaml", "d"])  # fmt: skip
    assert split(["print_config"]) == (["print_config"], [])
    with pytest.raises(ConfigError, match="neither key=value nor a file"):
        read("x.toml")


# An algorithm's file --------------------------------------------------------------------------------------------


def of_file(file: str, *params: str) -> list[str]:
    flags = ["--suite=lite", f"--config={file}", "--env-config=gymma", "--quiet", "--progress=off"]
    return ["run", *flags, "with", *GAME, *params]


def own_happo(**changes: object) -> str:
    keys = yaml.safe_load((ROOT / "configs/algs/happo.yaml").read_text()) | changes
    Path("mine.yaml").write_text(yaml.safe_dump({key: value for key, value in keys.items() if key != "name"}))
    return "mine.yaml"


def test_an_algorithm_may_be_a_file_of_ones_own(capsys):
    assert cli.main(of_file(own_happo(lr=0.25), "epochs=3")) == 0, capsys.readouterr().err
    saved = json.loads(Path("results/sacred/mine/trust-region-climbing-v0/1/config.json").read_text())
    assert (saved["name"], saved["lr"], saved["epochs"]) == ("mine", 0.25, 3)
    assert saved["plugin"]["config_file"] == "mine.yaml"


def test_it_has_the_same_keys_as_the_algorithm(capsys):
    assert cli.main(of_file(own_happo(lrr=0.25))) == 2
    assert "unknown key `lrr` in --config=mine" in capsys.readouterr().err


def test_a_host_learner_may_have_keys_that_stand_in_no_yaml():
    """As EPyMARL's QTRAN does, of which it has no configuration."""
    Path("theirs.yaml").write_text("learner: their_learner\nname: theirs\nlearning_rate_of_theirs: 1\n")
    config, _ = configuration.read(lite_host(), "theirs.yaml", "gymma")
    assert config["learning_rate_of_theirs"] == 1


@pytest.mark.parametrize("text, message", [
    ("lr: 0.1", "--config=mine.yaml has no key `learner`; start from a copy of an algorithm's yaml"),
    ("learner: happo_learner\nactor_network: 'evil:Net'", "mine.yaml names code to import, actor_network=evil:Net"),
    ("learner: happo_learner\nname: ../x", "name '../x' is no name of a folder"),
    ("learner: happo_learner\nlocal_results_path: /x", "mine.yaml sets local_results_path=/x, which is outside"),
    ("env_args: 3", "env_args=3 of a file is no group of keys; correct it"),
    ("lr.x: 3", "mine.yaml has `lr.x`, and `lr` as a key by itself; remove one"),
    ("learner: happo_learner # no key mac", "--config=mine.yaml has no key `mac`; start from a copy"),
    (None, "mine.yaml cannot be read: "),
])  # fmt: skip
def test_a_bad_one_is_one_line(text, message, capsys):
    if text is not None:
        own_happo()
        Path("mine.yaml").write_text(Path("mine.yaml").read_text() * ("no key" not in message) + text)  # alone
    assert cli.main(of_file("mine.yaml")) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert not Path("results").exists()


def test_its_keys_may_have_dots():
    own_happo()
    Path("mine.yaml").write_text(Path("mine.yaml").read_text() + "env_args.b: 2\nenv_args: {a: 1}\nenv_args.c.d: 3\n")
    config, _ = configuration.read(lite_host(), "mine.yaml", "gymma")
    assert {key: config["env_args"][key] for key in "abc"} == {"a": 1, "b": 2, "c": {"d": 3}}


def test_code_that_is_typed_may_stand_in_it():
    own_happo(actor_network="mine:Net")
    config, _ = configuration.read(lite_host(), "mine.yaml", "gymma", {"actor_network": "mine:Net"})
    assert config["actor_network"] == "mine:Net"


def test_a_sweep_calls_it_by_the_files_name():
    own_happo()
    Path("study.yaml").write_text(
        "algorithms: [{config: mine.yaml}]\ntasks: [{task: game, seeds: [1], with: {t_max: 10}}]\n"
    )
    assert [one.name for one in read_sweep(Path("study.yaml")).experiments] == ["game-mine"]


# Names and places -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/x", "..", ".", "...", "a/b", "a\\b", "", " a", "a\n", "\0", "x" * 101]
)
def test_a_name_stays_in_its_folder(name):
    with pytest.raises(ConfigError, match="name .* is no name of a folder; use letters"):
        check_name("name", name)


@pytest.mark.parametrize("name", ["happo", "Größe", "名前", ".hidden", "a b", "v1.2-x_y"])
def test_other_names_are_taken(name):
    check_name("name", name)


@pytest.mark.parametrize("param, message", [
    ("name=../../x", "name '../../x' is no name of a folder"),
    ("name=/abs", "name '/abs' is no name"),
    ("local_results_path=/", "local_results_path=/ is the root of the file system; name a folder below"),
    ("local_results_path=/tmp/..", "local_results_path=/tmp/.. is the root of the file system"),
    ("local_results_path=taken", "local_results_path=taken is a file; name a folder"),
])  # fmt: skip
def test_a_run_writes_below_its_results(param, message, capsys, own_folder):
    Path("taken").write_text("mine")
    assert run(param) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in own_folder.iterdir()] == ["taken"]


def test_places_of_ones_own_are_taken(tmp_path):
    for place in ("results", str(tmp_path / "elsewhere"), "../beside"):
        check_place("local_results_path", place)


def test_a_task_of_two_dots_has_a_folder():
    assert (folder_name(".."), folder_name("."), folder_name("a:b c/../d")) == ("-", "-", "a-b-c-..-d")


def test_a_value_that_is_nested_without_end_is_text_or_one_line():
    for value in ('["a",' + "[" * 100_000, '["a",' + "[" * 5000 + "]" * 5000 + "]"):
        try:
            overrides(["with", f"x={value}"])
        except ConfigError as error:
            assert "nested too deeply" in str(error)
