"""Recordings of real-valued actions. Shape letters as in recordings/episodes.py."""

from __future__ import annotations

import json

import gymnasium as gym
import numpy as np
import pytest
import torch
from data.faulty import Faulty
from epymarl_trust_region.errors import CapabilityError, DataError
from epymarl_trust_region.offline import command as train_offline
from epymarl_trust_region.recordings.episodes import read_episodes
from epymarl_trust_region.recordings.layout import metadata_file
from epymarl_trust_region.recordings.recording import record
from epymarl_trust_region.recordings.summary import summary
from epymarl_trust_region.suite.lite import registries
from gymnasium.spaces import Box
from recorded import A, N, change_metadata, made, write
from recordings.test_recording import make_args
from support import CONTROLLERS, SCHEMAS, RecordingLogger

h5py = pytest.importorskip("h5py")

BOUNDS = {
    "action_low": [[-1.0, -0.1, 0.0, -2.0], [-1.0, 0.0, 0.0, 0.0]],
    "action_high": [[1.0, 0.1, 0.5, 2.0], [0.1, 0.0, 0.0, 0.0]],
    "action_dtype": "float64",
}


def drawn(L: int, seed: int, **changes):
    actions = np.random.default_rng(seed).normal(size=(L, N, A)).astype(np.float32)
    return made(L, seed, actions=actions, **changes)


def test_what_is_written_is_read_back_bit_for_bit(tmp_path):
    episodes = [drawn(3, 1), drawn(5, 2, truncated=True), drawn(1, 3)]
    write(tmp_path / "x", episodes[:2], episodes[2:], **BOUNDS)
    read = read_episodes(tmp_path / "x")
    assert "actions_onehot" not in read and read["actions"].dtype == torch.float32
    assert read["actions"].shape == (3, 6, N, A)
    for row, episode in enumerate(episodes):
        assert np.array_equal(read["actions"][row, : episode.length].numpy(), episode.actions)
        assert not read["actions"][row, episode.length :].any()
    assert {key: read.about[key] for key in BOUNDS} == BOUNDS
    played = read.played_actions()
    expected = np.clip(episodes[1].actions.astype(np.float64), BOUNDS["action_low"], BOUNDS["action_high"])
    assert played.dtype == torch.float64 and np.array_equal(played[1, :5].numpy(), expected)
    assert read.part([2, 0])["actions"].shape == (2, 4, N, A)
    assert "2 agents, 4 action dimensions, obs" in "\n".join(summary(tmp_path / "x"))


@pytest.mark.parametrize("most, dtype", [(float(np.finfo(np.float32).max), "float32"), (1e300, "float64")])
def test_bounds_may_be_as_wide_as_the_actions_own_type(most, dtype, tmp_path):
    bounds = {"action_low": [[-most] * A] * N, "action_high": [[most] * A] * N, "action_dtype": dtype}
    write(tmp_path / "x", [drawn(3, 1)], **bounds)
    read = read_episodes(tmp_path / "x")
    assert torch.equal(read.played_actions().float(), read["actions"])
    change_metadata(tmp_path / "x", action_high_=[[1e300] * A] * N, action_dtype_="float32")
    with pytest.raises(DataError, match="is damaged: it does not say action_"):
        read_episodes(tmp_path / "x")


def test_discrete_recordings_are_played_as_they_are(tmp_path):
    write(tmp_path / "x", [made(3)])
    read = read_episodes(tmp_path / "x")
    assert read.played_actions() is read["actions"] and "action_low" not in read.about


def test_minari_knows_the_box(tmp_path):
    minari = pytest.importorskip("minari")
    write(tmp_path / "x-v0", [drawn(3, 1)], **BOUNDS)
    data = minari.MinariDataset(tmp_path / "x-v0/data")
    assert isinstance(data.action_space, Box) and data.action_space.shape == (N, A)
    assert np.array_equal(data.action_space.high, np.float32(BOUNDS["action_high"]))
    (episode,) = data.iterate_episodes()
    assert np.array_equal(episode.actions, drawn(3, 1).actions)


