"""What the built-in suite can run, by the names in the config. Plugins add theirs, as to EPyMARL's registries."""

from __future__ import annotations

from epymarl_trust_region.suite.lite.gymma import GymmaEnv
from epymarl_trust_region.suite.lite.runner import Runner

LEARNERS: dict[str, type] = {}
CONTROLLERS: dict[str, type] = {}
RUNNERS: dict[str, type] = {"parallel": Runner, "episode": Runner}
ENVIRONMENTS: dict[str, type] = {"gymma": GymmaEnv}
