"""The built-in runner on environments whose rewards and ends are written down; see also the recordings."""

from __future__ import annotations

from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from data import record
from epymarl_trust_region.errors import CapabilityError, ConfigError, NonFiniteError
from epymarl_trust_region.runners.vector import VectorRunner
from epymarl_trust_region.suite.lite.episode_batch import OneHot
from epymarl_trust_region.suite.lite.registries import vector_runner
from gymnasium.spaces import Box, Discrete, Tuple


class Planned(gym.Env):
    """Two agents. The environment with seed s ends after s steps and pays s to agent 0, 2s to agent 1, each step."""

    n_agents = 2
    action_space = Tuple([Discrete(2), Discrete(2)])
    observation_space = Tuple([Box(-99, 99, (1,)), Box(-99, 99, (1,))])

    def __init__(self, bad_reward: float | None = None, cut: bool = False) -> None:
        self.bad_reward, self.cut = bad_reward, cut
        self.played: list = []

    def seed(self, seed: int) -> None:
        self.n = seed

    def _observe(self):
        return (np.array([self.n]), np.array([self.t]))

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return self._observe(), {}

    def step(self, actions):
        self.t += 1
        self.played.append(actions)
        ended = self.t == self.n
        rewards = [1.0 * self.n, 2.0 * self.n]
        if self.bad_reward is not None and (self.n, self.t) == (3, 2):
            rewards[1] = self.bad_reward
        info = {"won": self.n > 1} | ({"episode_limit": True} if self.cut else {})
        return self._observe(), rewards, ended, False, info if ended else {"won": 99}


gym.register("Planned-v0", entry_point=Planned)


