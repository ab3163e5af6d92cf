"""What learners whose agents take turns share: what they log of the factor, and a warning when it has eaten the batch.

Shape letters: B episodes, T steps.
"""

from __future__ import annotations

import math

from torch import Tensor

from ..config import SequentialConfig
from ..interfaces import Args, Logger, Scheme
from .controller import Controller
from .diagnostics import factor_statistics
from .learner import OnPolicyLearner

#: The warning's threshold: the mean of `factor_ess` over so many updates. Half the samples make a gradient 1.4 times as
#: noisy; single updates fall below it in runs that learn well, such means do not (results/factor-ess).
LEAST_ESS, UPDATES = 0.5, 10


class SequentialLearner(OnPolicyLearner):
    """Base of the learners that go by `turns` (see turns.py); their `config_class` is a SequentialConfig."""

    config: SequentialConfig
    carried = (*OnPolicyLearner.carried, "recent_ess", "has_warned")

    def __init__(self, mac: Controller, scheme: Scheme, logger: Logger, args: Args) -> None:
        super().__init__(mac, scheme, logger, args)
        self.recent_ess: list[float] = []  # at most UPDATES
        self.has_warned = False

    def factor_report(self, factor: Tensor, mask: Tensor) -> dict[str, float]:
        """`factor_statistics` of the last agent's factor, [B, T]; to be asked for once per update.

        Warns, once in a learner's life, when the last `UPDATES` updates left less than `LEAST_ESS` of the samples.
        """
        statistics = factor_statistics(factor, mask)
        ess = statistics["factor_ess"]
        ess = 0.0 if math.isnan(ess) else ess  # squares that overflow leave one sample
        self.recent_ess = [*self.recent_ess, ess][-UPDATES:]
        mean = sum(self.recent_ess) / UPDATES
        if len(self.recent_ess) == UPDATES and mean < LEAST_ESS and not self.has_warned:
            self.has_warned = True
            clip = "set" if self.config.factor_clip is None else "lower"
            keys = self.config.distance_keys
            change = "Set" if getattr(self.config, keys, keys) is None else "Lower"
            self.logger.console_logger.warning(
                f"factor_ess was {mean:.2g} on average over the last {UPDATES} updates, below {LEAST_ESS}: the agents "
                f"before the last of {self.n_agents} turns move so far that few samples of the batch are left to learn "
                f"from. {change} {keys}, or {clip} factor_clip"
            )
        return statistics
