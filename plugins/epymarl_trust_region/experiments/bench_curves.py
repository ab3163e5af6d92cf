"""`epymarl-tr bench --curves FOLDER`: an update's time and peak memory against its size, of every learner.

One thing is varied at a time, on made batches. Each learner has a process of its own for each thing, in which sizes
rise, so that the peak of the process is the last size's. What would take longer than there is time for, or more memory
than `MOST_MIB`, is left out and said to be. Shape letters: N agents, B episodes, T steps.
"""

from __future__ import annotations

import contextlib
import csv
import gc
import logging
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from ..suite.registration import register_into
from ..suite.selection import lite_host
from .bench_work import Work, make_work, peak_memory

LEARNERS = ("happo", "hatrpo", "jr_ppo", "ir_mappo", "ir_ippo", "matrl", "il", "inpg", "ipg", "log_linear_ppo")
#: What is varied, over which values; the others stay at BASE.
AXES: dict[str, tuple[int, ...]] = {
    "agents": (3, 10, 30, 100),
    "steps": (25, 100, 300, 1000),
    "episodes": (10, 64, 512, 4096),
    "hidden_dim": (64, 128, 256, 512),
}
BASE = {"agents": 3, "steps": 25, "episodes": 10, "hidden_dim": 64}
#: Memory that a point may take; a batch of float32 takes at most so many times its own size.
MOST_MIB, TIMES_A_BATCH = 8 * 1024, 12
_REPETITIONS = 3
_START = 300  # seconds in which a process has to have started; they are not its share's


@dataclass
class Point:
    """One learner at one size; seconds per update, without the first, which warms up. NaN where it was left out."""

    learner: str
    axis: str
    value: int
    seconds: float = float("nan")  # the median
    fastest: float = float("nan")
    slowest: float = float("nan")
    peak_mib: float = float("nan")  # above the process's before anything was made
    left_out: str = ""  # why


def work(learner: str, axis: str, value: int) -> Work:
    """An update of a made batch, everything but `axis` as in BASE."""
    at = BASE | {axis: value}
    units = {"hidden_dim": at["hidden_dim"], "critic_hidden_dim": at["hidden_dim"]}
    return Work(
        learner, "gymma", {"key": "pz-mpe-simple-spread-v3"}, episodes=at["episodes"], steps=at["steps"],
        agents=at["agents"], made_batch=True, overrides=units,
    )  # fmt: skip


def batch_mib(axis: str, value: int) -> float:
    """Observations [B, T+1, N, 6 N] and states of the same size, as made batches have them."""
    at = BASE | {axis: value}
    return 2 * 4 * at["episodes"] * (at["steps"] + 1) * 6 * at["agents"] ** 2 / 2**20


def measure_curves(
    minutes: float, learners: Sequence[str] = LEARNERS, axes: dict[str, tuple[int, ...]] = AXES
) -> list[Point]:
    """Every point, in about so many minutes; prints them as it goes."""
    points: list[Point] = []
    ends, left = time.monotonic() + 60 * minutes, len(learners) * len(axes)
    for learner in learners:
        for axis, values in axes.items():
            share = max(0.0, ends - time.monotonic()) / left
            points += _curve(learner, axis, values, share)
            left -= 1
    return points


def _curve(learner: str, axis: str, values: Sequence[int], seconds: float) -> list[Point]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, learner, axis))
    process.start()
    theirs.close()
    points = list[Point]()
    try:
        ours.poll(_START)
        ends = time.monotonic() + seconds
        for value in values:
            point = Point(learner, axis, value, left_out=_why_not(points, axis, value, ends - time.monotonic()))
            if not point.left_out:
                _ask(ours, point, 2 * max(0.0, ends - time.monotonic()))
            points.append(point)
            print(_line(point), flush=True)
    finally:
        process.kill()
        process.join()
    return points


def _why_not(before: Sequence[Point], axis: str, value: int, seconds: float) -> str:
    """Why a point is left out; empty if it is not. Time grows with the square of agents, else in proportion."""
    if batch_mib(axis, value) * TIMES_A_BATCH > MOST_MIB:
        return "memory"
    if before and before[-1].left_out:
        return before[-1].left_out
    if not before:
        return ""
    growth = (value / before[-1].value) ** (2 if axis == "agents" else 1)
    return "time" if (1 + _REPETITIONS) * growth * before[-1].slowest > seconds else ""


def _ask(connection: Connection, point: Point, seconds: float) -> None:
    try:
        if connection.poll(0):  # what it says when it has started
            connection.recv()
        connection.send(point.value)
        if not connection.poll(max(seconds, 10)):
            point.left_out = "time"
            return
        answer: Any = connection.recv()
    except (EOFError, OSError):
        point.left_out = "its process has died"
        return
    if isinstance(answer, str):
        point.left_out = answer
        return
    taken, point.peak_mib = answer
    point.seconds, point.fastest, point.slowest = statistics.median(taken), min(taken), max(taken)


def _serve(connection: Connection, learner: str, axis: str) -> None:
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        _answer(connection, learner, axis)


def _answer(connection: Connection, learner: str, axis: str) -> None:
    torch.set_num_threads(1)
    logging.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    host = lite_host()
    register_into(host.learners, host.controllers, host.runners, host.environments, host.vector_runner)
    with contextlib.suppress(Exception):  # whatever it loads when it is first used; its errors come below
        make_work(host, work(learner, "steps", 2))[0]()
    before = peak_memory()
    connection.send(None)  # it has started
    while True:
        value = connection.recv()
        try:
            once, _ = make_work(host, work(learner, axis, value))
            taken = [_seconds(once) for _ in range(1 + _REPETITIONS)][1:]
            connection.send((taken, peak_memory() - before))
        except Exception as error:
            connection.send(" ".join(f"{type(error).__name__}: {error}".split()))
        once = None  # type: ignore[assignment]  # the batch goes before the next is made
        gc.collect()


def _seconds(once: Callable[[], Any]) -> float:
    start = time.perf_counter()
    once()
    return time.perf_counter() - start


def _line(point: Point) -> str:
    text = f"{point.learner:18}{point.axis:12}{point.value:>6}"
    if point.left_out:
        return f"{text}  left out: {point.left_out}"
    return f"{text}{1000 * point.seconds:>12.1f} ms{point.peak_mib:>10.0f} MiB"


def write(points: Iterable[Point], folder: Path) -> None:
    """`growth-curves.csv` and `growth-curves.png`."""
    from .bench_figures import draw_curves

    points = list(points)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "growth-curves.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(Point.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(asdict(point) for point in points)
    draw_curves(points, folder / "growth-curves.png")
