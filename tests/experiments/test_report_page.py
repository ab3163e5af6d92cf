"""The pictures, tables, page and JSON of a report, from hand-made runs whose numbers are known."""

from __future__ import annotations

import base64
import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from epymarl_trust_region import cli
from epymarl_trust_region.experiments.report import aggregates, course, latex, marl_eval, tables
from epymarl_trust_region.experiments.report.canvas import Picture, log_axis, look
from epymarl_trust_region.experiments.report.naming import Entry, labels_of
from epymarl_trust_region.experiments.report.runs import Run
from epymarl_trust_region.experiments.report.study import study
from epymarl_trust_region.experiments.report.styles import readable, style
from epymarl_trust_region.experiments.sweep_file import read_sweep

for _package in ("pandas", "scipy", "jinja2"):
    pytest.importorskip(_package)

UPDATES = {"UPDATE": ["env_args.key=<task>", "lr=0.001", "seed=1", "local_results_path=here"]}


def entry(algorithm, seed, values, task="spread", interval=100, seconds=60, plugin=None, **info) -> Entry:
    """A run with tests at 10, 110, 210, ..."""
    steps = [10 + interval * k for k in range(len(values))]
    config = {"name": algorithm, "env": "gymma", "seed": seed, "test_interval": interval, "plugin": plugin}
    record = {"start_time": "2026-01-01T00:00:00", "stop_time": f"2026-01-01T00:{seconds // 60:02d}:00"}
    record["meta"] = {"options": UPDATES}
    logged = {"test_return_mean": list(values), "test_return_mean_T": steps, **info}
    return Entry(
        Run(Path(f"results/{algorithm}/{seed}"), config, logged, record), task, algorithm, readable(algorithm), seed
    )


def of(*entries):
    found, left_out = study(entries)
    assert left_out == []
    return found


@pytest.fixture(scope="module")
def two_tasks():
    """On both tasks every HAPPO ends above every QMIX; on the second QMIX trains three times as long."""
    runs = [entry("happo", s, [0.0, 4.0, 6.0 + s], seconds=60 * s) for s in (1, 2, 3, 4)]
    runs += [entry("qmix", s, [0.0, 2.0, 2.0 + s / 10]) for s in (1, 2, 3)]
    runs += [entry("happo", s, [-1.0, 0.0, 1.0], "climbing") for s in (1, 2, 3)]
    runs += [entry("qmix", s, [-1.0, -0.5, -0.5, 5, 5, 5, 5, 5, 9.0], "climbing") for s in (1, 2)]
    return of(*runs)


# What is compared --------------------------------------------------------------------------------------------------


def test_all_are_compared_where_the_shortest_ends_and_on_its_scale(two_tasks):
    assert (two_tasks.common_end("spread"), two_tasks.common_end("climbing")) == (200, 200)
    assert two_tasks.scale("spread") == (0.0, 10.0) and two_tasks.scale("climbing") == (-1.0, 1.0)
    assert two_tasks.scores("spread")["HAPPO"].tolist() == pytest.approx([0.7, 0.8, 0.9, 1.0])
    assert two_tasks.scores("climbing")["QMIX"].tolist() == [0.25, 0.25]


def test_where_all_tests_are_alike_the_score_is_a_half():
    assert of(entry("happo", 1, [3.0, 3.0]), entry("qmix", 1, [3.0])).scores("spread")["HAPPO"].tolist() == [0.5]


def test_a_test_that_a_seed_missed_is_between_its_neighbours_in_curves_only():
    whole, gap = entry("happo", 1, [0.0, 1.0, 2.0]), entry("happo", 2, [0.0, 1.0, 6.0])
    gap.run.info["test_return_mean"].pop(1)
    gap.run.info["test_return_mean_T"].pop(1)
    (curves,) = of(whole, gap).tasks["spread"]
    assert curves.table[2].tolist() == [0.0, 3.0, 6.0] and len(of(whole, gap).rows) == 5


