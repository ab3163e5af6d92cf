"""`epymarl-tr watch CHECKPOINT [--episodes 3] [--out team.gif|mp4] [with KEY=VALUE ...]`: see a trained team play.

    epymarl-tr watch results/models/happo_seed1_... --episodes 3 --out team.gif

CHECKPOINT is what a run's last line names under `models`, or one step's folder in it; it knows what it was trained
with. After `with` the environment may be another one than in training, as in `env_args.time_limit=50`, and so may
`seed`.
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

import torch

from ..seeding import seed_everything
from ..suite.host import folder_name
from ..suite.lite.run import player
from .chosen import Chosen, choose
from .frames import Title, as_text, check_file, frames, write
from .play import Film, film
from .words import Parser, positive

_MOST_SHOTS = 250  # of an episode, unless --every says otherwise


def main(argv: list[str]) -> int:
    """The command line.

    Raises:
        TrustRegionError: of any kind, in one line that says what to do.
    """
    options, updates, greedy = _parser().read(argv)
    torch.set_num_threads(1)  # the networks are small
    if options.out:
        check_file(options.out)
    chosen = choose(options.checkpoint, options.load_step, options.config_from, updates, greedy)
    name, seed, task = chosen.config["name"], chosen.config["seed"], chosen.task
    how = "likeliest actions" if chosen.config["test_greedy"] else "sampled actions"
    print(f"{name} on {task}, from {os.path.relpath(chosen.folder)}: {how}, seed {seed}")
    made = _played(chosen, options.episodes, options.every)
    for number, (total, length) in enumerate(zip(made.returns, made.lengths, strict=True), 1):
        print(f"episode {number}    return {as_text(total)}, {length} steps")
    file = options.out or Path(folder_name(f"{task}-{name}") + ".gif")
    title = Title(f"{name} on {task}", f"after {chosen.step:,} steps of training, {how}", options.episodes)
    write(file, frames(made.shots, title), [shot.last for shot in made.shots], options.fps)
    print(f"file         {file} ({len(made.shots)} frames, {file.stat().st_size / 1000:,.0f} kB)")
    return 0


def _played(chosen: Chosen, episodes: int, every: int | None) -> Film:
    config = {**chosen.config, "test_nepisode": episodes}
    log = logging.getLogger("epymarl-tr watch")
    log.setLevel(logging.WARNING)
    seed_everything(config["seed"])
    with player(config, log) as runner:
        every = every or -(-runner.episode_limit // _MOST_SHOTS)
        return film(runner, chosen.task, episodes, every)


def _parser() -> Parser:
    parser = Parser(
        prog="epymarl-tr watch",
        usage="%(prog)s CHECKPOINT [--episodes 3] [--out team.gif|mp4] [flags] [with KEY=VALUE ...]",
        description="Episodes of a trained team as a GIF or a video.",
        epilog="KEY is env_args.NAME, seed, test_greedy or reward_scalarisation; all else is the run's own.",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a run's folder of saved models, or a step's in it")
    parser.add_argument("--episodes", type=positive, default=3, metavar="N", help="how many to play (default: 3)")
    parser.add_argument("--out", type=Path, metavar="FILE", help=".gif or .mp4 (default: TASK-ALGORITHM.gif)")
    parser.add_argument(
        "--load-step", type=int, default=0, metavar="T", help="the save nearest to it (default: the newest)"
    )
    parser.add_actions("the run's tests")
    parser.add_argument("--fps", type=_rate, default=5.0, metavar="F", help="frames per second (default: 5)")
    parser.add_argument(
        "--every",
        type=positive,
        metavar="K",
        help="a frame for each K steps (default: all, or at most 250 of an episode)",
    )
    parser.add_argument(
        "--config-from", metavar="RUN", help="Sacred's folder of the run, for checkpoints of older versions"
    )
    return parser


def _rate(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = 0
    if not 0.1 <= value <= 50:
        raise argparse.ArgumentTypeError(f"{word} is no number from 0.1 to 50")
    return value