class AlwaysOne:
    """Action 1 for everybody; notes for whom it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def init_hidden(self, batch_size: int) -> None:
        self.hidden_for = batch_size

    def select_actions(self, ep_batch, t_ep, t_env, bs=slice(None), test_mode=False):
        self.asked.append(list(bs))
        return th.ones(len(bs), 2, dtype=th.long)


class ListLogger(list):
    def log_stat(self, key, value, t, to_sacred=True) -> None:
        self.append((key, float(value), t))


def make_runner(n_envs: int = 3, common_reward: bool = True, **changes) -> tuple[VectorRunner, ListLogger, AlwaysOne]:
    env_args = {"key": "Planned-v0", "time_limit": 4, "seed": 1, **changes.pop("env_args", {})}
    args = SimpleNamespace(
        env="gymma", env_args=env_args, env_processes=1, common_reward=common_reward, reward_scalarisation="sum",
        batch_size_run=n_envs, device="cpu", render=False, test_nepisode=n_envs, runner_log_interval=10, n_agents=2,
    )  # fmt: skip
    vars(args).update(changes)
    logger, mac = ListLogger(), AlwaysOne()
    runner = vector_runner(args, logger)
    info = runner.get_env_info()
    assert info == {"state_shape": 2, "obs_shape": 1, "n_actions": 2, "n_agents": 2, "episode_limit": 4}
    preprocess = {"actions": ("actions_onehot", [OneHot(out_dim=2)])}
    scheme = record._scheme(info, common_reward)
    for _ in range(2):  # a second call changes nothing
        runner.extend_scheme(scheme, {})
    runner.setup(scheme, {"agents": 2}, preprocess, mac)
    return runner, logger, mac


def test_batch_of_environments_that_end_one_after_the_other() -> None:
    runner, _, mac = make_runner()
    batch = runner.run()
    assert batch["filled"][..., 0].tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]
    assert batch["terminated"][..., 0].tolist() == [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0]]
    assert batch["reward"][..., 0].tolist() == [[3, 0, 0, 0, 0], [6, 6, 0, 0, 0], [9, 9, 9, 0, 0]]
    assert batch["state"][2].tolist() == [[3, 0], [3, 1], [3, 2], [3, 3], [0, 0]]  # environment 2 has seed 1 + 2
    assert batch["obs"][2, 1].tolist() == [[3], [1]]
    # At the last observation actions are chosen and stored, and not played.
    assert batch["actions"][:, :, 0, 0].tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]
    assert mac.asked == [[0, 1, 2], [0, 1, 2], [1, 2], [2]]
    assert [env._env.unwrapped.played for env in runner.own.envs.values()] == [[[1, 1]] * 1, [[1, 1]] * 2, [[1, 1]] * 3]
    assert runner.t_env == 6


def test_time_limit_is_stored_as_a_termination_unless_the_environment_says_episode_limit() -> None:
    ends_late = {"env_args": {"seed": 9}}
    assert make_runner(1, **ends_late)[0].run()["terminated"][0, :, 0].tolist() == [0, 0, 0, 1, 0]
    cut = {"env_args": {"seed": 2, "cut": True}}
    assert make_runner(1, **cut)[0].run()["terminated"].sum() == 0


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])  # the second takes the way of a GPU
@pytest.mark.parametrize("processes", [1, 2])
def test_the_batch_says_which_ends_are_cuts(processes: int, device: str) -> None:
    """Environments that end by themselves after 3, 4 and 5 steps, under a limit of 4."""
    runner, *_ = make_runner(env_args={"seed": 3}, env_processes=processes, device=device)
    for _ in range(2):
        batch = runner.run()
        assert batch["truncated"].dtype == th.uint8
        assert batch["truncated"][..., 0].tolist() == [[0] * 5, [0] * 5, [0, 0, 0, 1, 0]]
        assert batch["terminated"][..., 0].tolist() == [[0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 0]]
        assert runner.cut == [False, False, True]
    runner.close_env()
    said_so, *_ = make_runner(1, env_args={"seed": 2, "cut": True}, env_processes=1, device=device)
    batch = said_so.run()
    assert batch["truncated"][0, :, 0].tolist() == [0, 1, 0, 0, 0] and batch["terminated"].sum() == 0


def test_each_rollout_has_its_own_memory() -> None:
    runner, _, _ = make_runner()
    first = runner.run()
    kept = first["state"].clone()
    runner.run()["state"][:] = -1
    assert th.equal(first["state"], kept)


def test_training_statistics() -> None:
    runner, logger, _ = make_runner()
    runner.run()
    # Returns 3, 12, 27; two of three won, counted at the ends alone; six steps.
    assert dict((key, value) for key, value, _ in logger) == {
        "return_mean": 14,
        "return_std": pytest.approx(np.std([3, 12, 27])),
        "ep_length_mean": 2,
        "won_mean": pytest.approx(2 / 3),
    }
    assert {t for *_, t in logger} == {6}
    logger.clear()
    runner.run()  # 12 steps: 6 since the last log, of the 10 that are due
    assert (logger, runner.t_env) == ([], 12)
    runner.mac.action_selector = SimpleNamespace(epsilon=0.25)
    runner.run()
    assert ("epsilon", 0.25, 18) in logger
    assert ("ep_length_mean", 2, 18) in logger
    assert runner.log_train_stats_t == 18


def test_test_statistics_wait_for_all_test_episodes_and_count_no_steps() -> None:
    runner, logger, _ = make_runner(test_nepisode=7)  # two rollouts of three
    runner.log_train_stats_t = 0
    runner.run(test_mode=True)
    assert (logger, runner.t_env) == ([], 0)
    runner.run(test_mode=True)
    assert ("test_return_mean", 14, 0) in logger
    assert ("test_ep_length_mean", 2, 0) in logger
    assert runner.test_returns == []


def test_individual_rewards_are_stored_and_logged_per_agent() -> None:
    runner, logger, _ = make_runner(2, common_reward=False)
    batch = runner.run()
    assert batch["reward"].tolist() == [[[1, 2], [0, 0], [0, 0], [0, 0], [0, 0]], [[2, 4], [2, 4]] + [[0, 0]] * 3]
    logged = {key: value for key, value, _ in logger}
    assert (logged["agent_0_return_mean"], logged["agent_1_return_mean"], logged["total_return_mean"]) == (2.5, 5, 7.5)
    assert (logged["agent_0_return_std"], logged["agent_1_return_std"], logged["total_return_std"]) == (1.5, 3, 4.5)
    assert "return_mean" not in logged


@pytest.mark.parametrize("common_reward", [True, False])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_reward_that_is_no_number_stops_the_rollout(bad: float, common_reward: bool) -> None:
    runner, logger, _ = make_runner(common_reward=common_reward, env_args={"bad_reward": bad})
    with pytest.raises(NonFiniteError, match=r"environment 2 \(Planned-v0\) .*(nan|inf).* at step 1 "):
        runner.run()
    assert logger == []


def test_batch_on_another_device_follows_step_by_step() -> None:
    """'cpu:0' is the CPU under a name that is not 'cpu': it takes the way of a GPU."""
    fields, notes = record.drive(vector_runner, OneHot, record.CASES["toy-each"])
    mirrored, mirrored_notes = record.drive(vector_runner, OneHot, record.CASES["toy-each"], device="cpu:0")
    assert all(notes["shown"])
    assert mirrored_notes == notes
    assert fields.keys() == mirrored.keys()
    for key, value in fields.items():
        assert np.array_equal(mirrored[key], value), key


def test_networks_run_in_inference_mode_and_environments_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    monkeypatch.setattr(AlwaysOne, "init_hidden", lambda mac, batch_size: None)
    act, step = AlwaysOne.select_actions, Planned.step
    note = lambda who, do: lambda *a, **k: modes.append((who, th.is_inference_mode_enabled())) or do(*a, **k)  # noqa: E731
    monkeypatch.setattr(AlwaysOne, "select_actions", note("mac", act))
    monkeypatch.setattr(Planned, "step", note("env", step))
    batch = make_runner()[0].run()
    assert set(modes) == {("mac", True), ("env", False)}
    assert not any(field.is_inference() for field in batch.data.transition_data.values())  # learners may use it freely


class Screened(Planned):
    """Made for a screen, or not; it keeps replays of what it has played, as StarCraft does."""

    metadata = {"render_modes": ["human"]}

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__()
        self.render_mode = render_mode

    def render(self) -> None:
        raise OSError("windows not available")


gym.register("Screened-v0", entry_point=Screened)


def test_only_the_first_environment_is_made_for_a_screen() -> None:
    made = make_runner(env_args={"key": "Screened-v0", "render_mode": "human"})[0].own.envs
    assert [made[i]._env.unwrapped.render_mode for i in range(3)] == ["human", None, None]


def test_an_environment_that_cannot_be_drawn_is_named() -> None:
    runner, _, _ = make_runner(render=True, env_args={"key": "Screened-v0", "render_mode": "human"})
    runner.run()  # in training nothing is drawn
    message = r"^render=True: Screened-v0 cannot be drawn here \(OSError: windows not available\); set render=False"
    with pytest.raises(CapabilityError, match=message):
        runner.run(test_mode=True)


@pytest.mark.parametrize("processes", [1, 3])
def test_the_replay_is_the_first_environments_of_what_it_has_played(processes: int, monkeypatch) -> None:
    runner, _, _ = make_runner(env_processes=processes)
    first = runner.own.envs[0]
    saved = []
    monkeypatch.setattr(first, "save_replay", lambda: saved.append(list(first._env.unwrapped.played)), raising=False)
    runner.run(test_mode=True)
    runner.save_replay()
    runner.close_env()
    assert saved == [[[1, 1]]]  # with seed 1 it lasts one step


def test_render_draws_the_first_environment_in_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    runner, _, _ = make_runner(render=True)
    drawn = []
    for i, env in runner.own.envs.items():
        monkeypatch.setattr(env, "render", lambda i=i: drawn.append(i))
    runner.run(test_mode=False)
    assert drawn == []
    runner.run(test_mode=True)
    assert drawn == [0]  # once, for its only step


def test_episode_runner_has_one_environment() -> None:
    assert make_runner(1, runner="episode")[0].batch_size == 1
    with pytest.raises(ConfigError, match="batch_size_run=1"):
        make_runner(2, runner="episode")