def test_the_aggregate_is_that_of_the_scores(two_tasks):
    found = aggregates.aggregate(two_tasks).iqm()
    # HAPPO's seven scores: 0.7 0.8 0.9 1 1 1 1, one cut at each end; QMIX's five: 0.21 0.22 0.23 0.25 0.25.
    assert found["HAPPO"].value == pytest.approx((0.8 + 0.9 + 3) / 5) and found["QMIX"].value == pytest.approx(0.7 / 3)
    assert found["HAPPO"].ends[0] < 0.94 < found["HAPPO"].ends[1] and found["QMIX"].ends is None  # two seeds on a task


def test_disjoint_samples_improve_for_certain(two_tasks):
    pairs = aggregates.improvements(two_tasks)
    assert (pairs["HAPPO", "QMIX"].value, pairs["QMIX", "HAPPO"].value, len(pairs)) == (1.0, 0.0, 2)
    assert pairs["HAPPO", "QMIX"].tasks == 2 and pairs["HAPPO", "QMIX"].ends is None


def test_who_was_not_run_on_every_task_is_named():
    three = [entry(name, s, [0.0, 1.0 + s]) for name in ("happo", "qmix", "vdn") for s in (1, 2, 3)]
    found = of(*three, *(entry(name, 1, [2.0, 1.0], "climbing") for name in ("happo", "qmix")))
    assert aggregates.aggregate(found).tasks == ["spread"]  # the one that all were run on
    found = of(*three[:6], entry("vdn", 1, [2.0, 1.0], "climbing"), entry("happo", 1, [2.0, 1.0], "climbing"),
               entry("qmix", 1, [2.0, 3.0], "climbing"), entry("iql", 1, [0.0, 1.0], "third"),
               entry("vdn", 1, [0.0, 1.0], "third"))  # fmt: skip
    core = aggregates.aggregate(found)
    assert (list(core.scores), core.tasks, core.missing) == (["HAPPO", "QMIX", "VDN"], ["climbing"], ["IQL"])
    with look():
        assert "Not here, for want of runs on all of these tasks: IQL." in aggregates.pictures(found)[0].caption


def test_scores_that_lie_together_are_drawn_apart():
    """One untrained policy far below all others leaves everybody near 1: then the axis is that part, and says so."""

    def drawn(worst: float) -> Picture:
        runs = [entry("happo", s, [0.0, 6.0 + s / 10, 8.0 + s / 10]) for s in (1, 2, 3)]
        runs += [entry("qmix", s, [worst, 1.5, 2.0 + s / 10]) for s in (1, 2, 3)]
        with look():
            return aggregates.pictures(of(*runs))[0]

    far, near = drawn(-100.0), drawn(1.0)
    low, high = far.axes[0].get_xlim()
    assert 0.9 < low < 102.1 / 108.3 < 1.0 < high < 1.02 and far.caption.endswith(" The axis does not begin at 0.")
    assert near.axes[0].get_xlim() == (-0.03, 1.06) and "axis" not in near.caption


def test_aggregates_are_written_with_their_intervals(two_tasks, tmp_path):
    aggregates.write(two_tasks, tmp_path)
    rows = (tmp_path / "improvement.csv").read_text().splitlines()
    assert rows[1:] == ["HAPPO,QMIX,1.0000,,,12,2", "QMIX,HAPPO,0.0000,,,12,2"]
    (_, happo, qmix) = csv.reader((tmp_path / "aggregate.csv").open())
    assert happo[:2] == ["HAPPO", "0.9400"] and happo[4:] == ["7", "2"] and qmix == ["QMIX", "0.2333", "", "", "5", "2"]


def test_untrained_policies_are_not_compared():
    """QMIX was tested at the start only; nothing follows from that, and its point is no curve."""
    found = of(entry("happo", 1, [0.0, 1.0]), entry("qmix", 1, [5.0]), entry("happo", 1, [1.0], "short"))
    assert found.compared == [] and aggregates.improvements(found) == {} and aggregates.aggregate(found).scores == {}
    pictures = drawn(found)
    assert set(pictures) == {"curves", "spread", "short"}
    assert [text.get_text() for text in pictures["spread"].axes[0].texts] == ["with a bar: tested at the start only"]
    assert list(pictures["short"].axes[0].get_xticks()) == [0]


