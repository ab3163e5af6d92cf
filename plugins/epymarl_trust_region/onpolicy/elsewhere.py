"""Learning on another device than acting: the learner has actors of its own, and hands their parameters back."""

from __future__ import annotations

import copy
from typing import Any

import torch

from ..modules.memory import Carried
from .controller import Controller


class Elsewhere:
    """The MAC that acts, where it is, and a copy of it that learns on a device."""

    def __init__(self, acting: Controller, device: str) -> None:
        """
        Args:
            acting: the MAC that the runner has; a TrustRegionMAC.
            device: where its copy goes, even if that is where it is itself.
        """
        self.device = torch.device(device)
        self.acting: Any = acting
        self.learning: Any = copy.deepcopy(acting)
        self.learning.agent.to(self.device)

    def bring(self, batch: Any) -> Any:
        """The batch on the learner's device, a copy per field, with what its streams began with."""
        carried = self.acting.carried
        if carried is not None:
            hidden, *others = carried
            carried = Carried(None if hidden is None else hidden.to(self.device), *(x.to(self.device) for x in others))
        self.learning.carried = carried
        there = batch[:, :]  # the same tensors: the caller's batch stays where it is
        there.to(self.device)
        return there

    def hand_back(self) -> None:
        """Let what acts have what has been learnt."""
        self.acting.agent.take_over(self.learning.agent)
