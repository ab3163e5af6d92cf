"""Whether the plugin computes on a GPU what it computes on the CPU, and how long it takes there.

    make gpu-check [GPU_ARGS='--allow-dirty']      into results/speed/gpu/CARD.json; under 8 minutes on one card

It needs PyTorch with CUDA and this plugin: no network, no EPyMARL, no simulator. Three parts: checks (an update of
every algorithm here and there, checkpoints across devices, whole runs), times of updates on made batches, and times of
whole iterations (rollout, buffer, update) on a game of the plugin's own. `--device cpu` goes the same way without one.
Exit code: 0, or 1 if there is no device or a check fails.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from epymarl_trust_region.errors import CapabilityError, ConfigError, TrustRegionError
from epymarl_trust_region.experiments.bench_work import Work, make_work
from epymarl_trust_region.experiments.made_by import add_flag, made_by
from epymarl_trust_region.suite import algorithms
from epymarl_trust_region.suite.registration import register_into
from epymarl_trust_region.suite.selection import lite_host
from host_reads import HostReads
from support import ROOT, continuous, logged, make_batch, make_learner

ALGORITHMS = sorted(name for name in algorithms.algorithm_files() if not name.endswith(("_offline", "_paper", "wolf")))
#: Largest distance between the networks that an update leaves here and there, as a share of how far it has moved them.
#: On the CPU a mere other order of the episodes makes up to 2e-4 of it (HATRPO, Gaussian), and mostly 1e-6.
TOLERANCE = 1e-3
NETWORKS = {"MLP": {"use_rnn": False}, "GRU": {"use_rnn": True}}
ROWS = (("happo", "MLP"), ("happo", "GRU"), ("hatrpo", "MLP"))
GAME = {"key": "trust-region-checkers-v0", "time_limit": 25}
RUN = (
    "--suite=lite --quiet --progress=off --config=happo --env-config=gymma with env_args.key=trust-region-climbing-v0 "
    "env_args.time_limit=1 t_max=40 test_interval=20 log_interval=20 test_nepisode=10 seed=1 local_results_path=results"
).split()
MOST_TIMES, LONGEST_S = 20, 3.0  # of one row: repetitions, and seconds after which there are no more


def main(argv: list[str] | None = None) -> int:
    options = make_parser().parse_args(argv)
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            f"no CUDA device; PyTorch {torch.__version__} finds none (--device cpu: all but the GPU)", file=sys.stderr
        )
        return 1
    try:
        made = made_by(options)
    except TrustRegionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    torch.set_num_threads(1)  # as runs have it
    end = time.monotonic() + options.seconds
    found: dict[str, Any] = {"made_by": made, "machine": machine(options.device), "tolerance": TOLERANCE}
    found["checks"] = [shown(check) for check in checks(options.device)]
    found["update"] = [shown(row) for row in rows(options, made_batch=True, end=end)]
    found["end_to_end"] = [shown(row) for row in rows(options, made_batch=False, end=end)]
    out = options.out or ROOT / f"results/speed/gpu/{slug(found['machine']['card'])}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n")
    bad = [check["name"] for check in found["checks"] if not check["good"]]
    print(f"{len(found['checks']) - len(bad)} of {len(found['checks'])} checks good; written to {out}")
    for name in bad:
        print(f"failed: {name}", file=sys.stderr)
    return 1 if bad else 0


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try the script itself")
    parser.add_argument("--batches", type=int, nargs="+", default=[10, 256, 4096], metavar="B", help="episodes")
    parser.add_argument("--steps", type=int, default=25, metavar="T", help="steps of an episode of the made batches")
    parser.add_argument("--seconds", type=float, default=420, help="begin no row after so many (default 420)")
    parser.add_argument("--out", type=Path, help="where to (default: results/speed/gpu/CARD.json)")
    add_flag(parser)
    return parser


def machine(device: str) -> dict[str, Any]:
    """What the numbers are of."""
    found = {"card": "cpu", "processor": _processor(), "cores": os.cpu_count(), "torch_threads": 1}
    if device == "cuda":
        card = torch.cuda.get_device_properties(0)
        tf32 = {"matmul": torch.backends.cuda.matmul.allow_tf32, "cudnn": torch.backends.cudnn.allow_tf32}
        found |= {"card": card.name, "memory_mib": card.total_memory / 2**20, "cuda": torch.version.cuda, "tf32": tf32}
    return found


def _processor() -> str:
    try:
        return re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())[0]
    except (OSError, IndexError):
        return platform.processor()


def slug(card: str) -> str:
    """A file's name: "NVIDIA H100 80GB HBM3" -> "nvidia-h100-80gb-hbm3"."""
    return re.sub(r"[^a-z0-9]+", "-", card.lower()).strip("-")


