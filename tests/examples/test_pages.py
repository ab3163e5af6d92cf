"""The pages that say how to add something: what stands in them is the example's files, or runs."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest
import torch
from epymarl_trust_region import cli
from epymarl_trust_region.environments import batched_games
from extensions import HAA2C
from support import CONTROLLERS, ROOT, RecordingLogger, make_args, make_batch, make_learner, scheme_of


def blocks(page: str) -> list[str]:
    return re.findall(r"^```[a-z]+\n(.*?)^```$", (ROOT / "docs" / page).read_text(), re.M | re.S)


def test_the_page_of_the_algorithm_is_the_example():
    files = ("pyproject.toml", "haa2c/__init__.py", "haa2c/algs/haa2c.yaml")
    package, module, _, keys = blocks("add_an_algorithm.md")
    assert [package, module, keys] == [(HAA2C / file).read_text() for file in files]


def test_the_learner_of_the_page_ascends_what_the_fast_way_ascends(double_precision, tmp_path, monkeypatch):
    """`loss.backward()` through `rollout.policy`, against derivatives pulled back from `rollout.evaluate`."""
    (tmp_path / "of_the_page.py").write_text(blocks("add_an_algorithm.md")[2])
    monkeypatch.syspath_prepend(str(tmp_path))
    page = importlib.import_module("of_the_page")

    class ByHand(page.ReinforceLearner):
        def update_policies(self, rollout):
            weight = rollout.mask / rollout.mask.sum()
            for agent, optimiser in enumerate(self.actor_optimisers):
                *_, pull = rollout.evaluate(self.mac, agent)
                pull(-weight * rollout.advantage(agent), -weight * self.config.entropy_coef, optimiser.gradients)
                optimiser.step()
            return {}

    batch, vectors = make_batch(lengths=[6, 3, 1, 5], avail=0.7), []
    for learner_class in (page.ReinforceLearner, ByHand):
        torch.manual_seed(0)
        args, scheme = make_args(batch, "ir_mappo", share_parameters=False, obs_agent_id=False), scheme_of(batch)
        mac = CONTROLLERS[args.mac](scheme, {"agents": args.n_agents}, args)
        learner = learner_class(mac, scheme, RecordingLogger(), args)
        before = torch.cat([o.vector.detach().clone() for o in learner.actor_optimisers])
        learner.train(batch, 0, 0)
        vectors.append(torch.cat([o.vector.detach() for o in learner.actor_optimisers]))
        assert not torch.equal(before, vectors[-1])
    torch.testing.assert_close(*vectors, rtol=0, atol=1e-12)


@pytest.fixture
def environments(own_folder):
    for name, text in zip(("meeting", "meeting_game"), blocks("add_an_environment.md"), strict=True):
        Path(f"{name}.py").write_text(text)


def run(key: str, *words: str) -> dict[str, list]:
    """What a short run logs."""
    flags = ["--suite=lite", "--config=happo", "--env-config=gymma", "--quiet", "--progress=off"]
    given = [
        "t_max=400",
        "test_interval=200",
        "test_nepisode=10",
        "seed=1",
        "env_processes=1",
        "learner_log_interval=0",
    ]
    folder = f"local_results_path=results-{len(list(Path().glob('results-*')))}"
    words = (f"env_args.key={key}", "env_args.time_limit=20", *words, folder)
    assert cli.main(["run", *flags, "with", *given, *words]) == 0
    (file,) = Path(folder.partition("=")[2]).rglob("info.json")
    return json.loads(file.read_text())


def test_the_environment_of_the_page_runs_with_its_masks(environments):
    logged = run("meeting:Meeting-v0", "env_args.n_agents=3")
    assert len(logged["test_return_mean"]) >= 2 and "spread_mean" in logged


def test_the_game_of_the_page_is_stepped_as_one_and_plays_the_same(environments, monkeypatch):
    made = []
    monkeypatch.setattr(
        "epymarl_trust_region.runners.batched_form.BatchedGame",
        type(
            "Noted",
            (batched_games.BatchedGame,),
            {"reset": lambda self: made.append(1) or super(type(self), self).reset()},
        ),
    )
    as_one = run("meeting_game:MeetingGame-v0", "env_args.cells=4")
    assert made
    made.clear()
    one_by_one = run("meeting_game:MeetingGame-v0", "env_args.cells=4", "batched_envs=none")
    assert not made and as_one == one_by_one and len(as_one["test_return_mean"]) >= 2


def test_the_network_of_the_page_is_one(monkeypatch, tmp_path):
    (code,) = blocks("networks.md")
    (tmp_path / "my_wide.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    batch = make_batch()
    learner = make_learner(batch, "hatrpo", actor_network="my_wide:Wide", actor_args={"width": 7})
    before = learner.actor_optimisers[0].vector.detach().clone()
    learner.train(batch, 0, 0)
    assert learner.mac.agent.agents[0].network[0].out_features == 7
    assert not torch.equal(before, learner.actor_optimisers[0].vector)