def test_the_other_way_round_is_the_rest():
    found = of(
        *(entry("happo", s, [0.0, 1.0 * s]) for s in (1, 2, 3)), *(entry("qmix", s, [0.0, s + 0.5]) for s in (0, 1, 2))
    )
    pairs = aggregates.improvements(found)
    here, there = pairs["HAPPO", "QMIX"], pairs["QMIX", "HAPPO"]
    assert here.value == pytest.approx(6 / 9) and there.value == pytest.approx(3 / 9)
    assert there.ends == pytest.approx((1 - here.ends[1], 1 - here.ends[0])) and here.ends[0] < 6 / 9 < here.ends[1]


def test_too_many_to_be_read_are_not_drawn():
    many = of(*(entry(f"algorithm{k}", 1, [0.0, float(k)]) for k in range(13)))
    with look():
        assert [picture.name for picture in aggregates.pictures(many)] == ["aggregate-iqm", "aggregate-profiles"]


# Tables ------------------------------------------------------------------------------------------------------------


def test_the_final_table_has_means_intervals_and_where_longer_runs_ended(two_tasks):
    table = tables.final(two_tasks)
    by = {(row[0], row[1]): dict(zip(table.columns, row, strict=True)) for row in table.rows}
    happo, qmix = by["spread", "happo"], by["climbing", "qmix"]
    assert (happo["mean"], happo["iqm"], happo["seeds"], happo["step"]) == (8.5, 8.5, 4, 200)
    assert 7.0 < happo["low"] < 8.5 < happo["high"] < 10.0 and happo["std"] == pytest.approx(1.291, abs=1e-3)
    assert (qmix["mean"], qmix["low"], qmix["own_end"], qmix["own_mean"]) == (-0.5, None, 800, 9.0)
    assert table.shown[-1] == ["climbing", "QMIX", "2", "200", "-0.50", "-0.50", "9.00 at 800"]


def test_latex_is_of_booktabs_and_bold_where_none_is_told_apart_from_the_best():
    lines = latex.table(of(*(entry("my_best", s, [0.0, 9.0 + s]) for s in (1, 2, 3)), entry("qmix", 1, [0.0, 1.0])))
    assert r"my\_best & \textbf{11.00 [10.00, 12.00]} \\" in lines and r"QMIX & 1.00 \\" in lines
    alone = latex.table(of(entry("happo", 1, [0.0, 5.0]), entry("qmix", 1, [0.0, 1.0])))
    assert r"HAPPO & \textbf{5.00} \\" in alone and r"QMIX & 1.00 \\" in alone
    for word in (r"\begin{tabular}{lr}", r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}"):
        assert lines.count(word) == 1


def test_steps_to_a_return_are_medians_and_a_seed_without_it_has_none():
    runs = [entry("happo", 1, [0, 5, 9, 9]), entry("happo", 2, [0, 0, 5, 9]), entry("happo", 3, [0, 0, 0, 0])]
    table = tables.efficiency(of(*runs), [5.0, 9.0, 10.0])
    assert [row[2:] for row in table.rows] == [[5.0, 200, 2, 3], [9.0, 300, 2, 3], [10.0, None, 0, 3]]
    assert table.shown[0][2:] == ["5.00: 200 (2 of 3)", "9.00: 300 (2 of 3)", "10.00: > 300 (0 of 3)"]
    assert [row[2] for row in tables.efficiency(of(*runs)).rows] == [4.5, 6.75, 8.1]  # shares of 0 to 9


