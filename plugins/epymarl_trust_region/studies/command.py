"""`epymarl-tr study NAME --out FOLDER`: re-make a paper's figures or tables that need no neural network.

  potential-games    INPG and IPG on tables: Figures 2 to 6 of the INPG paper
  meta-game          the solver of MATRL's meta-game, up to 27 players: how reliable and how fast
  matrix-games       MATRL, IGA, IGA-PP and WoLF-IGA on 2x2 games: Table 1 of the MATRL paper
  log-linear         log-linear multi-agent PPO on tables: ratio game, bounds, random starts, offline data

`epymarl-tr study NAME --help` lists a study's options.
"""

from __future__ import annotations

import difflib
import importlib

from ..errors import ConfigError

STUDIES = {
    "potential-games": "potential_games",
    "meta-game": "meta_games",
    "matrix-games": "matrix_games",
    "log-linear": "log_linear",
}


def main(argv: list[str]) -> int:
    """Hand the command line on to the study that its first word names.

    Raises:
        ConfigError: there is no such study.
    """
    if argv and argv[0] in ("-h", "--help"):
        print(__doc__, end="")
        return 0
    name, *options = argv or [""]
    if name[:1] in ("", "-"):
        what = f"unknown flag {name}: first" if name else "NAME is missing;"
        raise ConfigError(f"{what} name a study, {', '.join(STUDIES)}; see epymarl-tr study --help")
    if name not in STUDIES:
        near = difflib.get_close_matches(name, STUDIES, n=1) or list(STUDIES)
        known = " or ".join(f"`{one}`" for one in near)
        raise ConfigError(f"unknown study `{name}`; use {known}; see epymarl-tr study --help")
    return importlib.import_module(f"{__package__}.{STUDIES[name]}").main(options)
