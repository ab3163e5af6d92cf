"""What all tests share: one thread, and the EPyMARL checkout that integration tests need."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path

import pytest
import torch as th
from epymarl_trust_region import provenance
from epymarl_trust_region.errors import SuiteError
from epymarl_trust_region.experiments import made_by
from epymarl_trust_region.suite import epymarl

NO_EPYMARL = "no EPyMARL checkout: set $EPYMARL_HOME, or `epymarl-tr suite fetch` (`make fetch`)"

th.set_num_threads(1)
# Ignored by a job in the background or under nohup, and inherited from there by every child that a test sends them to.
for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _usual)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="also tests of many minutes: `make test-all`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--thorough"):
        left_out = [item for item in items if item.get_closest_marker("thorough")]
        items[:] = [item for item in items if item not in set(left_out)]
        config.hook.pytest_deselected(items=left_out)
    items.sort(key=_needs_jax)  # last: a process that is forked once JAX has its threads may wait for ever for a lock
    marked = [item for item in items if item.get_closest_marker("integration")]
    if not marked:
        return
    try:
        found = epymarl.find()
    except SuiteError as error:  # $EPYMARL_HOME is set but wrong: that is a mistake to mend, not a reason to skip
        raise pytest.UsageError(str(error)) from error
    if found is None:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=NO_EPYMARL))


@pytest.fixture(autouse=True)
def clean_checkout(monkeypatch) -> None:
    """Nothing is written from modified files, which a developer's checkout has while its tests run."""
    monkeypatch.setattr(provenance, "modified_files", lambda: ())
    monkeypatch.setattr(made_by, "modified_files", lambda: ())


def _needs_jax(item: pytest.Item) -> bool:
    return item.get_closest_marker("jax") is not None


@pytest.hookimpl(trylast=True)  # by then a test's own `sys.modules` is gone
def pytest_runtest_teardown(item: pytest.Item) -> None:
    assert _needs_jax(item) or sys.modules.get("jax") is None, (
        "this test has started JAX: mark it `jax`, so that it runs last"
    )


@pytest.fixture
def double_precision():
    """Networks and made batches of one test are float64."""
    th.set_default_dtype(th.float64)
    yield
    th.set_default_dtype(th.float32)


@pytest.fixture
def own_folder(tmp_path, monkeypatch) -> Path:
    """An empty current folder; and the root logger, which a run sets up for itself, as it was."""
    monkeypatch.chdir(tmp_path)
    handlers, level = logging.getLogger().handlers, logging.getLogger().level
    yield tmp_path
    logging.getLogger().handlers, logging.getLogger().level = handlers, level


@pytest.fixture(scope="session")
def epymarl_home() -> Path:
    """Root of the EPyMARL checkout to test against. Read it, never write to it."""
    found = epymarl.find()
    if found is None:
        pytest.skip(NO_EPYMARL)
    return found[0]