def test_of_distances_from_an_equilibrium_less_is_better():
    """Of a metric that says so, or whose name does: the same study as that of their negatives."""
    values = {"happo": [4.0, 1.0], "inpg": [4.0, 3.0], "qmix": [5.0, 2.0]}

    def made(sign, metric, less=False):
        runs = [
            entry(
                name,
                s,
                [sign * (v + s / 10) for v in of_it],
                **{metric: [sign * (v + s / 10) for v in of_it]},
                **{f"{metric}_T": [10, 110]},
            )
            for name, of_it in values.items()
            for s in (1, 2, 3)
        ]
        return study(runs, metric, less)[0]

    negative = made(-1, "test_score_mean")
    for less in (made(1, "nash_conv"), made(1, "agent_0_best_response_gain"), made(1, "test_score_mean", True)):
        for label, scores in negative.scores("spread").items():
            assert less.scores("spread")[label].tolist() == pytest.approx(scores.tolist())
        assert less.scores("spread")["HAPPO"].min() > 0.9
        pairs = aggregates.improvements(less)
        assert pairs == aggregates.improvements(negative) and pairs["HAPPO", "QMIX"].value == 1
        steps, others = tables.efficiency(less), tables.efficiency(negative)
        assert [row[3:] for row in steps.rows] == [row[3:] for row in others.rows]
        assert [row[2] for row in steps.rows] == pytest.approx([-row[2] for row in others.rows])
        assert "first test with at most that `" in steps.note
        assert r"HAPPO & \textbf{1.20" in latex.table(less) and "% Bold: the minimum of" in latex.table(less)
        assert latex.table(less).count("textbf") == 1
        runs = marl_eval.document(less)["gymma"]["spread"]["qmix"]
        assert runs["seed_1"]["absolute_metrics"] == {"return": [-2.1]}  # marl-eval takes more for better
        assert [step["return"] for step in list(runs["seed_1"].values())[:2]] == [[-5.1], [-2.1]]
        assert {axes.get_ylabel() for axes in drawn(less)["aggregate-improvement"].figure.axes} >= {"P(X < Y)"}
        assert ", for a score of 1 is the lowest test;" in drawn(less)["aggregate-profiles"].caption
        assert "0 and 1 are the highest and the lowest test" in drawn(less)["aggregate-iqm"].caption
    assert not made(1, "test_score_mean").less_is_better and made(1, "test_score_mean").best is max


def test_small_thresholds_are_told_apart():
    table = tables.efficiency(of(entry("happo", 1, [0.5, 0.006])), [0.005, 0.0042, 0.25])
    assert [cell.partition(":")[0] for cell in table.shown[0][2:]] == ["0.005", "0.0042", "0.25"]


def test_wall_time_is_by_the_runs_own_clocks(two_tasks):
    row = tables.wall_time(two_tasks).rows[0]
    rates = [210 / s for s in (60, 120, 180, 240)]  # the last thing logged is at 210
    assert row == ["spread", "happo", 4, 150.0, 60.0, 240.0, round((rates[1] + rates[2]) / 2, 4)]
    assert [tables.duration(s) for s in (45, 60, 5400)] == ["45 s", "1.0 min", "1.5 h"]


def test_default_columns_are_the_quarters_and_the_end_of_each_tasks_run():
    ours = [entry("happo", 1, range(13), interval=25_000), entry("qmix", 1, range(7), interval=50_000)]
    found = of(*ours, entry("happo", 1, [1.0], "short"))
    heads = {task: head for task, (head, _) in course.of_tasks(course.summarise(found.rows), None).items()}
    assert heads["short"][2:] == ["0 steps"]
    assert heads["spread"][2:] == [
        "50,000 steps",
        "150,000 steps",
        "200,000 steps",
        "300,000 steps",
    ]  # both were tested
    alone = course.of_tasks(course.summarise(of(ours[0]).rows), None)["spread"]
    assert alone[0][2:] == ["75,000 steps", "150,000 steps", "225,000 steps", "300,000 steps"]
    assert alone[1] == [["happo", "1", "3.00", "6.00", "9.00", "12.00"]]


def test_marl_evals_format(two_tasks):
    found = marl_eval.document(two_tasks)
    runs = found["gymma"]["spread"]["happo"]
    assert set(found) == {"gymma"} and set(found["gymma"]) == {"spread", "climbing"}
    assert set(runs) == {"seed_1", "seed_2", "seed_3", "seed_4"}
    assert runs["seed_2"] == {
        "step_0": {"step_count": 0, "return": [0.0]},
        "step_1": {"step_count": 100, "return": [4.0]},
        "step_2": {"step_count": 200, "return": [8.0]},
        "absolute_metrics": {"return": [8.0]},
    }
    assert len(found["gymma"]["climbing"]["qmix"]["seed_1"]) == 3 + 1  # as many steps as HAPPO


