"""Rollouts of the vector runner for tests of streams: as streams or as whole episodes, by seeds and a scripted MAC.

Shape letters: B environments.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from data import record
from epymarl_trust_region.environments.smax import SMAXEnv
from epymarl_trust_region.runners.env_group import BatchedEnvGroup
from epymarl_trust_region.runners.streams import make_runner
from epymarl_trust_region.suite.lite.episode_batch import EpisodeBatch, OneHot
from epymarl_trust_region.suite.lite.gymma import GymmaEnv


class Chance:
    """A logger and a MAC in one: it keeps what is logged, and draws available actions, or Gaussian ones."""

    action_selector = None

    def __init__(self) -> None:
        self.logged: list = []
        self.generator = torch.Generator().manual_seed(0)

    def log_stat(self, *stat) -> None:
        self.logged.append(stat)

    def init_hidden(self, batch_size: int) -> None: ...

    carry_on = init_hidden

    def leave_off(self, ep_batch, t: int) -> None: ...

    def streams_state(self) -> None: ...

    def load_streams_state(self, state) -> None: ...

    def select_actions(self, ep_batch, t_ep, t_env, bs=slice(None), test_mode=False):
        avail = ep_batch["avail_actions"][bs, t_ep].float()
        if ep_batch["actions"].is_floating_point():
            return avail * torch.randn(avail.shape, generator=self.generator)
        return torch.multinomial(avail.flatten(0, 1), 1, generator=self.generator).view(avail.shape[:2])


class Reflex(Chance):
    """What it does depends on what an agent sees alone."""

    def select_actions(self, ep_batch, t_ep, t_env, bs=slice(None), test_mode=False):
        number = (1000 * ep_batch["obs"][bs, t_ep].abs().sum(-1)).long()
        avail = ep_batch["avail_actions"][bs, t_ep]
        return (avail * (1 + (number[..., None] + torch.arange(avail.shape[-1])) % avail.shape[-1])).argmax(-1)


def drive(env_args: dict, steps: int | None, rollouts: int = 4, mac=Chance, tests=True, **changes):
    """Play rollouts of so many steps of each environment, or of whole episodes; with `tests` the second is a test.

    Returns:
        The runner, the fields of its batches, and what was logged and counted.
    """
    runner, recorder = begun(env_args, steps, mac, **changes)
    batches = [runner.run(test_mode=tests and k == 1).data.transition_data for k in range(rollouts)]
    runner.close_env()
    return runner, batches, (recorder.logged, runner.t_env)


def begun(env_args: dict, steps: int | None, mac=Chance, **changes):
    """The runner of `drive` before its first rollout, and its logger and MAC."""
    args = SimpleNamespace(
        env="gymma", env_args={"seed": 7, **env_args}, env_processes=1, batched_envs="exact", batch_size_run=4,
        common_reward=True, reward_scalarisation="sum", device="cpu", render=False, test_nepisode=4,
        runner_log_interval=0, rollout_steps=steps,
    )  # fmt: skip
    vars(args).update(changes)
    recorder = mac()
    runner = make_runner(args, recorder, EpisodeBatch, {"gymma": GymmaEnv, "smax": SMAXEnv}[args.env])
    info = runner.get_env_info()
    scheme, preprocess = record._scheme(info, args.common_reward), record._preprocess(info, OneHot)
    runner.extend_scheme(scheme, preprocess)
    runner.setup(scheme, {"agents": info["n_agents"]}, preprocess, recorder)
    return runner, recorder


def assert_same(batches: list[dict], expected: list[dict]) -> None:
    for batch, other in zip(batches, expected, strict=True):
        assert set(batch) == set(other)
        for key, value in batch.items():
            assert value.dtype == other[key].dtype and torch.equal(value, other[key]), key


def steps_of(batches: list[dict], copy: int) -> dict[str, torch.Tensor]:
    """Every step that a copy took, in order, over all its episodes."""
    counted = [batch.get("mask", batch["filled"].clone())[copy, :, 0].bool() for batch in batches]
    for batch, steps in zip(batches, counted, strict=True):
        if "mask" not in batch:  # a whole episode's last observation
            steps[batch["filled"][copy].sum() - 1] = False
    keys = ("obs", "state", "avail_actions", "actions", "reward", "terminated", "truncated")
    return {
        key: torch.cat([batch[key][copy][steps] for batch, steps in zip(batches, counted, strict=True)]) for key in keys
    }


def assert_whole_episodes(env_args: dict, rollout_steps: int, mac=Reflex, **changes) -> list[int]:
    """Streams are whole episodes, one after the other; gives how many steps of each copy were compared."""
    _, streams, _ = drive(env_args, rollout_steps, 1 + 120 // rollout_steps, mac, tests=False, **changes)
    runner, whole, _ = drive(env_args, None, 6, mac, tests=False, **changes)
    assert type(runner.env_group) is BatchedEnvGroup
    lengths = []
    for copy in range(runner.batch_size):
        one, other = steps_of(streams, copy), steps_of(whole, copy)
        lengths.append(min(len(one["reward"]), len(other["reward"])))
        for key, value in other.items():
            assert torch.equal(one[key][: lengths[-1]], value[: lengths[-1]]), key
    return lengths
