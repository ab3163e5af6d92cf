"""`epymarl-tr bench`: our learners against EPyMARL's `mappo_ns`, or a peer's, at the same samples, on this machine.

Each row (`bench_rows.py`, `peers/rows.py`) compares two processes that take turns, so that whatever else the machine
does falls on both.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..command_line import Parser
from ..configuration import read
from ..errors import ConfigError, SuiteError
from ..provenance import version
from ..suite import epymarl
from ..suite.selection import HostFiles, files_of
from .bench_rows import ROWS, SAME_NETWORKS, Row, update_row
from .bench_work import PHASES, Sample, Side, Work
from .made_by import add_flag, made_by
from .peers.rows import PEERS, checked, made_from
from .peers.side import PeerSide

_WARM_UP = 3


@dataclass
class Result:
    """What came of a row; seconds are medians, per update or per 1000 environment steps."""

    name: str
    title: str
    must: float | None
    aim: float | None
    skipped: str | None = None
    ours: dict[str, Any] | None = None
    theirs: dict[str, Any] | None = None
    ratios: list[float] = dataclasses.field(default_factory=list)  # theirs / ours, pair by pair

    @property
    def ratio(self) -> float:
        """The median; NaN where there is nothing to compare."""
        return statistics.median(self.ratios) if self.ratios else math.nan

    @property
    def below(self) -> bool:
        """Whether it was measured and is too slow."""
        return self.must is not None and self.ratio < self.must


def measure(
    row: Row, checkout: Path | None, repetitions: int | None = None, peer: Callable[[Any], Any] | None = None
) -> Result:
    """Measure one row; without a checkout of EPyMARL, and without a peer, only our side, on the built-in suite.

    Args:
        peer: makes a peer's side from its work.

    Raises:
        SuiteError: a side cannot be built.
    """
    result = Result(row.name, row.title, row.must, row.aim, skipped=row.missing)
    if result.skipped:
        return result
    sides: dict[str, Any] = {"ours": Side(row.ours, None if peer else checkout)}
    if peer is not None:
        sides["theirs"] = peer(row.theirs)
    elif checkout and isinstance(row.theirs, Work):
        sides["theirs"] = Side(row.theirs, checkout)
    try:
        samples = _take_turns(sides, repetitions or row.repetitions)
    except RuntimeError as error:
        raise SuiteError(f"{row.name} cannot be measured: {error}") from None
    finally:
        peaks = {name: side.end() for name, side in sides.items()}
    for name, taken in samples.items():
        setattr(result, name, _summary(taken, peaks[name]))
    if "theirs" in sides:
        result.ratios = [b.wall / a.wall for a, b in zip(samples["ours"], samples["theirs"], strict=True)]
    return result


def _take_turns(sides: dict[str, Any], repetitions: int) -> dict[str, list[Sample]]:
    for side in sides.values():
        side.ready()
    samples: dict[str, list[Sample]] = {name: [] for name in sides}
    for _ in range(_WARM_UP + repetitions):
        for name, side in sides.items():
            samples[name].append(side.once().per_thousand_steps())
    return {name: taken[_WARM_UP:] for name, taken in samples.items()}


def _summary(samples: list[Sample], peak: float) -> dict[str, Any]:
    """Medians in seconds, all single times, and the peak memory in MiB."""
    phases = {phase: statistics.median(sample.phases.get(phase, 0.0) for sample in samples) for phase in PHASES}
    return {
        "wall_s": statistics.median(sample.wall for sample in samples),
        "cpu_s": statistics.median(sample.cpu for sample in samples),
        "peak_mib": peak,
        "phases_s": phases,
        "all_wall_s": [sample.wall for sample in samples],
    }


_HEADER = f"{'':46}{'theirs':>10}{'ours':>10}{'ratio':>8}{'middle half':>14}{'must':>7}{'aim':>6}{'CPU':>7}{'MiB':>13}"


def line(result: Result) -> str:
    """A result as a line of the table."""
    if result.skipped:
        return f"{result.title:46}  skipped: {result.skipped}"
    ours: Any = result.ours
    theirs = result.theirs
    text = f"{result.title:46}"
    if theirs is None:
        return f"{text}{'-':>10}{_ms(ours):>10}{'-':>8}"
    quarters = statistics.quantiles(result.ratios, n=4)
    text += f"{_ms(theirs):>10}{_ms(ours):>10}{result.ratio:>7.1f}x{f'{quarters[0]:.1f} - {quarters[2]:.1f}':>14}"
    wanted = ["-" if number is None else f"{number:.2g}" for number in (result.must, result.aim)]
    cpu = f"{theirs['cpu_s'] / ours['cpu_s']:.1f}x"
    memory = " : ".join("-" if math.isnan(one["peak_mib"]) else f"{one['peak_mib']:.0f}" for one in (theirs, ours))
    return f"{text}{wanted[0]:>7}{wanted[1]:>6}{cpu:>7}{memory:>13}"


def _ms(side: dict[str, Any]) -> str:
    return f"{1000 * side['wall_s']:.1f} ms"


def _phase_lines(results: Iterable[Result]) -> list[str]:
    """Where the time of whole iterations goes, in ms per 1000 environment steps."""
    lines = [f"{'ms per 1000 environment steps':46}" + "".join(f"{phase:>13}" for phase in (*PHASES, "other"))]
    works = {row.name: (row.theirs.algorithm, row.ours.algorithm) for row in ROWS}
    for result in results:
        names = works.get(result.name, ("theirs", "ours"))
        for side, name in zip((result.theirs, result.ours), names, strict=True):
            if side:
                phases = [side["phases_s"][phase] for phase in PHASES]
                numbers = [*phases, max(0.0, side["wall_s"] - sum(phases))]
                lines.append(
                    f"{f'{result.name}: {name}':46}" + "".join(f"{1000 * number:>13.1f}" for number in numbers)
                )
    return lines


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next(
        (text.partition(":")[2].strip() for text in lines if text.startswith("model name")), platform.machine()
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": model, "cores": cores, "system": platform.system(), "torch_threads": 1}


def _parser() -> Parser:
    parser = Parser(prog="epymarl-tr bench", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--against", type=Path, metavar="PATH", help="an EPyMARL checkout (default: the one that runs use)"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="ROW", help="some rows only: " + ", ".join(row.name for row in ROWS)
    )
    parser.add_argument(
        "--config", nargs="+", metavar="ALG", help="in place of the rows: updates of these algorithms, yours too"
    )
    parser.add_argument(
        "--peer", choices=sorted(PEERS), help="in place of the rows: ours against this implementation's (docs/speed.md)"
    )
    parser.add_argument("--home", type=Path, metavar="PATH", help="the peer's checkout")
    parser.add_argument(
        "--peer-python", metavar="PYTHON", default=sys.executable, help="the Python that has what it needs"
    )
    parser.add_argument("--repetitions", type=int, metavar="N", help="measured turns of each side (default: 7 to 25)")
    parser.add_argument(
        "--growth", action="store_true", help="also how the cost grows with agents, episodes, steps, units"
    )
    parser.add_argument(
        "--curves", type=Path, metavar="FOLDER", help="in place of the rows: time and memory of every learner's update "
        "against its size, as CSV and picture into FOLDER"
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, metavar="M", default=10.0, help="about as long as --curves may take")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to FILE")
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="draw phases.png (and growth.png) into FOLDER")
    parser.add_argument("--check", action="store_true", help="exit with 1, naming them, if rows are below their `must`")
    add_flag(parser)
    return parser


def _options(argv: list[str]) -> argparse.Namespace:
    options = _parser().parse_args(argv)
    if options.repetitions is not None and options.repetitions < 2:
        raise ConfigError(f"--repetitions={options.repetitions} is out of range; at least 2")
    if options.only and options.config:
        raise ConfigError("--only names rows of the table, and --config is in their place; give one of the two")
    if options.minutes <= 0:
        raise ConfigError(f"--minutes={options.minutes} is out of range; above 0")
    if options.curves and (options.only or options.peer or options.config or options.growth or options.check):
        raise ConfigError("--curves is in place of the rows; remove --only, --config, --peer, --growth and --check")
    if options.peer and options.config:
        raise ConfigError("--peer and --config are both in place of the rows; give one of the two")
    if options.home and not options.peer:
        raise ConfigError(f"--home={options.home} is a peer's; name it with --peer={'|'.join(sorted(PEERS))}")
    if options.peer and (options.against or options.growth or options.figures):
        raise ConfigError("--against, --growth and --figures are of the rows against EPyMARL; remove them with --peer")
    names = [row.name for row in (PEERS[options.peer].rows() if options.peer else ROWS)]
    if unknown := set(options.only or ()) - set(names):
        raise ConfigError(f"--only: no row {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return options


def _checkout(options: argparse.Namespace) -> Path | None:
    """EPyMARL's folder; None, with a line that says so, if there is none and none was asked for."""
    if options.against:
        return epymarl.check(options.against).path
    found = epymarl.find()
    if found is None and options.check:
        raise SuiteError("--check needs EPyMARL to compare with; `epymarl-tr suite fetch`, or --against PATH")
    if found is None:
        print("no EPyMARL was found (`epymarl-tr suite fetch`): our own times only, on the built-in suite")
    return found[0] if found else None


