"""Every run of a sweep checked as `epymarl-tr run --dry-run` does it, before the first begins.

That imports the hosts and makes environments, so it is done in processes of its own: one for each suite.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence

from ..errors import ConfigError

_FOUND = "found: "  # begins the line of the answer; what else is printed is not ours


def check(commands: Mapping[str, Sequence[str]], of: str) -> None:
    """Refuse a sweep with a run that could not begin.

    Args:
        commands: name of a run, or of several that differ in their seed alone -> what is typed after `epymarl-tr`.
        of: the file that they stand in.

    Raises:
        ConfigError: the first that is refused, and why.
    """
    by_suite: dict[str, dict[str, Sequence[str]]] = {}
    for name, command in commands.items():
        suite = next((word for word in command if word.startswith("--suite=")), "")
        by_suite.setdefault(suite, {})[name] = list(command)
    for group in by_suite.values():
        if found := _in_a_process(group):
            name, why = found
            key = why.partition("=")[0]
            if any(word.startswith(f"{key}=[") for word in group[name]):
                why += f"; several values to be tried go into `grid: {{{key}: [...]}}`"
            raise ConfigError(f"experiment {name} in {of}: {why}")


def _in_a_process(commands: Mapping[str, Sequence[str]]) -> tuple[str, str] | None:
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name], input=json.dumps(commands), capture_output=True, text=True
    )
    answers = [line for line in done.stdout.splitlines() if line.startswith(_FOUND)]
    if done.returncode or not answers:
        text = done.stderr.strip().splitlines()
        return next(iter(commands)), f"its check ended with exit code {done.returncode} ({''.join(text[-1:])})"
    return json.loads(answers[-1].removeprefix(_FOUND))


def first_refused(commands: Mapping[str, Sequence[str]]) -> tuple[str, str] | None:
    """The first that is refused, and why; None if there is none."""
    from ..main import main  # all that a run needs

    for name, command in commands.items():
        said = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            code = main(["--dry-run", *command[1:]])
        if code:
            lines = [line for line in said.getvalue().splitlines() if line.startswith("error: ")]
            return name, lines[-1].removeprefix("error: ") if lines else f"exit code {code}"
    return None


if __name__ == "__main__":
    print(_FOUND + json.dumps(first_refused(json.load(sys.stdin))))
