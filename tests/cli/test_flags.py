"""What is typed wrongly after any command is one line: what is wrong, the nearest right word, and where help is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from epymarl_trust_region import cli, command_line
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.studies.command import STUDIES
from support import ROOT

# Each command: a flag of its own with a slip, what was meant, and the words that it needs beside its flags.
COMMANDS = {
    "run": ("--confg=happo", "--config", []),
    "sweep": ("--jbos", "--jobs", ["FILE"]),
    "report": ("--outt", "--out", ["PATH"]),
    "tune": ("--job", "--jobs", ["FILE"]),
    "watch": ("--episode", "--episodes", ["CHECKPOINT"]),
    "crossplay": ("--role", "--roles", ["CHECKPOINT"]),
    "best-response": ("--episode", "--episodes", ["CHECKPOINT"]),
    "compare": ("--agianst=a.csv", "--against", ["CURVES.csv", "A"]),
    "bench": ("--grwoth", "--growth", []),
    "episodes": ("--mned", "--mend", ["PATH"]),
    "offline": ("--dta", "--data", ["--config", "--data"]),
    "doctor": ("--jsno", "--json", []),
    "suite fetch": ("--form=x", "--from", []),
    "suite patch": ("--sereis", "--series", ["PATH"]),
    "suite unpatch": ("--hepl", "--help", ["PATH"]),
    "suite path": ("--hepl", "--help", []),
    **{f"study {name}": ("--sede=1", "--seed", ["--out"]) for name in STUDIES},
}


def said(capsys, *words: str) -> str:
    """The one line on standard error."""
    capsys.readouterr()
    try:
        assert cli.main(list(words)) == 2
    except SystemExit as end:  # of `doctor`, which cannot count on our errors
        assert end.code == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n"), err
    return err.removeprefix("error: ").rstrip("\n")


def test_no_command_is_forgotten():
    assert {name.split()[0] for name in COMMANDS} == {*cli._COMMANDS}
    assert {name.split()[1] for name in COMMANDS if name.startswith("suite ")} == {*cli._SUITE_COMMANDS}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_flag_is_named_with_the_nearest_and_help(command, capsys):
    slip, meant, _ = COMMANDS[command]
    line = said(capsys, *command.split(), slip)
    assert line == f"unknown flag {slip.partition('=')[0]} (did you mean {meant}?); see epymarl-tr {command} --help"
    assert said(capsys, *command.split(), "--zzzzzz") == f"unknown flag --zzzzzz; see epymarl-tr {command} --help"


@pytest.mark.parametrize("command", [name for name, (_, _, needed) in COMMANDS.items() if needed])
def test_what_is_missing_is_named(command, capsys):
    needed = COMMANDS[command][2]
    verb = "is" if len(needed) == 1 else "are"
    joined = " and ".join(needed)
    assert said(capsys, *command.split()) == f"{joined} {verb} missing; see epymarl-tr {command} --help"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep", "a.yaml", "b.yaml"], "`b.yaml` is one word too many; see epymarl-tr sweep --help"),
        (["sweep", "a.yaml", "--jobs"], "--jobs needs a value; see epymarl-tr sweep --help"),
        (["sweep", "a.yaml", "--jobs", "two"], "--jobs two is no whole number; see epymarl-tr sweep --help"),
        (["sweep", "a.yaml", "--gpus=x"], "--gpus x is no number; see epymarl-tr sweep --help"),
        (
            ["sweep", "a.yaml", "--engine=slrum"],
            "--engine slrum is none of local, ray, slurm (did you mean slurm?); see epymarl-tr sweep --help",
        ),
        (["sweep", "a.yaml", "--dry-run=1"], "--dry-run takes no value, and has 1; see epymarl-tr sweep --help"),
        (["sweep", "a.yaml", "--anwe", "--jobs"], "unknown flag --anwe (did you mean --anew?); see epymarl-tr sweep"),
        (["sweep", "a.yaml", "-j", "2"], "unknown flag -j; see epymarl-tr sweep --help"),
        (["compare", "a.csv", "x", "y", "--steps", "1"], "--steps needs 2 values; see epymarl-tr compare --help"),
        (["report", "a", "--steps"], "--steps needs a value; see epymarl-tr report --help"),
        (["watch", "a", "--fps", "0"], "--fps: 0 is no number from 0.1 to 50; see epymarl-tr watch --help"),
        (["doctor", "now"], "`now` is one word too many; see epymarl-tr doctor --help"),
        (["suite", "--form"], "unknown flag --form; see epymarl-tr suite --help"),
        (["suite", "patch", "a", "--only", "x"], "--only x is no whole number; see epymarl-tr suite patch --help"),
        (["suite", "pach"], "unknown suite command `pach`; did you mean `patch`? see epymarl-tr --help"),
        (["study"], f"NAME is missing; name a study, {', '.join(STUDIES)}; see epymarl-tr study --help"),
        (["study", "--outt=x"], "unknown flag --outt=x: first name a study, potential-games, "),
        (["study", "meta-gam"], "unknown study `meta-gam`; use `meta-game`; see epymarl-tr study --help"),
        (["--verson"], "unknown flag `--verson`; did you mean `--version`? see epymarl-tr --help"),
        (["swep"], "unknown command `swep`; did you mean `sweep`? see epymarl-tr --help"),
        (["run", "--progress=sometimes"], "--progress sometimes is none of auto, off; see epymarl-tr run --help"),
        (["run", "--config=happo", "with", "lr=1", "--forec"], "unknown flag --forec (did you mean --force?); see "),
    ],
)
def test_every_other_slip_is_one_line(words, message, capsys):
    assert said(capsys, *words).startswith(message)


def test_numbers_below_zero_and_what_follows_with_are_no_flags():
    parser = command_line.Parser(prog="x")
    parser.add_argument("--threshold", type=float, nargs="+")
    parser.add_argument("rest", nargs="*")
    assert parser.parse_args(["--threshold", "-60", "-.5"]).threshold == [-60.0, -0.5]
    assert parser.parse_args(["--", "--rest"]).rest == ["--rest"]
    with pytest.raises(ConfigError, match=r"^unknown flag --treshold \(did you mean --threshold\?\); see x --help$"):
        parser.parse_args(["--treshold", "-60"])


def test_flags_are_written_out(capsys):
    assert said(capsys, "sweep", "a.yaml", "--dry").startswith("unknown flag --dry")


def test_sacreds_own_flags_go_on_to_it():
    from epymarl_trust_region.main import check_passed_on, make_parser

    check_passed_on(make_parser(), ["print_config", "--force", "-l", "INFO", "--name=x", "with", "lr=-1"])


def test_doctor_refuses_where_sacred_does_not_import():
    code = "import sys; sys.modules['sacred'] = None; from epymarl_trust_region import cli; "
    code += "sys.exit(cli.main(['doctor', '--jsno']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "plugins")
    line = "error: unknown flag --jsno (did you mean --json?); see epymarl-tr doctor --help\n"
    assert (done.returncode, done.stderr) == (2, line)


@pytest.mark.skipif(sys.platform == "win32", reason="no such pipes there")
@pytest.mark.parametrize("words", [["--help"], ["doctor"], ["suite"]])
def test_a_reader_who_has_had_enough_is_no_error(words):
    """As in `epymarl-tr report ... | head -3`: a pipe that nobody reads any more."""
    start = f"import sys; sys.argv = ['epymarl-tr', *{words}]"
    code = f"{start}; from epymarl_trust_region import cli; sys.exit(cli.main())"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, cwd=ROOT / "plugins")
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="no such shell there")
@pytest.mark.parametrize("end", ["2>err | head -1; exit ${PIPESTATUS[0]}", ">&-"])
def test_output_that_nobody_has_is_no_traceback(end, tmp_path):
    """Of a run too, whose summary comes last; and of a shell that has closed the output at once."""
    code = "import sys; from epymarl_trust_region import cli; sys.exit(cli.main())"
    words = "run --suite=lite --config=happo --env-config=gymma with env_args.key=trust-region-climbing-v0 t_max=200"
    command = f"{sys.executable} -c '{code}' {words if '|' in end else '--help'} {end}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "plugins")}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, env=environment)
    errors = (tmp_path / "err").read_text() if "|" in end else done.stderr
    assert done.returncode == (141 if "|" in end else 0) and "Traceback" not in errors and "error:" not in errors, (
        errors
    )
