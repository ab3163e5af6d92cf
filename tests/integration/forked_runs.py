"""Several runs, each in a process of its own that is forked from one with everything large imported: a script.

`python forked_runs.py JOBS.json` takes a list of {"argv", "cwd", "env"}; argv[0] is a script, or the name of a package
to be run as with `python -m`. Prints each exit code on a line; what a run says is in `log` in its cwd.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
from pathlib import Path

import gymnasium  # noqa: F401
import lbforaging  # noqa: F401
import pettingzoo  # noqa: F401
import sacred  # noqa: F401
import torch
import yaml  # noqa: F401


def run(argv: list[str], cwd: str, env: dict[str, str]) -> int:
    """Its exit code."""
    os.makedirs(cwd)
    os.chdir(cwd)
    os.environ.update(env)
    log = os.open("log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = argv
    try:
        if argv[0].endswith(".py"):
            sys.path[0] = os.path.dirname(argv[0])
            runpy.run_path(argv[0], run_name="__main__")
        else:
            runpy.run_module(argv[0], run_name="__main__", alter_sys=True)
        return 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def main() -> None:
    torch.set_num_threads(1)
    for job in json.loads(Path(sys.argv[1]).read_text()):
        if (child := os.fork()) == 0:
            os._exit(run(**job))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
