"""What EPyMARL's logger imports as `tensorboard_logger`, a package that no longer imports with today's protobuf."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from epymarl_trust_region.suite.host import folder_name

_NAME = "tensorboard_logger"


@contextlib.contextmanager
def stand_in(root: Path | None = None, logger: Any = None) -> Iterator[None]:
    """While this lasts, `from tensorboard_logger import configure, log_value` gives PyTorch's writer of event files.

    Args:
        root: the folder for the folders of runs; None: as EPyMARL has it, under the checkout.
        logger: EPyMARL's class; with patches/0010 it asks PyTorch itself, and is told of `root` here.
    """
    with contextlib.ExitStack() as writers:
        if root is not None and logger is not None:
            writers.callback(setattr, logger, "setup_tb", logger.setup_tb)
            logger.setup_tb = _below(root, logger.setup_tb)
        original, sys.modules[_NAME] = sys.modules.get(_NAME), _module(root, writers)
        try:
            yield
        finally:
            del sys.modules[_NAME]
            if original is not None:
                sys.modules[_NAME] = original


def _module(root: Path | None, writers: contextlib.ExitStack) -> ModuleType:
    opened = []

    def configure(directory: str) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow, and an extra package

        folder = directory if root is None else _moved(directory, root)
        opened.append(writers.enter_context(SummaryWriter(folder)))

    def log_value(name: str, value: Any, step: int) -> None:
        opened[-1].add_scalar(name, value, step)

    module: Any = ModuleType(_NAME)
    module.configure, module.log_value = configure, log_value
    return module


def _moved(directory: str, root: Path) -> str:
    return str(root / folder_name(Path(directory).name))


def _below(root: Path, setup_tb: Callable) -> Callable:
    @functools.wraps(setup_tb)
    def setup(self: Any, directory: str) -> None:
        setup_tb(self, _moved(directory, root))

    return setup
