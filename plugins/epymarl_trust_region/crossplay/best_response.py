"""`epymarl-tr best-response CHECKPOINT [--steps 100000] [--seeds 3] [--episodes 200] [with KEY=VALUE ...]`.

    epymarl-tr best-response results/models/matrl_seed1_trust-region-pong-v0* --steps 500000

How far a trained team is from equilibrium where no solver knows it: each role is trained anew against the checkpoint's
other role, which stays as it is, and what it comes to gain is a lower bound of what a best response would (Timbers et
al., 2020). The responses learn by IL, which is PPO on each agent's own rewards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from sacred.utils import set_by_dotted_path

from ..configuration import check_overrides
from ..errors import ConfigError
from ..experiments.report.tables import markdown_rows
from ..seeding import seed_everything
from ..suite import algorithms
from ..suite.host import run_defaults
from ..suite.lite.run import pupil
from ..suite.registration import check_all
from ..suite.selection import lite_host
from ..watch.words import Parser, positive, whole
from .matches import Versus, match
from .outcome import WIDTH
from .roles import Roles, roles_of
from .teams import LOG, Table, Team, gather_one, shown

_ALGORITHM = "il"
#: Of the checkpoint's own run, as far as the command line says nothing else: how much is seen at once, and by what.
_KEPT = (
    "batch_size_run", "batch_size", "buffer_size", "rollout_steps", "gamma", "hidden_dim", "critic_hidden_dim",
    "use_rnn", "activation", "actor_network", "actor_args", "critic_network", "critic_args", "obs_last_action",
    "normalise_inputs",
)  # fmt: skip


class Response(NamedTuple):
    """What the response to a role gains."""

    before: np.ndarray  # the role's returns with the checkpoint's own policies, [E]
    after: np.ndarray  # with the best of the trained ones, in the same number of other episodes, [E]
    tried: list[float]  # mean return of each seed's

    @property
    def gain(self) -> float:
        """The mean's."""
        return float(self.after.mean() - self.before.mean())

    @property
    def width(self) -> float:
        """Half of its 95% interval."""
        return WIDTH * float(np.sqrt(sum(x.var(ddof=1) / len(x) for x in (self.before, self.after))))


def main(argv: list[str]) -> int:
    """The command line.

    Raises:
        TrustRegionError: of any kind, in one line that says what to do.
    """
    options, updates, greedy = _parser().read(argv)
    if options.episodes < 2:
        raise ConfigError(f"--episodes={options.episodes} has no spread; play at least 2")
    torch.set_num_threads(1)  # the networks are small
    own = {key: value for key, value in updates.items() if not key.startswith("env_args.")}
    task = {key: value for key, value in updates.items() if key not in own}
    team, table = gather_one(options.checkpoint, task, greedy, options.seed, options.episodes)
    roles = roles_of(options.roles, table.n_agents, table.names, table.task)
    config = training(table.own or table.config, own)
    found = [respond(team, table, roles, role, config, options) for role in (0, 1)]
    print(f"{table.task}: {shown(team.folder)}, {options.steps:,} steps a response, seeds {options.seed} to ", end="")
    print(f"{options.seed + options.seeds - 1}, {options.episodes} episodes\n\n{_as_text(found, team, roles)}")
    return 0