# Pictures ----------------------------------------------------------------------------------------------------------


def drawn(found) -> dict[str, Picture]:
    from epymarl_trust_region.experiments.report import figures, trust_region

    with look():
        made = figures.learning_curves(found) + aggregates.pictures(found) + trust_region.pictures(found)
    return {picture.name: picture for picture in made}


def lines_of(axes) -> dict[str, list[float]]:
    return {line.get_label(): list(line.get_ydata()) for line in axes.lines if not line.get_label().startswith("_")}


def test_a_curve_is_the_mean_with_its_interval_and_the_end_of_a_shorter_one_is_marked(two_tasks):
    pictures = drawn(two_tasks)
    assert set(pictures) == {
        "curves", "spread", "climbing", "aggregate-iqm", "aggregate-profiles", "aggregate-improvement"
    }  # fmt: skip
    (axes,) = pictures["spread"].axes
    assert lines_of(axes) == {"HAPPO (4 seeds)": [0.0, 4.0, 8.5], "QMIX (3 seeds)": [0.0, 2.0, pytest.approx(2.2)]}
    band = axes.collections[0].get_paths()[0].vertices
    at_end = band[band[:, 0] == 200][:, 1]
    assert 7.0 < at_end.min() < 8.5 < at_end.max() < 10.0 and len(axes.collections) == 2
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("environment steps", "test return")
    assert "curves with a bar" not in "".join(t.get_text() for t in axes.texts)
    (axes,) = pictures["climbing"].axes
    assert [t.get_text() for t in axes.texts] == ["curves with a bar end at 200"]
    bars = [line for line in axes.lines if line.get_marker() == "|"]
    assert [(list(bar.get_xdata()), list(bar.get_ydata())) for bar in bars] == [([200], [1.0])]
    assert "HAPPO at 200" in pictures["climbing"].caption


def test_a_first_test_far_off_is_left_out_of_the_picture_and_it_is_said():
    runs = [entry("happo", s, [-70.0, -40.0, -30.0]) for s in (1, 2, 3)]
    found = of(*runs, *(entry("qmix", s, [-250.0 - s, -45.0, -31.0]) for s in (1, 2, 3)))
    picture = drawn(found)["spread"]
    low, high = picture.axes[0].get_ylim()
    assert -95 < low < -70 and -30 < high < 20  # three times the distance from -45 to -30 below that
    assert picture.caption.endswith("First tests, of untrained policies, are outside the picture: QMIX.")
    near = drawn(of(*runs))["spread"]
    assert near.axes[0].get_ylim()[0] < -70 and "outside" not in near.caption
    alone = drawn(of(entry("happo", 1, [3.0]), entry("qmix", 1, [900.0])))["spread"]
    assert alone.axes[0].get_ylim()[1] > 900 and "outside" not in alone.caption


def test_two_seeds_have_no_band_and_it_is_said(two_tasks):
    picture = drawn(two_tasks)["climbing"]
    (axes,) = picture.axes
    assert "QMIX (2 seeds, no interval)" in lines_of(axes) and len(axes.collections) == 1  # HAPPO's
    assert "Fewer than 3 seeds, so no band, and thin lines for single seeds: QMIX (2)." in picture.caption


