"""`epymarl-tr report PATH...`: completed runs as tables, pictures and a page that one can show.

A PATH is a folder with Sacred's runs anywhere below it, ours or EPyMARL's own, or a sweep file, whose names are then
used, or the `curves.csv` of an earlier report, whose tests are taken over. Written are `report.html`, the pictures
(PNG, SVG, PDF), and tables: `curves.csv` (every test of every seed), `summary.csv` and `summary.md` (mean and spread
over seeds), `final`, `efficiency` and `wall-time`, `runs.csv` and `versions.json` (what each run was, and what made it)
and `marl-eval.json`. Runs that were made from modified files are refused. See docs/report.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...command_line import Parser
from ...errors import ConfigError
from ..made_by import add_flag
from ..sweep_file import read_sweep
from . import aggregates, course, distances, figures, latex, marl_eval, naming, origin, page, tables, trust_region
from . import earlier as earlier_reports
from .canvas import Picture, look
from .naming import Entry
from .runs import Run
from .study import Study, study

_NEEDED = ("pandas", "scipy", "jinja2")


def read(paths: Sequence[Path], metric: str | None = None) -> tuple[list[Entry], list[str]]:
    """Runs with their names, from folders, sweep files and earlier reports, and a line for each that is left out.

    Args:
        metric: what is to be reported, if it was said.

    Raises:
        ConfigError: a path is not there, or is none of these.
    """
    runs: list[Run] = []
    entries: list[Entry] = []
    left_out: list[str] = []
    labels: dict[tuple[str, str], str] = {}
    reports = _reports(paths, metric)
    for path in paths:
        if _is_report(path):
            continue
        if path.is_dir():
            found, lines = naming.of_folder(path)
            runs += found
        elif path.suffix in (".yaml", ".yml"):
            sweep = read_sweep(path)
            of_it, lines = naming.of_sweep(sweep, earlier_reports.places(reports))
            short = naming.labels_of(sweep)
            labels = {**labels, **{(x.task, x.name): short[x.name] for x in sweep.experiments}, **labels}
            names = {(entry.task, entry.experiment) for entry in entries}
            clash = any((entry.task, entry.experiment) in names for entry in of_it)
            entries += naming.renamed(of_it, path.stem) if clash else of_it
        else:
            why = "is no folder, sweep file (.yaml) or curves (.csv)" if path.exists() else "does not exist"
            or_else = "a folder with runs, such as results/sacred, a sweep file, or an earlier report's curves.csv"
            raise ConfigError(f"{path} {why}; name {or_else}")
        left_out += lines
    of_sweeps = {entry.run.folder.resolve() for entry in entries}
    named, lines = naming.named([run for run in _apart(runs) if run.folder.resolve() not in of_sweeps])
    return naming.told_by_label(earlier_reports.joined(entries + named, reports, labels)), left_out + lines


def _reports(paths: Sequence[Path], metric: str | None) -> list[list[Entry]]:
    """Of each earlier report that is named, its runs; each file once, however it is spelt."""
    files: dict[Path, Path] = {}
    for path in filter(_is_report, paths):
        files.setdefault(path.resolve(), path)
    return [earlier_reports.read(path, metric) for path in files.values()]


def _is_report(path: Path) -> bool:
    return path.suffix.lower() == ".csv" and path.is_file()


def _apart(runs: list[Run]) -> list[Run]:
    """Each folder once, also if two paths lead to it."""
    return list({run.folder.resolve(): run for run in runs}.values())


def write(folder: Path, found: Study, made_by: dict[str, Any], left_out: list[str], options: argparse.Namespace) -> str:
    """Write everything, all of it or nothing: the report that stood there may be what this one is made from.

    Returns:
        The tables that are printed, as Markdown.

    Raises:
        ConfigError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder) as beside:
            shown = _write(Path(beside), found, made_by, left_out, options)
            for file in Path(beside).iterdir():
                os.replace(file, folder / file.name)
    except OSError as error:
        raise ConfigError(
            f"{error.filename or folder} cannot be written: {error.strerror}; name another --out"
        ) from None
    return shown