def training(config: Mapping[str, Any], updates: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that responses learn with: IL's, on the checkpoint's task, with what its run saw at once.

    Raises:
        ConfigError: a key or value of the command line that IL does not have or read.
    """
    defaults = algorithms.read_yaml(lite_host().config_dir / "default.yaml")
    own, of_run = algorithms.read_algorithm(_ALGORITHM), {**defaults, **run_defaults()}
    made = {**{key: config[key] for key in of_run}, **own, **{key: config[key] for key in _KEPT if key in config}}
    made |= {"env": config["env"], "env_args": dict(config["env_args"]), "common_reward": False, "evaluate": False}
    made |= {"checkpoint_path": "", "load_step": 0, "seed": 0}
    before = dict(made)
    check_overrides(updates, made)
    for key, value in updates.items():
        if key in ("seed", "env", "common_reward", "t_max", "name", "learner", "mac", "share_parameters"):
            raise ConfigError(f"{key} is not a response's to choose; remove it (its training is --steps and --seed)")
        set_by_dotted_path(made, key, value)
    check_all(made, defaults, "the command line", before)
    return made


def respond(team: Team, table: Table, roles: Roles, role: int, config: Mapping[str, Any], options: Any) -> Response:
    """Train a role against the other, once for each seed, and measure the best in episodes that have not chosen it."""

    def returns(first: Team, second: Team, seed: int) -> np.ndarray:
        pair = (first, second) if role == 0 else (second, first)
        return match(*pair, table, roles, options.episodes, seed)[:, role]

    seeds = range(options.seed, options.seed + options.seeds)
    trained = [team._replace(mac=_trained(team, roles, role, config, options.steps, seed)) for seed in seeds]
    tried = [returns(one, team, options.seed) for one in trained]
    best = trained[int(np.argmax([found.mean() for found in tried]))]
    fresh = options.seed + 1_000_003  # of other episodes
    return Response(returns(team, team, fresh), returns(best, team, fresh + 1), [float(x.mean()) for x in tried])


def _trained(team: Team, roles: Roles, role: int, config: Mapping[str, Any], steps: int, seed: int) -> Any:
    """A controller whose agents of `role` have learnt against the team. Its others never play, and rest."""
    from tqdm import tqdm

    seed_everything(seed)
    if config.get("rollout_steps"):
        team.mac.load_streams_state(None)  # the last response's streams are over
    settings = {**config, "seed": seed, "t_max": steps, "env_args": {**config["env_args"], "seed": seed}}
    with pupil(settings, LOG) as (runner, learner, learn):
        own, rest = runner.mac, [learner.actor_optimisers[agent].bookmark() for agent in roles[1 - role]]
        runner.mac = Versus((own, team.mac) if role == 0 else (team.mac, own), roles)
        runner.exploitability = None  # of two teams it would be no team's
        with tqdm(total=steps, desc=f"role {role}, seed {seed}", disable=None, leave=False) as bar:
            while runner.t_env < steps:
                learn(runner.run(test_mode=False))
                for back in rest:  # else they would run away from actions that they have not chosen
                    back()
                bar.update(min(runner.t_env, steps) - bar.n)
    return own


def _as_text(found: list[Response], team: Team, roles: Roles) -> str:
    rows = []
    for role, one in enumerate(found):
        tried = ", ".join(f"{mean:.3g}" for mean in one.tried)
        cells = [f"{one.before.mean():.3g}", tried, f"{one.after.mean():.3g}", f"{one.gain:+.3g} ± {one.width:.2g}"]
        rows.append([f"{role} (agents {', '.join(map(str, roles[role]))})", *cells])
    head = ["role", "return", "of each response", "of the best, in other episodes", "gain"]
    total, width = sum(max(one.gain, 0.0) for one in found), float(np.sqrt(sum(one.width**2 for one in found)))
    lines = [*markdown_rows(head, rows), ""]
    lines.append(f"NashConv is at least {total:.3g} ± {width:.2g}: what both gain, where staying gains 0.")
    if team.gains is not None:
        lines.append(f"By exact best responses it is {team.gains.sum():.3g}.")
    return "\n".join(lines)


def _parser() -> Parser:
    parser = Parser(
        prog="epymarl-tr best-response",
        usage="%(prog)s CHECKPOINT [--steps 100000] [--seeds 3] [--episodes 200] [flags] [with KEY=VALUE ...]",
        description="What each role of a trained team would gain by another policy, found by training one.",
        epilog="KEY is env_args.NAME, or a key of configs/algs/il.yaml, by which responses are trained.",
        allow_abbrev=False,
    )
    text = "a run's folder of saved models, or a step's in it"
    parser.add_argument("checkpoint", type=str, metavar="CHECKPOINT", help=text)
    text = "environment steps of each response's training (default: 100000)"
    parser.add_argument("--steps", type=positive, default=100_000, metavar="N", help=text)
    text = "responses of each role, of which the best counts (default: 3)"
    parser.add_argument("--seeds", type=positive, default=3, metavar="N", help=text)
    text = "of each measurement (default: 200)"
    parser.add_argument("--episodes", type=positive, default=200, metavar="N", help=text)
    text = "the agents of role 0 and of role 1, as in '0 1 2|3' (default: of two agents each; else by their names)"
    parser.add_argument("--roles", metavar="'A ...|B ...'", help=text)
    parser.add_argument("--seed", type=whole, default=0, metavar="S", help="the first of the responses' (default: 0)")
    parser.add_actions("each run's tests")
    return parser
