"""`run --help`, `--help NAME`, `--dry-run`, and command lines without `with`."""

from __future__ import annotations

import dataclasses

import pytest
import yaml
from epymarl_trust_region.main import main, with_the_word
from epymarl_trust_region.run_help import read_keys
from epymarl_trust_region.suite import algorithms
from support import ROOT, SCHEMAS

pytestmark = pytest.mark.usefixtures("own_folder")
SPREAD = ("--suite=lite", "--config=happo", "--env-config=gymma", "env_args.key=pz-mpe-simple-spread-v3")
FILES = sorted([*(ROOT / "configs").rglob("*.yaml")], key=str)


def said(capsys, *words: str, code: int = 0) -> str:
    assert main([*words]) == code
    out, err = capsys.readouterr()
    return err if code else out


@pytest.mark.parametrize("file", [f for f in FILES if not {"sweeps", "tune"} & {*f.parts}], ids=lambda f: f.stem)
def test_every_key_of_a_yaml_is_read_with_its_value(file):
    loaded = yaml.safe_load(file.read_text())
    flat = {}

    def walk(value, name=""):
        flat[name] = value
        if isinstance(value, dict):
            for key, one in value.items():
                walk(one, f"{name}.{key}".lstrip("."))

    walk(loaded)
    del flat[""]
    _, keys = read_keys(file.read_text())
    assert [one.name for one in keys] == list(flat)
    for one in keys:
        if one.default:
            assert yaml.safe_load(one.default) == flat[one.name], one
        assert one.comment or isinstance(flat[one.name], dict) or file.parent.name == "algs", one


def test_comments_above_behind_and_going_on():
    head, keys = read_keys(
        "# Head.\n# More\n\n# --- Part one ---\na: 1 # behind\n      # indented little\nb: '#'   # of b\n"
        "                    # goes on\n# above c\nc:\n  d: null\n"
    )
    assert head == ["Head.", "More"]
    assert [(one.name, one.default, one.comment, one.section) for one in keys] == [
        ("a", "1", "behind", "Part one"),
        ("b", "'#'", "indented little of b goes on", "Part one"),
        ("c", "", "above c", "Part one"),
        ("c.d", "null", "", "Part one"),
    ]


def test_all_names_are_listed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "130")
    out = said(capsys, "--suite=lite", "--help")
    for name in (*algorithms.algorithm_files(), "smax", "mamujoco", "gymma", "--dry-run", "epymarl-tr suite fetch"):
        assert name in out
    assert "HATRPO: heterogeneous-agent trust region policy optimisation\n" in out.replace("  ", "").replace(
        " \n", "\n"
    )


@pytest.mark.parametrize("name", sorted(algorithms.algorithm_files()))
def test_every_key_of_an_algorithm_is_told_of(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = said(capsys, "--suite=lite", "--help", name)
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    own = yaml.safe_load(algorithms.algorithm_files()[name].read_text())
    keys = set(own) if "offline" in name else {f.name for f in dataclasses.fields(SCHEMAS[own["learner"]])}
    assert keys <= set(rows) and ({"env_processes", "save_model", "use_cuda"} <= set(rows)) != ("offline" in name)
    assert f" {own['gamma']} " in rows["gamma"] and " number > 0, <" in rows["gamma"] and "discount" in rows["gamma"]


def test_an_environment_and_a_name_that_is_none(capsys):
    assert "env_args.partition" in said(capsys, "--suite=lite", "--help", "mamujoco")
    assert "did you mean hatrpo?" in said(capsys, "--help", "hatpro", code=2)


@pytest.mark.integration
def test_the_suites_own_algorithms_have_help_too(capsys):
    assert "mixing_embed_dim" in said(capsys, "--suite=epymarl", "--help", "qmix")


def test_a_dry_run_prints_what_would_be_run_and_leaves_nothing(capsys, own_folder):
    config = yaml.safe_load(said(capsys, "--dry-run", *SPREAD, "lr=0.002", "env_args.N=4"))
    assert config["lr"] == 0.002 and config["env_args"]["N"] == 4 and config["learner"] == "happo_learner"
    assert "lr=-1.0 is out of range" in said(capsys, "--dry-run", *SPREAD, "lr=-1", code=2)
    assert not list(own_folder.iterdir())


@pytest.mark.parametrize(
    "words, understood",
    [
        (["t_max=9", "lr=1"], ["with", "t_max=9", "lr=1"]),
        (["--force", "t_max=9", "print_config"], ["--force", "print_config", "with", "t_max=9"]),
        (["t_max=9", "with", "lr=1"], ["with", "t_max=9", "lr=1"]),
        (["with", "lr=1"], ["with", "lr=1"]),
        (["--name=x"], ["--name=x"]),
    ],
)
def test_with_may_be_left_out(words, understood):
    assert with_the_word(words) == understood