def test_legends_hide_nothing_and_nothing_is_cut_off(two_tasks):
    """Below the axes, and every letter within the picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for picture in drawn(two_tasks).values():
        renderer = FigureCanvasAgg(picture.figure).get_renderer()
        picture.figure.draw_without_rendering()
        whole = picture.figure.bbox
        for axes in picture.axes:
            box = axes.get_tightbbox(renderer)
            assert whole.x0 - 1 <= box.x0 and box.x1 <= whole.x1 + 1, picture.name
            for legend in picture.figure.legends:
                place = legend.get_window_extent(renderer)
                assert place.y1 <= box.y0 + 1 and place.x0 >= whole.x0 and place.x1 <= whole.x1, picture.name


def test_profiles_are_shares_of_runs_above_the_threshold(two_tasks):
    (axes,) = drawn(two_tasks)["aggregate-profiles"].axes
    shares = lines_of(axes)["HAPPO"]
    assert (shares[0], shares[75], shares[100]) == (1.0, pytest.approx(6 / 7), 0.0)


@pytest.mark.parametrize(
    ("low", "high"), [(0.7, 1.35), (0.35, 4.0), (0.08, 10.0), (1e-4, 0.3), (0.95, 1.04), (2.0, 900.0)]
)
def test_logarithmic_axes_have_labels_on_both_sides_of_one(low, high):
    with look():
        picture = Picture("x", "x")
        (axes,) = picture.axes
        axes.plot([0, 1], [low, high])
        log_axis(axes.yaxis, low, high)
        picture.figure.draw_without_rendering()
    ends = axes.get_ylim()
    shown = [
        float(tick.label1.get_text()) for tick in axes.yaxis.get_major_ticks() if ends[0] <= tick.get_loc() <= ends[1]
    ]
    assert 2 <= len(shown) <= 12
    if low < 0.9 and high > 1.1:
        assert any(x < 1 for x in shown) and 1 in shown and any(x > 1 for x in shown)


def test_a_legend_has_each_label_once():
    with look():
        picture = Picture("x", "x")
        for label in ("a", "b"):
            picture.axes[0].plot([0, 1], [0, 1], label=label)
        picture.legend(["b", "a", "b", "c", "a"])
    (legend,) = picture.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["b", "a"]


def test_who_is_called_like_the_algorithm_has_its_colour():
    more = [replace(entry("happo", 1, [0.0, 1.0], task="other"), experiment=name, label=name) for name in ("x", "y")]
    found = of(*more, entry("happo", 1, [0.0, 1.0]))
    assert found.style_of(found.entries[2]) == style("happo") and found.order == ["HAPPO", "x", "y"]
    assert found.style_of(found.entries[0]) == style("happo", 1)


def test_twelve_experiments_of_an_algorithm_have_twelve_looks():
    for algorithm in ("happo", "ir_mappo", "log_linear_ppo"):
        assert len({style(algorithm, k).colour for k in range(12)}) == 12


def test_an_end_of_an_algorithms_name_is_read_as_it(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "defaults: {seeds: [1], task: t}\n"
        "experiments: [{name: t-matrl, config: matrl}, {name: t-no_br, config: matrl_no_br}, {name: t-x, config: il}]\n"
    )
    names = {"t-matrl": "MATRL", "t-no_br": "MATRL, no best response", "t-x": "x"}
    assert labels_of(read_sweep(tmp_path / "a.yaml")) == names


def test_panels_of_trust_regions_where_logged():
    """KL, total variation, ratios and rho of a run that has all; of rho also where only the agents' own were logged."""
    steps = [250, 500, 750]
    keys = {"kl_mean": [0.01] * 3, "kl_max": [0.02] * 3, "joint_tv": [0.1, 0.2, 0.3], "tv_mean": [0.05] * 3}
    keys |= {"ratio_min": [0.5] * 3, "ratio_max": [2.0] * 3, "agent_0_rho": [0.0, 1.0, 1.0], "agent_1_rho": [0.5] * 3}
    info = keys | {f"{key}_T": steps for key in keys}
    picture = drawn(of(entry("matrl", 1, [0.0, 1.0], **info), entry("qmix", 1, [0.0, 1.0])))["kl-and-tv-spread"]
    got = {axes.get_ylabel(): lines_of(axes)["MATRL"] for axes in picture.axes}
    assert got["total variation"] == [0.1, 0.2, 0.3] and got["ratio"] == [2.0] * 3
    assert got["ρ, mean over agents"] == [0.25, 0.75, 0.75] and got["nats"] == [0.01] * 3
    assert "Not logged by QMIX." in picture.caption


def test_a_diagnostic_that_is_broken_costs_its_panel_and_no_more():
    info = {"kl_mean": ["x"], "kl_mean_T": [1, 2], "joint_tv": [float("nan")], "joint_tv_T": [1]}
    assert "kl-and-tv-spread" not in drawn(of(entry("happo", 1, [0.0, 1.0], **info)))


