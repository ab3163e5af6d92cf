"""`epymarl-tr compare FILE A B`: how far two experiments of a published `curves.csv` are apart, with standard errors.

At each test that both have, and over all of them: each seed's mean over its tests comes first, so that one good test
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


class Difference(NamedTuple):
    """Mean of the first experiment's seeds less that of the second's."""

    mean: float
    error: float  # standard error, of seeds as independent samples; NaN where one has a single seed
    seeds: tuple[int, int]

    def __str__(self) -> str:
        error = "one seed" if math.isnan(self.error) else f"standard error {self.error:.3g}"
        return f"{self.mean:+.3g} ({error}; {self.seeds[0]} and {self.seeds[1]} seeds)"


def difference(first: Any, second: Any) -> Difference:
    """Of two experiments' tables with the columns seed and value; several tests of a seed are averaged first."""
    a, b = (table.groupby("seed")["value"].mean() for table in (first, second))
    return Difference(a.mean() - b.mean(), math.sqrt(a.var() / len(a) + b.var() / len(b)), (len(a), len(b)))


def read_curve(file: Path, name: str) -> Any:
    """An experiment's rows of a `curves.csv`, but for the first test, which is of a hardly trained policy.

    Raises:
        ConfigError: the file is none, or has no experiment of that name.
    """
    import pandas as pd

    try:
        table = pd.read_csv(file)
        names = list(dict.fromkeys(table["experiment"]))
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{file} is no curves.csv of `epymarl-tr report`: {error!r}; name one") from None
    if name not in names:
        raise ConfigError(f"no experiment {name} in {file}{nearest(name, names)}; it has {', '.join(names)}")
    table = table[table["experiment"] == name]
    return table[table["step"] > table["step"].min()]


def main(argv: list[str]) -> int:
    """The command line.

    Raises:
        ConfigError: a file or an experiment is not there, or there is no test in common.
    """
    parser = Parser(prog="epymarl-tr compare", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, metavar="CURVES.csv", help="such as results/trust-region/curves.csv")
    parser.add_argument("first", metavar="A", help="name of an experiment")
    parser.add_argument("second", metavar="B", help="name of another; differences are A less B")
    parser.add_argument("--against", type=Path, metavar="FILE", help="the second's curves.csv, if it is another")
    parser.add_argument("--steps", type=int, nargs=2, metavar=("FROM", "TO"), help="tests from here to there only")
    options = parser.parse_args(argv)
    if importlib.util.find_spec("pandas") is None:
        raise ConfigError("epymarl-tr compare needs pandas; pip install -c constraints.txt -e '.[report]'")
    first, second = read_curve(options.file, options.first), read_curve(options.against or options.file, options.second)
    low, high = options.steps or (0, math.inf)
    steps = sorted(step for step in {*first["step"]} & {*second["step"]} if low <= step <= high)
    if not steps:
        raise ConfigError(f"{options.first} and {options.second} have no test in common; give --steps FROM TO wider")
    print(f"{options.first} - {options.second}")
    for step in steps:
        print(f"  {step:>10,} steps  {difference(first[first['step'] == step], second[second['step'] == step])}")
    first, second = first[first["step"].isin(steps)], second[second["step"].isin(steps)]
    print(f"  {'all tests':>16}  {difference(first, second)}")
    return 0
