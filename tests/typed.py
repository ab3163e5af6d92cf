"""What `make lint` has to find true beside the package itself: which class has which interface. Nothing runs this."""

from __future__ import annotations

from epymarl_trust_region import interfaces
from epymarl_trust_region.controllers.log_linear_mac import LogLinearMAC
from epymarl_trust_region.controllers.trust_region_mac import TrustRegionMAC
from epymarl_trust_region.environments.batched import BatchedEnv
from epymarl_trust_region.environments.batched_games import BatchedGame
from epymarl_trust_region.environments.batched_mpe import BatchedMPE
from epymarl_trust_region.environments.batched_smax import BatchedSMAX
from epymarl_trust_region.environments.batched_vmas import BatchedVMAS
from epymarl_trust_region.modules.distributions import MaskedCategorical
from epymarl_trust_region.modules.gaussian import DiagonalGaussian
from epymarl_trust_region.modules.policy import Policy
from epymarl_trust_region.numerics.meta_game import BatchGame, Game, TableGame
from epymarl_trust_region.onpolicy.controller import Controller, LogLinearController
from epymarl_trust_region.recordings.episodes import Episodes
from epymarl_trust_region.suite.lite.episode_batch import EpisodeBatch
from epymarl_trust_region.suite.lite.logger import Logger


def controllers(mac: TrustRegionMAC, log_linear: LogLinearMAC) -> tuple[Controller, LogLinearController]:
    return mac, log_linear


def policies(softmax: MaskedCategorical, gaussian: DiagonalGaussian) -> tuple[Policy, Policy]:
    return softmax, gaussian


def of_hosts(batch: EpisodeBatch, logger: Logger) -> tuple[interfaces.Batch, interfaces.Logger]:
    return batch, logger


def recorded(episodes: Episodes) -> interfaces.Batch:
    return episodes


def batched(game: BatchedGame, mpe: BatchedMPE, smax: BatchedSMAX, vmas: BatchedVMAS) -> list[BatchedEnv]:
    return [game, mpe, smax, vmas]


def games(batch: BatchGame, table: TableGame) -> list[Game]:
    return [batch, table]