def main(argv: list[str]) -> int:
    """The command line; 1 if `--check` finds a row below its `must`."""
    options = _options(argv)
    if options.curves:
        from .bench_curves import measure_curves, write

        write(measure_curves(options.minutes), options.curves)
        return 0
    if options.peer:
        home = checked(options.peer, options.home, options.peer_python)
        made = made_by(options, made_from(options.peer, home)) if options.json else {}
        rows: Iterable[Row] = PEERS[options.peer].rows()
        return _measure_all(options, rows, None, made, lambda work: PeerSide(work, home, options.peer_python))
    checkout = _checkout(options)
    for name in options.config or ():  # one that is not known is refused before anything is measured
        read(HostFiles("epymarl", checkout / "src/config") if checkout else files_of("lite"), name, "gymma")
    rows = _rows(options.config)
    if checkout is None:
        rows = [row for row in rows if row.ours.environment in ("gymma", "mamujoco")]
    return _measure_all(options, rows, checkout, _made_by(options, checkout) if options.json else {})


def _measure_all(
    options: argparse.Namespace,
    rows: Iterable[Row],
    checkout: Path | None,
    made: dict[str, Any],
    peer: Callable[[Any], Any] | None = None,
) -> int:
    here = machine()
    print(f"{here['processor']}, {here['cores']} cores; medians, in ms per update or per 1000 environment steps")
    print(_HEADER, flush=True)
    results = []
    for row in rows:
        if not options.only or row.name in options.only:
            results.append(measure(row, checkout, options.repetitions, peer))
            print(line(results[-1]), flush=True)
    iterations = [result for result in results if not result.name.startswith("train") and not result.skipped]
    if iterations and not peer:
        print("\n" + "\n".join(_phase_lines(iterations)), flush=True)
    growth = _growth(checkout) if options.growth else []
    _write(options, made, results, iterations, growth)
    below = [result for result in results if result.below]
    if options.check and below:
        shortfalls = ", ".join(f"{r.name} ({r.ratio:.1f}x, must {r.must:.2g}x)" for r in below)
        print(f"below their must: {shortfalls}", file=sys.stderr)
    return int(options.check and bool(below))