def shown(found: dict[str, Any]) -> dict[str, Any]:
    """Print what was found, a line, and hand it on."""
    print(", ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in found.items() if k != "all_ms"))
    sys.stdout.flush()
    return found


# Checks -----------------------------------------------------------------------------------------------------------


def checks(device: str) -> Iterator[dict[str, Any]]:
    """Each with its name, whether it is good, and by how much or why not."""
    tf32, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False  # cuDNN's GRU has 10 bits with it
    try:
        for name, network, gaussian in itertools.product(ALGORITHMS, NETWORKS, (False, True)):
            title = f"update of {name}, {network}, {'Gaussian' if gaussian else 'discrete'}"
            if exists(name, network, gaussian):
                yield _check(title, lambda: update_distance(name, network, gaussian, device))  # noqa: B023
        for name, network in (("happo", "MLP"), ("happo", "GRU"), ("hatrpo", "MLP")):
            yield _check(f"checkpoints of {name}, {network}", lambda: checkpoint_distance(name, network, device))  # noqa: B023
        for how in run_settings(device):
            yield _check(f"run with {' '.join(how)}", lambda: whole_run(how))  # noqa: B023
    finally:
        torch.backends.cudnn.allow_tf32 = tf32


def _check(name: str, distance: Callable[[], float]) -> dict[str, Any]:
    try:
        found = distance()
    except Exception as error:  # the next check is made all the same
        return {"name": name, "good": False, "distance": None, "error": f"{type(error).__name__}: {error}"}
    return {"name": name, "good": found <= TOLERANCE, "distance": found}


def made(gaussian: bool) -> Any:
    """A batch with padding and unavailable actions."""
    batch = make_batch(B=8, T=12, lengths=[12, 12, 5, 12, 9, 12, 1, 12], avail=0.7)
    return continuous(batch) if gaussian else batch


def exists(name: str, network: str, gaussian: bool) -> bool:
    """Whether the algorithm has this kind of network and policy."""
    try:
        make_learner(made(gaussian), name, **NETWORKS[network])
    except (CapabilityError, ConfigError):
        return False
    return True


def learner_on(device: str, name: str, network: str, gaussian: bool = False, seed: int = 0) -> Any:
    """A learner with the weights of this seed, there."""
    learner = make_learner(made(gaussian), name, seed=seed, **NETWORKS[network])
    if device == "cuda":
        learner.cuda()
    return learner


def state_of(learner: Any) -> dict[str, torch.Tensor]:
    """Parameters and moments, on the CPU."""
    parts = {"actors": learner.mac.agent, "critic": learner.critic}
    return {f"{of}.{k}": v.cpu().clone() for of, part in parts.items() for k, v in part.state_dict().items()}


def trained(learner: Any, device: str, gaussian: bool = False) -> dict[str, torch.Tensor]:
    """The state after one update on the batch."""
    batch = made(gaussian)
    batch.to(device)
    torch.manual_seed(1)  # the agents' order, drawn on the CPU
    learner.train(batch, 0, 0)
    return state_of(learner)


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], before: dict[str, torch.Tensor]) -> float:
    """|one - other| / |other - before| of all actors' parameters, and of the critic's: the larger; NaN is infinite."""
    shares = []
    for of in ("actors.", "critic."):
        names = [name for name in before if name.startswith(of)]
        a, b, start = (torch.cat([x[name].double().flatten() for name in names]) for x in (one, other, before))
        apart, moved = (a - b).norm().item(), (b - start).norm().item()
        shares.append(0.0 if apart == 0 else apart / moved if moved > 0 and math.isfinite(apart) else math.inf)
    return max(shares)


def update_distance(name: str, network: str, gaussian: bool, device: str) -> float:
    """Of one update on the device from the same on the CPU."""
    here, there = learner_on("cpu", name, network, gaussian), learner_on(device, name, network, gaussian)
    before = state_of(here)
    return distance(trained(there, device, gaussian), trained(here, "cpu", gaussian), before)


