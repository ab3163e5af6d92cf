"""`epymarl-tr crossplay CHECKPOINT CHECKPOINT ... [--episodes 100] [--out matrix.png] [with KEY=VALUE ...]`.

    epymarl-tr crossplay results/models/matrl_seed*_pong* results/models/il_seed*_pong* --out matrix.png

Every checkpoint plays every other one, and itself, in both roles. Each is what a run's last line names under `models`,
or one step's folder in it. After `with` the environment may be another one than in training, for all of them.
"""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import ConfigError
from ..watch.words import Parser, positive, whole
from .matches import all_matches
from .outcome import outcome_of
from .picture import check_file, draw
from .roles import roles_of
from .tables import as_text, write_csv
from .teams import gather


def main(argv: list[str]) -> int:
    """The command line.

    Raises:
        TrustRegionError: of any kind, in one line that says what to do.
    """
    options, updates, greedy = _parser().read(argv)
    torch.set_num_threads(1)  # the networks are small
    if options.out:
        check_file(options.out)
    if "seed" in updates:
        raise ConfigError("seed after `with` is the runs' own; say which games are played by --seed")
    if "reward_scalarisation" in updates:
        raise ConfigError("reward_scalarisation changes nothing where each agent has its own reward; remove it")
    teams, table = gather(options.checkpoints, updates, greedy, options.seed, options.episodes)
    roles = roles_of(options.roles, table.n_agents, table.names, table.task)
    outcome = outcome_of(all_matches(teams, table, roles, options.episodes, options.seed))
    title = f"{table.task}: {len(teams)} checkpoints, {options.episodes} episodes a pair, seed {options.seed}"
    print(f"{title}\n\n{as_text(outcome, teams, roles)}")
    if options.out:
        file = options.out.with_suffix(".csv")
        write_csv(file, outcome, teams, options.episodes)
        print(f"\nfile         {file}")
        if options.out != file:
            draw(options.out, outcome, teams, table.task)
            print(f"file         {options.out}")
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="epymarl-tr crossplay",
        usage="%(prog)s CHECKPOINT CHECKPOINT ... [--episodes 100] [--out matrix.png] [flags] [with KEY=VALUE ...]",
        description="Checkpoints against each other: every ordered pair, one in each role.",
        epilog="KEY is env_args.NAME or test_greedy, for all of them; all else is the runs' own.",
    )
    text = "a run's folder of saved models, or a step's in it; two or more, of one task"
    parser.add_argument("checkpoints", nargs="+", metavar="CHECKPOINT", help=text)
    parser.add_argument("--episodes", type=positive, default=100, metavar="N", help="of each pair (default: 100)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help=".png, .svg or .pdf, with a .csv of its name; or .csv alone"
    )
    text = "the agents of role 0 and of role 1, as in '0 1 2|3' (default: of two agents each; else by their names)"
    parser.add_argument("--roles", metavar="'A ...|B ...'", help=text)
    parser.add_argument("--seed", type=whole, default=0, metavar="S", help="of all random numbers (default: 0)")
    parser.add_actions("each run's tests")
    return parser
