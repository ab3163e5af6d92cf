"""What a runner has played is what the recording holds: against the runner's own batches, and environments that take
notes of how their episodes end."""

from __future__ import annotations

from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from data import record as conformance
from epymarl_trust_region.errors import ConfigError, DataError
from epymarl_trust_region.recordings.episodes import read_episodes
from epymarl_trust_region.recordings.recording import check_recording, episodes_of, record
from epymarl_trust_region.suite.lite import registries
from epymarl_trust_region.suite.lite.episode_batch import OneHot
from epymarl_trust_region.suite.scheme import batch_scheme
from gymnasium.spaces import Box, Discrete, Tuple
from recorded import made, write
from support import CONTROLLERS, RecordingLogger, algorithm, make_batch

pytest.importorskip("h5py")

TOY = ({"key": "ConformanceToy-v0", "time_limit": 12}, False, "sum")
SIZE = 3


def make_args(path, case=TOY, **changes) -> SimpleNamespace:
    env_args, common_reward, scalarisation = case
    args = algorithm("happo", env="gymma", env_args={"pretrained_wrapper": None, **env_args, "seed": 5}, seed=5)
    args |= {"common_reward": common_reward, "reward_scalarisation": scalarisation, "batch_size_run": SIZE}
    args |= {"env_processes": 1, "save_episodes": str(path), "save_episodes_overwrite": False}
    return SimpleNamespace(**{**args, **changes})


def play(args, rollouts=(False, True, False), mac=None, recorded=True):
    """Rollouts of the built-in suite's runner, recorded; `mac` is a class of MACs, or None for scripted actions."""
    runner = registries.vector_runner(args, RecordingLogger())
    runner = record(runner, args) if recorded else runner
    info = runner.get_env_info()
    scheme, groups, preprocess = batch_scheme(info, args.common_reward, OneHot)
    if mac is None:
        mac = conformance.ScriptedMAC()
    else:
        args.n_agents, args.n_actions = info["n_agents"], info["n_actions"]
        mac = mac(scheme | {"actions_onehot": {"vshape": (args.n_actions,), "group": "agents"}}, groups, args)
    runner.setup(scheme=scheme, groups=groups, preprocess=preprocess, mac=mac)
    batches = [runner.run(test_mode=test_mode) for test_mode in rollouts]
    runner.close_env()
    return batches


def expected_of(batches) -> dict[str, torch.Tensor]:
    """The runner's fields as they are, less the actions that were chosen at the last observation and never played."""
    fields = {key: torch.cat([batch[key] for batch in batches]) for key in batches[0].data.transition_data}
    longest = int(fields["filled"].sum((1, 2)).max())
    for row, length in enumerate(fields["filled"].sum((1, 2)).tolist()):
        for key in ("actions", "actions_onehot"):
            fields[key][row, length - 1 :] = 0
    return {key: field[:, :longest] for key, field in fields.items()}


@pytest.mark.parametrize("name", ["toy-team", "toy-each", "lbf-team", "spread-team"])
def test_the_recording_is_what_the_runner_gave(name, tmp_path):
    pytest.importorskip("lbforaging")
    batches = play(make_args(tmp_path / "x", conformance.CASES[name]), rollouts=(False, True, True, False, False))
    read = read_episodes(tmp_path / "x")
    expected = expected_of([batches[0], *batches[3:]])  # training only
    assert expected.keys() == read.keys() - {"truncated"}
    for key, value in expected.items():
        assert read[key].dtype == value.dtype and torch.equal(read[key], value), key
    if name.startswith("toy"):
        assert len(set(read.lengths.tolist())) > 3


def test_the_runner_hands_its_batch_on_untouched(tmp_path):
    recorded, plain = play(make_args(tmp_path / "x")), play(make_args(tmp_path / "y"), recorded=False)
    for one, other in zip(recorded, plain, strict=True):
        for key, field in one.data.transition_data.items():
            assert torch.equal(field, other[key])


class Ends(gym.Env):
    """One agent, whose episode ends at step `end`: by itself, by its own limit, by both, or by the suite's info."""

    n_agents = 1
    action_space = Tuple([Discrete(2)])
    observation_space = Tuple([Box(-9, 9, (1,))])

    def __init__(self, end: int, how: str) -> None:
        self.end, self.how = end, how

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return (np.zeros(1),), {}

    def step(self, actions):
        self.t += 1
        now = self.t == self.end
        info = {"episode_limit": True} if now and self.how == "info" else {}
        return (np.ones(1),), 1.0, now and self.how != "own limit", now and self.how in ("own limit", "both"), info

    def close(self):
        pass