# The page ----------------------------------------------------------------------------------------------------------


class Checked(HTMLParser):
    """Tags that are opened and closed in turn, and what the page would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open, self.fetched, self.words, self.ids, self.links = [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data"):
                self.fetched.append(value)
            if name == "href":
                self.links.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def made(two_tasks, tmp_path_factory) -> Path:
    """The folder of a whole report, with a name that HTML could mistake."""
    from epymarl_trust_region.experiments.report import command

    plugin = {"epymarl_trust_region": "0.1", "plugin_commit": "abcdef012345", "host": "lite", "host_commit": None}
    entries = [*two_tasks.entries, entry("my<b>", 1, [0.0, 3.0], plugin=plugin)]
    folder = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "read", lambda paths, metric: (entries, ["results/x: it is <FAILED>"]))
        assert cli.main(["report", str(folder), "--out", str(folder), "--title", "Three & more"]) == 0
    return folder


@pytest.fixture
def page(made) -> str:
    return (made / "report.html").read_text()


def test_the_page_is_whole_and_holds_everything(page, made):
    checked = Checked(page)
    text = " ".join(" ".join(checked.words).split())
    assert checked.fetched and all(src.startswith("data:image/svg+xml;base64,") for src in checked.fetched)
    assert {link[1:] for link in checked.links} == set(checked.ids)
    assert "url(" not in page and "<script" not in page and "@import" not in page
    for words in (
        "Three & more", "Learning curves", "Probability of improvement", "Sample efficiency", "Wall time", "Left out",
        "results/x: it is <FAILED>", "my<b>", "HAPPO", "QMIX", "abcdef012345", "EPyMARL's src/main.py",
        "python src/main.py --config=qmix --env-config=gymma with 'env_args.key=<task>' lr=0.001 seed=SEED",
        "epymarl-tr run --suite=lite '--config=my<b>' --env-config=gymma with 'env_args.key=<task>' lr=0.001 seed=SEED",
    ):  # fmt: skip
        assert words in text, words
    assert "<FAILED>" not in page and "my<b>" not in page
    files = {file.name for file in made.iterdir()}
    for name in ("spread", "climbing", "curves", "aggregate-iqm", "aggregate-profiles", "aggregate-improvement"):
        assert {f"{name}.png", f"{name}.svg", f"{name}.pdf"} <= files
    assert {"curves.csv", "summary.csv", "summary.md", "final.csv", "final.md", "final.tex", "marl-eval.json"} <= files
    assert (made / "spread.png").read_bytes()[:4] == b"\x89PNG"
    assert (made / "spread.pdf").read_bytes()[:4] == b"%PDF"


def test_pictures_of_the_page_follow_light_and_dark(page):
    """All ink and paper of a picture are named tones, which its style turns; nothing is plain black or white."""
    assert page.count("@media (prefers-color-scheme: dark)") == 1
    for src in Checked(page).fetched:
        svg = base64.b64decode(src.partition(",")[2]).decode()
        style, rest = re.search(r"<style>(@media \(prefers-color-scheme: dark\).*?)</style>(.*)", svg, re.S).groups()
        for tone in ("#1d1f21", "#fffffe"):
            assert f"fill: {tone}" in style and (tone in rest)
        assert not re.search(r"(fill|stroke): (#000000|#ffffff|black|white)\b(?!; stroke-opacity: 0[;\"])", rest)
        assert not re.search(r"<(text|image)\b", rest) or "image" in rest  # letters are shapes, and need no font


def test_the_same_runs_make_the_same_files(two_tasks, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        drawn(two_tasks)["spread"].save(tmp_path / name)
        tables.final(two_tasks).save(tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name
    assert len(list((tmp_path / "a").iterdir())) == 5


def test_csv_has_empty_fields_for_what_there_is_not(two_tasks, tmp_path):
    tables.final(two_tasks).save(tmp_path)
    rows = list(csv.DictReader((tmp_path / "final.csv").open()))
    assert rows[-1]["low"] == "" and rows[0]["low"] != "" and json.dumps(rows) and np.isfinite(float(rows[0]["low"]))