def _write(
    folder: Path, found: Study, made_by: dict[str, Any], left_out: list[str], options: argparse.Namespace
) -> str:
    summary = course.summarise(found.rows)
    found.rows.to_csv(folder / "curves.csv", index=False, float_format="%.4f")
    summary.to_csv(folder / "summary.csv", index=False, float_format="%.4f")
    shown = course.markdown(summary, options.steps, found.what)
    (folder / "summary.md").write_text(shown, encoding="utf-8")
    told = made_by | {"metric": found.metric, "less_is_better": found.less_is_better}
    (folder / "versions.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    (folder / "final.tex").write_text(latex.table(found), encoding="utf-8")
    earlier_reports.write(found.entries, found.metric, folder)
    marl_eval.write(found, folder)
    aggregates.write(found, folder)
    with look():
        text, far = distances.write(found, folder) if options.distances else ("", [])
        sections = _sections(found, far, options.threshold)
        for _, items in sections:
            for item in items:
                item.save(folder)
        title = options.title or f"Report of {', '.join(map(str, options.paths))}"
        html = page.render(title, sections, origin.origins(found.entries), made_by, left_out)
    (folder / "report.html").write_text(html, encoding="utf-8")
    return "\n".join(filter(None, (shown, text)))


def _sections(found: Study, far: list[Picture], thresholds: list[float] | None) -> list[tuple[str, list[Any]]]:
    return [
        ("Learning curves", figures.learning_curves(found)),
        ("At the end", [tables.final(found)]),
        ("All tasks together", aggregates.pictures(found)),
        ("Sample efficiency", [tables.efficiency(found, thresholds)]),
        ("Wall time", [tables.wall_time(found)]),
        ("How far policies move", trust_region.pictures(found) + far),
    ]


def parser() -> Parser:
    """What can be said to it."""
    made = Parser(prog="epymarl-tr report", description=__doc__.splitlines()[0])
    made.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="folder with runs below it, a sweep file, or an earlier report's curves.csv",
    )
    made.add_argument("--out", type=Path, default=Path("report"), help="folder to write to (default: report)")
    made.add_argument("--title", help="of the page")
    made.add_argument(
        "--steps", type=int, nargs="+", help="columns of summary.md (default: quarters of a run and its end)"
    )
    made.add_argument("--metric", help="key to read, such as test_battle_won_mean (default: the test return)")
    made.add_argument(
        "--threshold", type=float, nargs="+", help="returns for sample efficiency (default: shares of the scale)"
    )
    made.add_argument(
        "--less-is-better",
        action="store_true",
        help="of the metric; of nash_conv and best responses' gains it is known",
    )
    text = "also the distributions of ratios and total variation per update, with a picture per task"
    made.add_argument("--distances", action="store_true", help=text)
    add_flag(made)
    return made


def main(argv: list[str]) -> int:
    """The command line.

    Raises:
        ConfigError: there is nothing to report, or nothing that a commit stands for.
    """
    options = parser().parse_args(argv)
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise ConfigError(
            f"epymarl-tr report needs {' and '.join(missing)}, not installed: pip install -c constraints.txt -e "
            "'.[report]'"
        )
    if options.less_is_better and not options.metric:
        raise ConfigError("--less-is-better is said of a metric; name one with --metric, or leave it out")
    entries, left_out = read(options.paths, options.metric)
    told = earlier_reports.of_reports(entry.run for entry in entries)
    less = options.less_is_better or any(versions.get("less_is_better") for versions in told)
    found, lines = study(entries, options.metric, less) if entries else (None, [])
    left_out += lines
    where = ", ".join(map(str, options.paths))
    if found is None or found.rows.empty:
        first = (
            f" ({len(left_out)} left out, such as {(lines or left_out)[0]})" if left_out else ""
        )  # of completed ones first
        remedy = "run `epymarl-tr sweep` or `epymarl-tr run` first"
        if report := next((path / "curves.csv" for path in options.paths if (path / "curves.csv").is_file()), None):
            remedy = f"an earlier report's tests are named as {report}"
        raise ConfigError(f"no completed run in {where}{first}; {remedy}")
    made_by = origin.versions(found.entries, options.allow_dirty, where)
    for line in left_out:
        print(f"left out: {line}")
    print(write(options.out, found, made_by, left_out, options))
    print(f"written to {options.out}: see {options.out / 'report.html'}")
    return 0
