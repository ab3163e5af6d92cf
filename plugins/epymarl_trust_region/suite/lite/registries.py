"""What the built-in suite can run, by the names in the config. Plugins add theirs, as to EPyMARL's registries."""

from __future__ import annotations

from epymarl_trust_region.interfaces import Args, Logger
from epymarl_trust_region.runners.streams import make_runner
from epymarl_trust_region.runners.vector import VectorRunner
from epymarl_trust_region.suite.host import BatchParts
from epymarl_trust_region.suite.lite.episode_batch import EpisodeBatch, OneHot, ReplayBuffer
from epymarl_trust_region.suite.lite.gymma import GymmaEnv

LEARNERS: dict[str, type] = {}
CONTROLLERS: dict[str, type] = {}
ENVIRONMENTS: dict[str, type] = {"gymma": GymmaEnv}


def vector_runner(args: Args, logger: Logger) -> VectorRunner:
    """The only runner of the built-in suite, on its batches and environments."""
    return make_runner(args, logger, EpisodeBatch, ENVIRONMENTS[args.env])


def batch_parts() -> BatchParts:
    """The built-in suite's classes for batches."""
    return BatchParts(EpisodeBatch, ReplayBuffer, OneHot)


RUNNERS = {"vector": vector_runner, "parallel": vector_runner, "episode": vector_runner}
