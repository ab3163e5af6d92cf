"""`bench --curves` on tiny sizes: one thing varied at a time, bounded in time and memory, as CSV and picture."""

from __future__ import annotations

import csv
import math

import pytest
from epymarl_trust_region.errors import ConfigError
from epymarl_trust_region.experiments import bench, bench_curves
from epymarl_trust_region.experiments.bench_curves import AXES, BASE, Point, batch_mib, measure_curves, work, write
from PIL import Image


def test_one_thing_is_varied_at_a_time():
    many = work("hatrpo", "agents", 100)
    assert (many.agents, many.steps, many.episodes) == (100, 25, 10) and many.made_batch
    assert work("happo", "steps", 1000).steps == 1000 and work("happo", "episodes", 4096).episodes == 4096
    assert work("happo", "hidden_dim", 512).overrides == {"hidden_dim": 512, "critic_hidden_dim": 512}
    assert {axis: values[0] for axis, values in AXES.items()} == BASE
    assert [values[-1] for values in AXES.values()] == [100, 1000, 4096, 512]


def test_every_value_rises_and_the_largest_batch_fits():
    for axis, values in AXES.items():
        assert list(values) == sorted(values)
        assert batch_mib(axis, values[-1]) * bench_curves.TIMES_A_BATCH < bench_curves.MOST_MIB
    # 10 x 26 slots of 100 observations of 600 numbers, and as many again in the state, 4 bytes each
    assert batch_mib("agents", 100) == pytest.approx(2 * 10 * 26 * 100 * 600 * 4 / 2**20)


@pytest.mark.parametrize(
    "before, axis, value, seconds, expected",
    [
        ([], "agents", 3, 0.0, ""),
        ([Point("happo", "steps", 10, slowest=1.0)], "steps", 20, 8.1, ""),  # 4 times 2 seconds
        ([Point("happo", "steps", 10, slowest=1.0)], "steps", 20, 7.9, "time"),
        ([Point("happo", "agents", 10, slowest=1.0)], "agents", 20, 15.9, "time"),  # 4 times 4
        ([Point("happo", "steps", 10, left_out="memory")], "steps", 20, 99.0, "memory"),
        ([], "agents", 1000, 99.0, "memory"),
    ],
)
def test_what_would_take_too_much_is_left_out(before, axis, value, seconds, expected):
    assert bench_curves._why_not(before, axis, value, seconds) == expected


def test_a_curve_is_measured_written_and_drawn(tmp_path, capsys):
    points = measure_curves(1, ("happo", "nonsense"), {"steps": (5, 9)})
    assert [(p.learner, p.value) for p in points] == [("happo", 5), ("happo", 9), ("nonsense", 5), ("nonsense", 9)]
    assert all(0 < p.fastest <= p.seconds <= p.slowest and p.peak_mib >= 0 for p in points[:2])
    assert all("nonsense" in p.left_out and math.isnan(p.seconds) for p in points[2:])
    assert capsys.readouterr().out.count("\n") == 4
    write(points, tmp_path / "new")
    rows = list(csv.DictReader((tmp_path / "new/growth-curves.csv").open()))
    assert [row["value"] for row in rows] == ["5", "9", "5", "9"] and float(rows[0]["seconds"]) == points[0].seconds
    assert Image.open(tmp_path / "new/growth-curves.png").size[0] > 300


@pytest.mark.parametrize("words", [["--curves", "x", "--growth"], ["--curves", "x", "--minutes", "0"]])
def test_flags_that_do_not_go_together_are_refused(words):
    with pytest.raises(ConfigError, match="--curves is in place of the rows|--minutes=0.0 is out of range"):
        bench._options(words)
