"""Statistics to the console, to Sacred and, where wanted, to TensorBoard and Weights & Biases; EPyMARL's interface."""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import Any

import numpy as np

from epymarl_trust_region.errors import ConfigError


class Logger:
    """Keeps every statistic as (t, value) in `stats[key]` and hands it on to the sinks that were set up.

    Args:
        console_logger: where `print_recent_stats` and the run's messages go.
    """

    def __init__(self, console_logger: logging.Logger) -> None:
        self.console_logger = console_logger
        self.stats: dict[str, list[tuple[int, Any]]] = defaultdict(list)
        self._run: Any = None
        self._tensorboard: Any = None
        self.wandb: Any = None
        self._wandb_t = 0
        self._wandb_row: dict[str, Any] = {}

    def setup_sacred(self, run: Any) -> None:
        """Write to a Sacred run: its metrics, and `info[key]` beside `info[key + "_T"]`."""
        self._run = run

    def setup_tb(self, directory_name: str) -> None:
        """Write TensorBoard event files under `directory_name`.

        Raises:
            ConfigError: the package tensorboard is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            message = "use_tensorboard=True needs the package tensorboard: pip install tensorboard"
            raise ConfigError(message) from error
        self._tensorboard = SummaryWriter(directory_name)
        self.console_logger.info(f"TensorBoard files: {directory_name}")

    def setup_wandb(self, config: dict, team_name: str | None, project_name: str | None, mode: str) -> None:
        """Open a Weights & Biases run.

        Raises:
            ConfigError: team or project is not set, the mode is unknown, or the package wandb is not installed.
        """
        if team_name is None or project_name is None:
            raise ConfigError("use_wandb=True needs wandb_team and wandb_project")
        if mode not in ("offline", "online"):
            raise ConfigError(f"wandb_mode={mode}: choose offline or online")
        try:
            import wandb
        except ImportError as error:
            raise ConfigError("use_wandb=True needs the package wandb: pip install wandb") from error
        group = f"{config['name']}_{config['env']}_{config['env_args'].get('key')}"
        self.wandb = wandb.init(entity=team_name, project=project_name, config=config, group=group, mode=mode)
        self.console_logger.info(f"Weights & Biases run: {self.wandb.id}")

    def log_stat(self, key: str, value: Any, t: int, to_sacred: bool = True) -> None:
        """Record `value` of `key` at environment step `t`."""
        self.stats[key].append((t, value))
        if self._tensorboard is not None:
            self._tensorboard.add_scalar(key, value, t)
        if self.wandb is not None:
            self._collect_for_wandb(key, value, t)
        if self._run is not None and to_sacred:
            self._run.info.setdefault(f"{key}_T", []).append(t)
            self._run.info.setdefault(key, []).append(value)
            self._run.log_scalar(key, value, t)

    def _collect_for_wandb(self, key: str, value: Any, t: int) -> None:
        """One row per step: wandb takes no late values for a step that is past."""
        if t != self._wandb_t:
            self._flush_wandb()
        self._wandb_t = t
        self._wandb_row[key] = value

    def _flush_wandb(self) -> None:
        if self._wandb_row:
            self.wandb.log(self._wandb_row, step=self._wandb_t)
            self._wandb_row = {}

    def print_recent_stats(self) -> None:
        """Print each statistic's mean over its last five values, four to a line (epsilon: the last value)."""
        t, episode = self.stats["episode"][-1]
        cells = []
        for key in sorted(self.stats.keys() - {"episode"}):
            recent = self.stats[key][-1 if key == "epsilon" else -5 :]
            cells.append(f"{key + ':':<25}{np.mean([float(value) for _, value in recent]):>8.4f}")
        lines = ["\t".join(cells[i : i + 4]) for i in range(0, len(cells), 4)]
        self.console_logger.info("\n".join([f"Recent Stats | t_env: {t:>10} | Episode: {episode:>8}", *lines]))

    def finish(self) -> None:
        """Flush and close what was set up."""
        if self._tensorboard is not None:
            self._tensorboard.close()
        if self.wandb is not None:
            self._flush_wandb()
            self.wandb.finish()
