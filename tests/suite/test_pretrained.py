"""EPyMARL's pretrained opponents, against EPyMARL's own code for them, and in `epymarl-tr crossplay`."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest
import torch
from epymarl_trust_region import cli
from epymarl_trust_region.errors import CheckpointError, ConfigError
from epymarl_trust_region.suite import epymarl, pretrained
from resuming import configured, last_checkpoint, play

TAG, ADVERSARY = "pz-mpe-simple-tag-v3", "pz-mpe-simple-adversary-v3"


@pytest.mark.integration
@pytest.mark.parametrize(
    "task, sizes, file, hidden",
    [(TAG, [16, 16, 16, 14], "prey_params.pt", 128), (ADVERSARY, [8, 10, 10], "adv_params.pt", 64)],
)
def test_they_act_as_in_epymarl(task, sizes, file, hidden):
    folder = epymarl.find()[0] / "src" / "envs" / "pretrained"
    spec = importlib.util.spec_from_file_location("their_ddpg", folder / "ddpg.py")
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    saved = torch.load(folder / file, weights_only=True)["agent_params"]
    team, found = pretrained.load(task, sizes)
    assert found == folder / file
    seen = torch.randn(50, 3, len(sizes), max(sizes), generator=torch.Generator().manual_seed(0))
    actions = team.select_actions({"obs": seen}, t_ep=1, t_env=0, bs=list(range(0, 50, 2)), test_mode=True)
    assert actions.shape == (25, len(sizes)) and len(actions.unique()) > 2
    for agent, size in enumerate(sizes):
        one = theirs.DDPG(size, 5, 50, hidden, 0.01)
        one.load_params(saved[agent])
        one.policy.eval()
        assert actions[:, agent].tolist() == [one.step(row) for row in seen[::2, 1, agent, :size]]


@pytest.mark.integration
def test_they_play_against_a_checkpoint(own_folder, capsys):
    env_args = {"key": ADVERSARY, "time_limit": 4}
    play(configured(own_folder, "il", "gymma", env_args, common_reward=False, t_max=1, test_interval=10**6))
    run = str(last_checkpoint(own_folder).parent)
    assert cli.main(["crossplay", run, "pretrained", "--episodes", "3"]) == 0
    text = capsys.readouterr().out
    assert "| 2 | pretrained |  |  |" in text and "role 0 (agent 0)" in text and "role 1 (agents 1, 2)" in text
    with pytest.raises(
        ConfigError, match=r"observations of lengths \[8, 10, 10\], not \[8, 10, 12\]; leave its env_args"
    ):
        pretrained.load(ADVERSARY, [8, 10, 12])


def test_faults_are_told(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="no pretrained opponents for pz-mpe-simple-push-v3, but for pz-mpe"):
        pretrained.load("pz-mpe-simple-push-v3", [1])
    monkeypatch.setattr(pretrained, "epymarl", SimpleNamespace(find=lambda: None))
    with pytest.raises(CheckpointError, match="epymarl-tr suite fetch"):
        pretrained.load(TAG, [16, 16, 16, 14])
    monkeypatch.setattr(pretrained, "epymarl", SimpleNamespace(find=lambda: (tmp_path, "")))
    with pytest.raises(CheckpointError, match="holds no pretrained opponents"):
        pretrained.load(TAG, [16, 16, 16, 14])
    (tmp_path / "src/envs/pretrained").mkdir(parents=True)
    torch.save({"agent_params": [{"policy": {}}]}, tmp_path / "src/envs/pretrained/prey_params.pt")
    with pytest.raises(CheckpointError, match="holds no pretrained opponents"):
        pretrained.load(TAG, [16, 16, 16, 14])