def _rows(algorithms: list[str] | None) -> tuple[Row, ...]:
    """The table's, or those of some algorithms' updates, with nothing that they must reach."""
    if not algorithms:
        return ROWS
    return tuple(update_row(3, 25, False, None, None, 15, name, SAME_NETWORKS) for name in algorithms)


def _growth(checkout: Path | None) -> list[dict[str, Any]]:
    from .bench_growth import measure_growth

    return measure_growth(checkout)


def _made_by(options: argparse.Namespace, checkout: Path | None) -> dict[str, Any]:
    status = epymarl.check(checkout) if checkout else None
    return made_by(options, version("epymarl", status.commit if status else None, status.dirty if status else ()))


def _write(
    options: argparse.Namespace,
    made: dict[str, Any],
    results: list[Result],
    iterations: list[Result],
    growth: list[dict[str, Any]],
) -> None:
    if options.json:
        rows = [
            dataclasses.asdict(result) | {"ratio": None if math.isnan(result.ratio) else result.ratio}
            for result in results
        ]
        content = {"machine": machine(), "made_by": made, "rows": rows, "growth": growth}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    if options.figures:
        from .bench_figures import draw_growth, draw_phases

        options.figures.mkdir(parents=True, exist_ok=True)
        if iterations:
            draw_phases(iterations, options.figures / "phases.png")
        if growth:
            draw_growth(growth, options.figures / "growth.png")
