"""How often an update waits for its own numbers where it runs on a GPU, counted on the CPU; see tests/host_reads.py."""

from __future__ import annotations

import pytest
import torch
from epymarl_trust_region.learners import hatrpo
from epymarl_trust_region.numerics.conjugate_gradient import unread
from host_reads import HostReads
from support import make_batch, make_learner

N, EPOCHS, CRITIC_EPOCHS, CG_ITERS, TRIES = 3, 5, 10, 4, 1


def test_what_counts_as_reading():
    """item, a truth value, the places of a mask, a mask as index, a comparison and a copy to the host; nothing else."""
    x = torch.arange(6.0)
    with HostReads() as reads:
        x.sum().item(), bool(x.any()), float(x[2]), x.nonzero(), x[x > 1], torch.equal(x, x), x.tolist(), x.numpy()
        (x * 2).sum(), x[torch.tensor([1, 2])], x[2:4].clone(), torch.where(x > 1, x, 0.0)
    assert reads.found == dict(_local_scalar_dense=3, nonzero=1, index=1, equal=1, tolist=1, numpy=1)
    assert reads.total == 8


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(hatrpo, "conjugate_gradient", unread)


def reads_of_an_update(name: str, log: bool, **overrides) -> int:
    batch = make_batch(B=10, T=25, N=N, avail=0.7)
    learner = make_learner(batch, name, critic_epochs=CRITIC_EPOCHS, **overrides)
    for optimiser in (*learner.actor_optimisers, learner.critic_optimiser):
        optimiser.on_host = False  # as on a GPU
    learner.train(batch, 0, 0)
    learner.log_stats_t = -(10**9) if log else 0
    with HostReads() as reads:
        learner.train(batch, 1, 0)
    return reads.total - 2  # gae's, which sums in NumPy where its numbers are on the CPU, and there alone


# One of each optimiser, after its last step: the length of its gradient, and how many were not finite. Beside them: is
# the batch finite, which steps are valid (twice), are all actions available, are the returns finite, two losses, the
# factor's samples and its statistics, and the order of the agents.
HAPPO = N + 1 + 10
# Each agent: the length of its gradient, what conjugate gradient came to, curvature, promise, and each try.
HATRPO = N * (4 + TRIES) + 1 + 9


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "name, most, overrides",
    [
        ("happo", HAPPO, {"epochs": EPOCHS}),
        ("hatrpo", HATRPO, {"cg_iters": CG_ITERS, "line_search_steps": TRIES - 1}),
    ],
)
def test_an_update_reads_few_numbers(name, most, overrides, log):
    of_the_log = 7  # valid steps twice, four lists of statistics, and whether the bounds of the distance are one
    assert reads_of_an_update(name, log, **overrides) <= most + of_the_log * log
