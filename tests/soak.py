"""Long runs at full speed: memory and open files stay as they are, and nothing is left behind.

    make soak [SOAK=3600]      SOAK seconds, shared out among the runs; figures into results/soak/soak.json

Each run has a share of the time, is looked at every two seconds (all its processes together), and then gets a SIGTERM.
Memory is compared between the second and the last quarter of that time; what the logs of a run add is a part of it.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from epymarl_trust_region.experiments.made_by import add_flag, made_by

SPREAD = ["--env-config=gymma", "with", "env_args.key=pz-mpe-simple-spread-v3", "env_args.time_limit=25"]
SMALL = ["batch_size_run=8", "batch_size=8", "buffer_size=8"]
RUNS = {
    "HAPPO, spread one by one, 2 processes": [
        "--config=happo", *SPREAD, "batched_envs=none", "env_processes=2", "save_model=True",
        "save_model_interval=20000",
    ],
    "MATRL, spread as one": ["--config=matrl", *SPREAD],
    "HAPPO, HalfCheetah 6x1, streams, 2 processes": [
        "--config=happo", "--env-config=mamujoco", "with", "env_args.scenario=HalfCheetah", "env_args.partition=6x1",
        "rollout_steps=256", "normalise_inputs=True", "env_processes=2", *SMALL,
    ],
}  # fmt: skip
EVERY_S = 2.0
#: Growth from the second quarter to the last that is none: MiB, of the logs and of allocators.
ALLOWED_MIB = 24.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600, help="of all runs together (default 3600)")
    parser.add_argument("--out", type=Path, help="write the figures there, as JSON")
    add_flag(parser)
    options = parser.parse_args()
    made = made_by(options)
    found = {name: soak(words, options.seconds / len(RUNS)) for name, words in RUNS.items()}
    for name, figures in found.items():
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in figures.items()))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(
            json.dumps({"made_by": made, "seconds": options.seconds, "runs": found}, indent=2) + "\n"
        )
    bad = [name for name, figures in found.items() if figures["verdict"] != "flat"]
    return len(bad)


def soak(words: list[str], seconds: float) -> dict:
    """One run, for so long; what was seen of it."""
    with tempfile.TemporaryDirectory(prefix="soak") as folder:
        own_temporary = Path(folder, "tmp")
        own_temporary.mkdir()
        shared_memory = _names("/dev/shm")
        command = [sys.executable, "-m", "epymarl_trust_region", "run", "--suite=lite", "--quiet", "--progress=off"]
        endless = ["t_max=1000000000", "test_interval=20000", "test_nepisode=20"]
        with open(Path(folder, "output"), "w+") as output:
            process = psutil.Popen(
                [*command, *words, *endless], cwd=folder, env={**os.environ, "TMPDIR": str(own_temporary)},
                stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
            samples, family = _watch(process, seconds)
            process.send_signal(signal.SIGTERM)
            code = process.wait(600)  # it saves, and the machine may be busy
            output.seek(0)
            last = output.read().strip().splitlines()[-1:]
        left = [p.pid for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        left += sorted(_names("/dev/shm") - shared_memory) + sorted(
            _names(own_temporary) - {f"torchinductor_{getpass.getuser()}"}
        )  # torch's own
        steps = _steps(Path(folder))
    return _figures(samples, steps) | _verdict(samples, code, left, last)


def _watch(process: psutil.Popen, seconds: float) -> tuple[list[dict], list[psutil.Process]]:
    """Samples of the whole family of processes, and its members at the end."""
    samples, begun = [], time.monotonic()
    while time.monotonic() < begun + seconds and process.poll() is None:
        time.sleep(EVERY_S)
        family = [process, *process.children(recursive=True)]
        try:
            samples.append(
                {
                    "MiB": sum(p.memory_full_info().uss for p in family) / 2**20,
                    "files": sum(p.num_fds() for p in family),
                    "threads": sum(p.num_threads() for p in family),
                    "processes": len(family),
                }
            )
        except psutil.NoSuchProcess:  # it ended meanwhile
            continue
    return samples, family


def _quarter(samples: list[dict], number: int, key: str) -> float:
    size = len(samples) // 4
    return statistics.median(sample[key] for sample in samples[size * number : size * (number + 1)])


def _figures(samples: list[dict], steps: int) -> dict:
    second, last = (_quarter(samples, number, "MiB") for number in (1, 3))
    counts = {
        key: [int(_quarter(samples, number, key)) for number in (1, 3)] for key in ("files", "threads", "processes")
    }
    return {"samples": len(samples), "steps": steps, "MiB": [round(second, 1), round(last, 1)], **counts}


def _verdict(samples: list[dict], code: int, left: list, last: list[str]) -> dict:
    second, end = (_quarter(samples, number, "MiB") for number in (1, 3))
    wrong = []
    if code != 128 + signal.SIGTERM:
        wrong.append(f"exit code {code}: {' '.join(last)}")
    if end - second > ALLOWED_MIB:
        wrong.append(f"memory grew by {end - second:.0f} MiB")
    for key in ("files", "threads", "processes"):
        if _quarter(samples, 3, key) > _quarter(samples, 1, key):
            wrong.append(f"{key} grew")
    if left:
        wrong.append(f"left behind: {left}")
    return {"verdict": "; ".join(wrong) or "flat"}


def _steps(folder: Path) -> int:
    """Environment steps by the last log."""
    (metrics,) = folder.glob("results/sacred/*/*/*/metrics.json")
    return int(max(max(series["steps"]) for series in json.loads(metrics.read_text()).values() if series["steps"]))


def _names(folder: str | Path) -> set[str]:
    return set(os.listdir(folder)) if Path(folder).exists() else set()


if __name__ == "__main__":
    sys.exit(main())
