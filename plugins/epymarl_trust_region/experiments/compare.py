"""`epymarl-tr compare FILE A [B ...]`: how far experiments of a published `curves.csv` are apart, with standard errors.

Of two at each test that both have, and over all of them; of one and several others, or all of its task, over all tests
and over the last quarter. Each seed's mean over its tests comes first, so that one good test
does not make a difference, and the tests of one seed are not taken for independent.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any, NamedTuple

from ..command_line import Parser
from ..config import nearest
from ..errors import ConfigError
from .report.tables import markdown_rows


class Difference(NamedTuple):
    """Mean of the first experiment's seeds less that of the second's."""

    mean: float
    error: float  # standard error, of seeds as independent samples; NaN where one has a single seed
    seeds: tuple[int, int]

    def __str__(self) -> str:
        error = "one seed" if math.isnan(self.error) else f"standard error {self._said(self.error)}"
        few = ", few for a standard error" if not math.isnan(self.error) and min(self.seeds) < 3 else ""
        return f"{self._said(self.mean, '+')} ({error}; {self.seeds[0]} and {self.seeds[1]} seeds{few})"

    def with_error(self) -> str:
        """As a cell of a table."""
        return self._said(self.mean, "+") + ("" if math.isnan(self.error) else f" ± {self._said(self.error)}")

    def _said(self, number: float, sign: str = "") -> str:
        """With as many decimals as the standard error needs for two digits."""
        size = abs(self.mean if math.isnan(self.error) else self.error)
        places = 2 if size == 0 or not math.isfinite(size) else min(max(1 - math.floor(math.log10(size)), 0), 6)
        return f"{number:{sign}.{places}f}"


def difference(first: Any, second: Any) -> Difference:
    """Of two experiments' tables with the columns seed and value; several tests of a seed are averaged first."""
    a, b = (table.groupby("seed")["value"].mean() for table in (first, second))
    return Difference(a.mean() - b.mean(), math.sqrt(a.var() / len(a) + b.var() / len(b)), (len(a), len(b)))


def read_curve(file: Path, name: str) -> Any:
    """An experiment's rows of a `curves.csv`, but for the first test, which is of a hardly trained policy.

    Raises:
        ConfigError: the file is none, or has no experiment of that name.
    """
    table = _read(file)
    names = list(dict.fromkeys(table["experiment"]))
    if name not in names:
        raise ConfigError(f"no experiment {name} in {file}{nearest(name, names)}; it has {', '.join(names)}")
    table = table[table["experiment"] == name]
    return table[table["step"] > table["step"].min()]


def _read(file: Path) -> Any:
    import pandas as pd

    try:
        table = pd.read_csv(file)
        table["experiment"], table["task"]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{file} is no curves.csv of `epymarl-tr report`: {error!r}; name one") from None
    return table


def others_of(file: Path, first: Any, elsewhere: bool) -> list[str]:
    """The other experiments of an experiment's task in a file, in its order.

    Args:
        elsewhere: the file is not the experiment's own, and one of its name is another.

    Raises:
        ConfigError: there is none.
    """
    table, task, own = _read(file), first["task"].iloc[0], first["experiment"].iloc[0]
    names = [name for name in dict.fromkeys(table[table["task"] == task]["experiment"]) if name != own or elsewhere]
    if not names:
        raise ConfigError(f"{file} has nothing else of the task {task}; name another experiment")
    return names


def main(argv: list[str]) -> int:
    """The command line.

    Raises:
        ConfigError: a file or an experiment is not there, or there is no test in common.
    """
    parser = Parser(prog="epymarl-tr compare", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, metavar="CURVES.csv", help="such as results/trust-region/curves.csv")
    parser.add_argument("first", metavar="A", help="name of an experiment")
    parser.add_argument("others", nargs="*", default=[], metavar="B", help="A less B; without any, all of its task")
    parser.add_argument("--against", type=Path, metavar="FILE", help="the others' curves.csv, if it is another")
    parser.add_argument("--steps", type=int, nargs=2, metavar=("FROM", "TO"), help="tests from here to there only")
    options = parser.parse_args(argv)
    if importlib.util.find_spec("pandas") is None:
        raise ConfigError("epymarl-tr compare needs pandas; pip install -c constraints.txt -e '.[report]'")
    file, steps = options.against or options.file, options.steps or (0, math.inf)
    first = read_curve(options.file, options.first)
    names = options.others or others_of(file, first, options.against is not None)
    pairs = {name: _in_common(first, read_curve(file, name), steps) for name in names}
    apart = [name for name, (both, _) in pairs.items() if both.empty]
    if apart and (options.others or len(apart) == len(pairs)):
        raise ConfigError(f"{options.first} and {apart[0]} have no test in common; give --steps FROM TO wider")
    if len(options.others) == 1:
        _print_tests(*pairs[options.others[0]])
    else:
        _print_all(options.first, {name: pair for name, pair in pairs.items() if name not in apart})
    return 0


def _in_common(first: Any, second: Any, steps: tuple[float, float]) -> tuple[Any, Any]:
    """Both tables at the tests that both have between two steps."""
    both = {step for step in {*first["step"]} & {*second["step"]} if steps[0] <= step <= steps[1]}
    return first[first["step"].isin(both)], second[second["step"].isin(both)]


def _print_tests(first: Any, second: Any) -> None:
    print(f"{first['experiment'].iloc[0]} - {second['experiment'].iloc[0]}")
    for step in sorted({*first["step"]}):
        print(f"  {step:>10,} steps  {difference(first[first['step'] == step], second[second['step'] == step])}")
    print(f"  {'all tests':>16}  {difference(first, second)}")


def _print_all(name: str, pairs: dict[str, tuple[Any, Any]]) -> None:
    rows = []
    for other, (first, second) in pairs.items():
        late = 0.75 * first["step"].max()
        last = difference(first[first["step"] > late], second[second["step"] > late])
        everything = difference(first, second)
        rows.append([other, everything.with_error(), last.with_error(), "{} and {}".format(*everything.seeds)])
    print(f"{name} less each, mean over tests ± standard error.\n")
    print("\n".join(markdown_rows([f"{name} less", "all tests", "last quarter", "seeds"], rows)))
