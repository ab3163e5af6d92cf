"""Why the factor eats the batch: its sample size as it is, and as it would be if the agents' ratios were independent.

    python results/factor-ess/shuffled.py hatrpo 15 kl_threshold=0.005

trains on MPE spread with so many agents for seven updates. After each it prints the effective sample size of the
product of all agents' ratios; that of the same ratios, each agent's shuffled over the steps; and the correlation of the
product's logarithm with the advantage that all agents share.
"""

from __future__ import annotations

import sys

import torch
from epymarl_trust_region.learners.happo import HAPPOLearner
from epymarl_trust_region.learners.hatrpo import HATRPOLearner
from epymarl_trust_region.main import main

LEARNERS = {"happo": HAPPOLearner, "hatrpo": HATRPOLearner}
RUN = ["env_args.key=pz-mpe-simple-spread-v3", "env_args.time_limit=25", "t_max=1500", "seed=1", "env_processes=1"]


def sample_size(weights: torch.Tensor) -> float:
    """(sum w)^2 / (M sum w^2)."""
    return (weights.sum() ** 2 / (len(weights) * (weights**2).sum())).item()


def measured(update):
    """The learner's `update_policies`, which then prints a line."""

    def update_and_print(self, rollout):
        statistics = update(self, rollout)
        valid, shuffle = rollout.mask.bool(), torch.Generator().manual_seed(0)
        ratios = [rollout.ratio(self.mac, i)[valid].double() for i in range(rollout.n_agents)]
        joint = torch.stack(ratios).prod(0)
        apart = torch.stack([r[torch.randperm(len(r), generator=shuffle)] for r in ratios]).prod(0)
        both = torch.stack([joint.log(), rollout.advantage(0)[valid].double()])
        correlation = torch.corrcoef(both)[0, 1]
        print(f"as it is {sample_size(joint):.3f}, shuffled {sample_size(apart):.2f}, correlation {correlation:.2f}")
        return statistics

    return update_and_print


if __name__ == "__main__":
    name, n_agents, *more = sys.argv[1:]
    LEARNERS[name].update_policies = measured(LEARNERS[name].update_policies)
    flags = ["--suite=lite", "--progress=off", "--quiet", f"--config={name}", "--env-config=gymma"]
    sys.exit(main([*flags, "with", *RUN, f"env_args.N={n_agents}", *more]))