gym.register("Ends-v0", entry_point=Ends)


@pytest.mark.parametrize(
    "how, end, limit, truncated, marked",
    [
        ("itself", 2, 4, False, True),
        ("itself", 4, 4, False, True),  # though Gymnasium's TimeLimit says truncated, too
        ("itself", 9, 4, True, True),  # the time limit alone; the suite's runners mark it as terminated
        ("own limit", 2, 4, True, True),
        ("both", 2, 4, False, True),
        ("info", 2, 4, True, False),
    ],
)
@pytest.mark.parametrize("processes", [1, 2])
def test_ends_and_limits_are_told_apart(how, end, limit, truncated, marked, processes, tmp_path):
    env_args = {"key": "Ends-v0", "time_limit": limit, "end": end, "how": how}
    play(make_args(tmp_path / "x", (env_args, True, "sum"), env_processes=processes), rollouts=(False,))
    read = read_episodes(tmp_path / "x")
    steps = min(end, limit)
    assert read.about["ends"] == "reported" and read.lengths.tolist() == [steps] * SIZE
    assert torch.equal(read["truncated"][:, steps - 1, 0], torch.tensor([int(truncated)] * SIZE, dtype=torch.uint8))
    assert torch.equal(read["terminated"][:, steps - 1, 0], torch.tensor([int(marked)] * SIZE, dtype=torch.uint8))


@pytest.mark.parametrize("batched_envs", ["exact", "none"])
@pytest.mark.parametrize("cycles, limit", [(25, 4), (4, 9), (4, 4)])
def test_spread_is_always_cut_stepped_as_one_or_not(batched_envs, cycles, limit, tmp_path):
    """Also where `max_cycles` and `time_limit` are over at the same step."""
    pytest.importorskip("mpe2")
    env_args = {"key": "epymarl_trust_region.environments.mpe:pz-mpe-simple-spread-v3", "time_limit": limit}
    args = make_args(tmp_path / "x", ({**env_args, "max_cycles": cycles}, True, "sum"), batched_envs=batched_envs)
    play(args, rollouts=(False,))
    read = read_episodes(tmp_path / "x")
    assert read["truncated"].sum((1, 2)).tolist() == [1] * SIZE and read.lengths.tolist() == [4] * SIZE


def test_other_runners_ends_are_inferred():
    """Ended before the limit: by itself. Unmarked, or at the limit: cut. The same rule as `true_terminations`."""
    batch = make_batch(B=3, T=6, lengths=[3, 5, 6])
    batch["terminated"][1] = 0
    ends = [(e.truncated, e.marked, e.length) for e in episodes_of(batch, None, 6, 0, True)]
    assert ends == [(False, True, 3), (True, False, 5), (True, True, 6)]
    assert [e.truncated for e in episodes_of(batch, None, 7, 0, True)] == [False, True, False]
    assert [e.truncated for e in episodes_of(batch, [True, False, False], 6, 0, True)] == [True, False, False]


@pytest.mark.parametrize("use_rnn", [False, True])
def test_log_probs_are_those_of_the_policy_that_acted(use_rnn, tmp_path):
    """Against the probabilities at each step as the runner asked for it, with unequal numbers of actions."""
    torch.manual_seed(0)
    seen = []

    class Spy(CONTROLLERS["trust_region_mac"].load()):
        def select_actions(self, ep_batch, t_ep, t_env, bs=slice(None), test_mode=False):
            hidden = self.hidden_states
            probs = self.forward(ep_batch, t_ep)
            self.hidden_states = hidden
            actions = super().select_actions(ep_batch, t_ep, t_env, bs, test_mode)
            chosen = probs[bs].gather(-1, actions.unsqueeze(-1)).squeeze(-1).log()
            seen.extend((row, t_ep, value) for row, value in zip(bs, chosen, strict=True))
            return actions

    play(make_args(tmp_path / "x", use_rnn=use_rnn), rollouts=(False,), mac=Spy)
    read = read_episodes(tmp_path / "x")
    compared = 0
    for row, t, value in seen:
        if t < read.lengths[row]:
            assert torch.allclose(read["log_probs"][row, t], value, atol=1e-6)
            compared += 1
        else:
            assert not read["log_probs"][row, t].any()
    assert compared == read.lengths.sum() > SIZE
    assert read["log_probs"].min() < -0.5