def spoil(path, actions) -> None:
    with h5py.File(path / "data/main_data.hdf5", "r+") as file:
        del file["episode_0"]["actions"]
        file["episode_0"]["actions"] = actions


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: spoil(p, np.zeros((3, N, A))), "it has no actions, or some that are no finite float32"),
        (
            lambda p: spoil(p, np.full((3, N, A), np.nan, np.float32)),
            "episode 0: actions has numbers that are not finite; record",
        ),
        (lambda p: spoil(p, np.zeros((3, N))), r"actions has the shape \[3, 2\] and not \[3, 2, 4\]; record"),
        (lambda p: change_metadata(p, action_high_=[[1.0] * A]), "damaged: it does not say action_high; record"),
        (lambda p: change_metadata(p, action_dtype_="int64"), "damaged: it does not say action_dtype; record"),
    ],
)
def test_a_bad_recording_is_refused_in_one_line(change, message, tmp_path):
    write(tmp_path / "x", [drawn(3, 1)], **BOUNDS)
    change(tmp_path / "x")
    with pytest.raises(DataError, match=message):
        read_episodes(tmp_path / "x")


def test_the_offline_learner_says_why_it_cannot_learn_from_them(tmp_path):
    write(tmp_path / "x", [drawn(3, 1)], **BOUNDS)
    with pytest.raises(CapabilityError, match="recorded actions are continuous, .*softmaxes .*discrete"):
        train_offline.main(["--config=log_linear_ppo_offline", f"--data={tmp_path / 'x'}", f"--out={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists() and SCHEMAS["log_linear_offline"].continuous_actions


TASK = {
    "key": "FaultyBoxes-v0", "time_limit": 9, "length": 4,
    "actions": (Box(-0.3, 0.3, (2,), np.float64), Box(-1, 1, (1,), np.float64)),
}  # fmt: skip
gym.register("FaultyBoxes-v0", entry_point=Faulty)


@pytest.mark.parametrize("greedy", [False, True])
def test_a_run_records_what_its_policies_drew(greedy, tmp_path):
    """And the density of that; of certain actions there is none."""
    args = make_args(tmp_path / "x", (TASK, True, "sum"), evaluate=greedy, test_greedy=greedy)
    args.checkpoint_path = "somewhere" if greedy else ""
    args.save_replay = False
    runner = record(registries.vector_runner(args, RecordingLogger()), args)
    info = runner.get_env_info()
    args.n_agents, args.n_actions = info["n_agents"], info["n_actions"]
    scheme = {
        "state": {"vshape": info["state_shape"]},
        "obs": {"vshape": info["obs_shape"], "group": "agents"},
        "avail_actions": {"vshape": (2,), "group": "agents", "dtype": torch.int},
        "terminated": {"vshape": (1,), "dtype": torch.uint8},
        "reward": {"vshape": (1,)},
    }
    runner.extend_scheme(scheme, {})
    mac = CONTROLLERS["trust_region_mac"](scheme, {"agents": 2}, args)
    runner.setup(scheme=scheme, groups={"agents": 2}, preprocess={}, mac=mac)
    batch = runner.run(test_mode=greedy)
    runner.close_env()
    read = read_episodes(tmp_path / "x")
    L = int(read.lengths[0])
    assert torch.equal(read["actions"][:, :L], batch["actions"][:, :L]) and (read["actions"][:, :, 1, 1] == 0).all()
    assert read.about["action_dtype"] == "float64" and read.about["action_high"] == [[0.3, 0.3], [1.0, 0.0]]
    assert ("log_probs" in read) != greedy
    if not greedy:
        assert read["actions"].abs().max() > 0.3  # more than was played
        for i, avail in enumerate(batch["avail_actions"][:, :L].unbind(2)):
            policy = mac.policy(i, mac.build_inputs(batch)[i][:, :L], avail)
            expected = policy.log_prob(batch["actions"][:, :L, i]).detach()
            torch.testing.assert_close(read["log_probs"][:, :L, i], expected)
    assert json.loads(metadata_file(tmp_path / "x").read_text())["total_episodes"] == 3