def checkpoint_distance(name: str, network: str, device: str) -> float:
    """From the device to the CPU and back, bit for bit; then of the next update, as in `update_distance`."""
    there, here, again = (learner_on(d, name, network, seed=s) for s, d in enumerate((device, "cpu", device)))
    state = trained(there, device)
    for writer, reader in ((there, here), (here, again)):
        with tempfile.TemporaryDirectory() as folder:
            writer.save_models(folder)
            reader.load_models(folder)
        if any(not torch.equal(value, state_of(reader)[key]) for key, value in state.items()):
            raise AssertionError("what was loaded is not what was saved")
    return distance(trained(again, device), trained(here, "cpu"), state)


def run_settings(device: str) -> list[tuple[str, ...]]:
    """How whole runs use the device."""
    return [("use_cuda=True",), ("use_cuda=False", f"learner_device={device}")]


def whole_run(how: tuple[str, ...]) -> float:
    """`epymarl-tr run` on the climbing game, in a process of its own; 0.0 if it ends well and logs finite numbers."""
    path = os.pathsep.join([str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "epymarl_trust_region", "run", *RUN, *how]
        env = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=400)
        if done.returncode or (torch.cuda.is_available() and "no CUDA device" in done.stderr):
            raise AssertionError((done.stderr.strip() or "no message").splitlines()[-1])
        (info,) = Path(folder).glob("results/sacred/*/*/1/info.json")
        numbers = logged(info)
    for key in ("test_return_mean", "kl_mean", "critic_loss"):
        if not all(math.isfinite(number) for number in numbers[key]):
            raise AssertionError(f"{key} is {numbers[key]}")
    return 0.0


# Times ------------------------------------------------------------------------------------------------------------


def rows(options: argparse.Namespace, made_batch: bool, end: float) -> Iterator[dict[str, Any]]:
    """Every row on every side; those that there was no time for say so."""
    for (algorithm, network), size in itertools.product(ROWS, sorted(options.batches)):
        for side, overrides in sides(options.device).items():
            row = {"algorithm": algorithm, "network": network, "episodes": size, "side": side}
            if time.monotonic() > end:
                yield {**row, "skipped": f"no time left of {options.seconds:.0f} s"}
                continue
            env_args = {} if made_batch else GAME
            settings = {**NETWORKS[network], **overrides}
            work = Work(algorithm, "gymma", env_args, size, options.steps, made_batch=made_batch, overrides=settings)
            yield {**row, **measured(work, options.device if side != "cpu" else "cpu")}


def sides(device: str) -> dict[str, dict[str, Any]]:
    """Where acting and learning happen -> the keys for it."""
    found: dict[str, dict[str, Any]] = {"cpu": {}, f"learner_device={device}": {"learner_device": device}}
    return found | ({"use_cuda=True": {"use_cuda": True, "device": "cuda"}} if device == "cuda" else {})


def measured(work: Work, device: str) -> dict[str, Any]:
    """Median and all times in ms, of finished work; on the device's side how often the host waits, and peak memory."""
    host = lite_host()
    register_into(host.learners, host.controllers, host.runners, host.environments, host.vector_runner)
    try:
        once, close = make_work(host, dataclasses.replace(work, overrides={"env_processes": 1, **work.overrides}))
    except torch.OutOfMemoryError as error:
        return {"skipped": str(error).splitlines()[0]}
    try:
        return _measured(once, device)
    except torch.OutOfMemoryError as error:
        return {"skipped": str(error).splitlines()[0]}
    finally:
        close()


def _measured(once: Callable[[], Any], device: str) -> dict[str, Any]:
    on_card = device == "cuda"
    if on_card:
        torch.cuda.empty_cache()
        torch.cuda.resetpeak_memory_stats()
    times = [_timed(once, on_card)]  # kernels are loaded, caches filled: not counted
    while len(times) <= MOST_TIMES and (len(times) < 2 or sum(times) < LONGEST_S):
        times.append(_timed(once, on_card))
    found: dict[str, Any] = {"ms": 1000 * statistics.median(times[1:]), "all_ms": [1000 * t for t in times[1:]]}
    if on_card:
        found["peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
        found["synchronisations"] = synchronisations(once)
    with HostReads() as reads:
        once()
    return {**found, "host_reads": reads.total}


def _timed(once: Callable[[], Any], on_card: bool) -> float:
    if on_card:
        torch.cuda.synchronize()
    start = time.perf_counter()
    once()
    if on_card:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def synchronisations(once: Callable[[], Any]) -> int:
    """As PyTorch itself counts them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            once()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught)


if __name__ == "__main__":
    sys.exit(main())