def test_a_run_that_evaluates_records_its_tests(tmp_path):
    """Greedy actions have probability 1."""
    changes = {"checkpoint_path": "somewhere", "evaluate": True, "test_greedy": True}
    mac = CONTROLLERS["trust_region_mac"]
    batches = play(make_args(tmp_path / "x", **changes), rollouts=(True, False, True), mac=mac)
    read = read_episodes(tmp_path / "x")
    expected = expected_of([batches[0], batches[2]])
    assert torch.equal(read["obs"], expected["obs"]) and read.about["evaluation"]
    assert not read["log_probs"].any()
    play(make_args(tmp_path / "y", evaluate=True), rollouts=(True, False, False))  # without a checkpoint it trains
    assert read_episodes(tmp_path / "y").batch_size == 2 * SIZE


def test_training_steps_before_each_rollout_are_kept(tmp_path):
    h5py = pytest.importorskip("h5py")
    batches = play(make_args(tmp_path / "x"))
    steps = int(batches[0]["filled"].sum()) - SIZE
    with h5py.File(tmp_path / "x/data/main_data.hdf5") as file:
        found = [int(file[f"episode_{i}"].attrs["t_env"]) for i in range(2 * SIZE)]
    assert found == [0] * SIZE + [steps] * SIZE


def test_the_facts_of_the_run(tmp_path):
    plugin = {"epymarl_trust_region": "1.2", "plugin_commit": "c", "host": "lite", "host_commit": None}
    play(make_args(tmp_path / "x", plugin=plugin, gamma=0.5, name="mine"), rollouts=(False,))
    about = read_episodes(tmp_path / "x").about
    expected = {"plugin_version": "1.2", "plugin_commit": "c", "host": "lite", "host_commit": None, "algorithm": "mine"}
    expected |= {"seed": 5, "gamma": 0.5, "common_reward": False, "env": "gymma", "n_agents": 3, "n_actions": 4}
    expected |= {"obs_dim": 4, "state_dim": 12, "episode_limit": 12, "learner": "happo_learner", "runner": "vector"}
    expected |= {"env_args": {"key": "ConformanceToy-v0", "time_limit": 12, "seed": 5, "pretrained_wrapper": None}}
    assert {key: about[key] for key in expected} == expected


@pytest.mark.parametrize(
    "config, error, message",
    [
        ({"save_episodes": 3}, ConfigError, "save_episodes=3 is no path; name a folder"),
        ({"save_episodes": ""}, ConfigError, "save_episodes='' is no path; name a folder"),
        ({"save_episodes": "y", "save_episodes_overwrite": 1}, ConfigError, "overwrite=1 is not True or False; give"),
        ({"save_episodes_overwrite": True}, ConfigError, "overwrites nothing without save_episodes=PATH; add"),
        ({"save_episodes": "x"}, DataError, "save_episodes=x exists; name another folder, or add"),
        ({"save_episodes": "f", "save_episodes_overwrite": True}, DataError, "replaces recorded episodes only"),
    ],
)
def test_bad_keys_are_refused_before_anything_is_built(config, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "x", [made(2)])
    (tmp_path / "f").write_text("")
    with pytest.raises(error, match=message):
        check_recording(config)


def test_good_keys_pass(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "x", [made(2)])
    for config in ({}, {"save_episodes": None}, {"save_episodes": "y"}):
        check_recording(config)
    check_recording({"save_episodes": "x", "save_episodes_overwrite": True})
    assert read_episodes(tmp_path / "x").batch_size == 1  # a check removes nothing


class RandomEnds(Ends):
    """Ends by itself or by its own limit at a random step, and sees which: the sign of its observations after."""

    def __init__(self) -> None:
        super().__init__(99, "itself")

    def step(self, actions):
        self.t += 1
        end, itself = self.np_random.random() < 0.3, self.np_random.random() < 0.5
        return (np.full(1, 1.0 if itself else -1.0),), 1.0, end and itself, end and not itself, {}

    def reset(self, *, seed=None, options=None):
        gym.Env.reset(self, seed=seed)
        return super().reset()


gym.register("RandomEnds-v0", entry_point=RandomEnds)


@pytest.mark.parametrize("processes", [1, 2])
def test_ends_are_kept_in_the_order_of_the_environments(processes, tmp_path):
    case = ({"key": "RandomEnds-v0", "time_limit": 50}, True, "sum")
    play(make_args(tmp_path / "x", case, env_processes=processes, batch_size_run=12), rollouts=(False, False))
    read = read_episodes(tmp_path / "x")
    rows = torch.arange(24)
    last_seen = read["obs"][rows, read.lengths, 0, 0]
    assert torch.equal(read["truncated"][rows, read.lengths - 1, 0] == 1, last_seen < 0)
    assert 0 < (last_seen < 0).sum() < 24 and len(set(read.lengths.tolist())) > 3
