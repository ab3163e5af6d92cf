"""`epymarl-tr compare`: differences and standard errors worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from epymarl_trust_region import cli
from epymarl_trust_region.experiments.compare import Difference

pytest.importorskip("pandas")

CURVES = """task,experiment,seed,step,value
t,ours,1,0,900
t,ours,2,0,-900
t,ours,1,100,10
t,ours,2,100,14
t,ours,1,200,20
t,ours,2,200,20
t,ours,1,300,99
t,theirs,4,0,0
t,theirs,5,0,0
t,theirs,6,0,0
t,theirs,4,100,9
t,theirs,5,100,10
t,theirs,6,100,11
t,theirs,4,200,17
t,theirs,5,200,14
t,alone,1,0,0
t,alone,1,100,7
"""


@pytest.fixture(autouse=True)
def curves(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("curves.csv").write_text(CURVES)
    return Path("curves.csv")


def compared(capsys, *more) -> list[str]:
    assert cli.main(["compare", *more]) == 0
    return capsys.readouterr().out.splitlines()


def test_differences_at_each_common_test_and_over_all_of_them(capsys):
    """The first test is left out, and what only one of the two has. Seeds are averaged over their tests first."""
    # 100 steps: 12 - 10, variances 8 of 2 seeds and 1 of 3. 200: 20 - 15.5, variances 0 of 2 and 4.5 of 2.
    # All: seeds 15 and 17 (variance 2) against 13, 12 and 11 (variance 1).
    few = ", few for a standard error)"
    assert compared(capsys, "curves.csv", "ours", "theirs") == [
        "ours - theirs",
        f"         100 steps  +2.0 (standard error {math.sqrt(8 / 2 + 1 / 3):.1f}; 2 and 3 seeds{few}",
        f"         200 steps  +4.5 (standard error 1.5; 2 and 2 seeds{few}",
        f"         all tests  +4.0 (standard error {math.sqrt(2 / 2 + 1 / 3):.1f}; 2 and 3 seeds{few}",
    ]
    assert compared(capsys, "curves.csv", "theirs", "ours", "--steps", "150", "250")[1:] == [
        f"         200 steps  -4.5 (standard error 1.5; 2 and 2 seeds{few}",
        f"         all tests  -4.5 (standard error 1.5; 2 and 2 seeds{few}",
    ]


def test_the_second_may_stand_in_another_file(capsys):
    Path("other.csv").write_text(CURVES.replace("theirs", "others").replace("t,others,5,100,10", "t,others,5,100,100"))
    (_, first, *_) = compared(capsys, "curves.csv", "ours", "others", "--against", "other.csv")
    assert first.split()[2] == "-28"  # 12 - (9 + 100 + 11) / 3
    table = compared(capsys, "curves.csv", "ours", "--against", "other.csv")
    assert [row.split("|")[1].strip() for row in table[4:]] == ["ours", "others", "alone"]


def test_a_single_seed_has_no_standard_error(capsys):
    assert compared(capsys, "curves.csv", "ours", "alone")[1:] == [
        "         100 steps  +5.0 (one seed; 2 and 1 seeds)",
        "         all tests  +5.0 (one seed; 2 and 1 seeds)",
    ]


@pytest.mark.parametrize(
    "mean, error, said",
    [
        (1170.3, 413.2, "+1170 (standard error 413; 3 and 5 seeds)"),
        (-0.004, 0.16, "-0.00 (standard error 0.16; 3 and 5 seeds)"),
        (6.5, 0.999, "+6.50 (standard error 1.00; 3 and 5 seeds)"),
        (2.0, 0.0, "+2.00 (standard error 0.00; 3 and 5 seeds)"),
        (-12.34, math.nan, "-12 (one seed; 3 and 5 seeds)"),
    ],
)
def test_numbers_have_the_decimals_that_their_standard_error_allows(mean, error, said):
    assert str(Difference(mean, error, (3, 5))) == said


def test_of_several_others_there_is_a_table(capsys):
    """Over all tests as above; the last quarter of what both have, to 200 steps, is the test there."""
    expected = [
        "ours less each, mean over tests ± standard error.",
        "",
        "| ours less | all tests | last quarter | seeds |",
        "|---|---|---|---|",
        f"| theirs | +4.0 ± {math.sqrt(2 / 2 + 1 / 3):.1f} | +4.5 ± 1.5 | 2 and 3 |",
        "| alone | +5.0 | +5.0 | 2 and 1 |",
    ]
    assert compared(capsys, "curves.csv", "ours") == expected
    assert compared(capsys, "curves.csv", "ours", "theirs", "alone") == expected
    Path("curves.csv").write_text(CURVES + "u,elsewhere,1,0,0\nu,elsewhere,1,100,7\n")  # of another task
    assert compared(capsys, "curves.csv", "ours") == expected
    # What was never tested when A was is left out.
    Path("curves.csv").write_text(CURVES + "t,elsewhen,1,0,0\nt,elsewhen,1,150,7\n")
    assert compared(capsys, "curves.csv", "ours") == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.csv", "ours", "theirs"], "nowhere.csv is no curves.csv of `epymarl-tr report`: FileNotFoundError"),
        (
            ["curves.csv", "our", "theirs"],
            "no experiment our in curves.csv (did you mean ours?); it has ours, theirs, alone",
        ),
        (["curves.csv", "ours", "theirs", "--steps", "300", "400"], "ours and theirs have no test in common"),
        (["curves.csv", "ours", "--steps", "300", "400"], "ours and theirs have no test in common"),
        (["curves.csv", "ours", "theirs", "them"], "no experiment them in curves.csv"),
        (["curves.csv"], "A is missing"),
        (["lonely.csv", "ours"], "lonely.csv has nothing else of the task t; name another experiment"),
        (["other.csv", "ours", "theirs"], "other.csv is no curves.csv of `epymarl-tr report`: KeyError('experiment')"),
        (["empty.csv", "ours", "theirs"], "empty.csv is no curves.csv of `epymarl-tr report`: EmptyDataError"),
    ],
)
def test_what_is_not_there_is_one_clear_error(words, said, capsys):
    Path("other.csv").write_text("a,b\n1,2\n")
    Path("empty.csv").write_text("")
    Path("lonely.csv").write_text("task,experiment,seed,step,value\nt,ours,1,0,1\nt,ours,1,9,1\nu,theirs,1,9,1\n")
    assert cli.main(["compare", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {said}")
