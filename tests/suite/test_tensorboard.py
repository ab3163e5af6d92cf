"""What EPyMARL imports as `tensorboard_logger` writes by PyTorch's SummaryWriter, under the folder of results."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from epymarl_trust_region.suite.tensorboard import stand_in

WRITTEN: list = []


class NoteWriter:
    def __init__(self, folder: str) -> None:
        self.folder = folder

    def add_scalar(self, key, value, step) -> None:
        WRITTEN.append((self.folder, key, value, step))

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        WRITTEN.append((self.folder, "closed"))


@pytest.fixture(autouse=True)
def writer(monkeypatch) -> None:
    WRITTEN.clear()
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=NoteWriter))


def log(directory: str) -> None:
    """As EPyMARL's `Logger.setup_tb` and `log_stat`."""
    from tensorboard_logger import configure, log_value

    configure(directory)
    log_value("loss", 0.5, 10)


@pytest.mark.parametrize(
    "root, folder",
    [
        (
            Path("results/tb_logs"),
            "results/tb_logs/happo_seed1_a-b_2026-01-02-03-04",
        ),  # nothing is written to a checkout
        (None, "/checkout/results/tb_logs/happo_seed1_a:b_2026-01-02 03:04"),
    ],
)
def test_values_go_to_event_files(root, folder):
    with stand_in(root):
        log("/checkout/results/tb_logs/happo_seed1_a:b_2026-01-02 03:04")
        assert WRITTEN == [(folder, "loss", 0.5, 10)]
    assert WRITTEN[1:] == [(folder, "closed")]
    assert "tensorboard_logger" not in sys.modules


def test_a_package_of_that_name_is_put_back(monkeypatch):
    theirs = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "tensorboard_logger", theirs)
    with stand_in():
        assert sys.modules["tensorboard_logger"] is not theirs
    assert sys.modules["tensorboard_logger"] is theirs and WRITTEN == []


def test_a_logger_that_asks_pytorch_itself_writes_there_too():
    """As with patches/0010."""

    class Logger:
        def setup_tb(self, directory):
            from torch.utils.tensorboard import SummaryWriter

            self.tb_writer = SummaryWriter(directory)

    own, logger = Logger.setup_tb, Logger()
    with stand_in(Path("results/tb_logs"), Logger):
        logger.setup_tb("/checkout/results/tb_logs/happo_seed1_a:b_2026-01-02 03:04")
    assert logger.tb_writer.folder == "results/tb_logs/happo_seed1_a-b_2026-01-02-03-04"
    assert Logger.setup_tb is own
