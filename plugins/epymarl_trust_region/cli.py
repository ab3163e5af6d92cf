"""The command `epymarl-tr`: it picks the part that does the work, and prints errors in one line."""

from __future__ import annotations

import difflib
import importlib
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from epymarl_trust_region import __version__
from epymarl_trust_region.command_line import NOBODY_READS, Parser, nobody_reads
from epymarl_trust_region.suite.signals import end_at_once_on_ctrl_c

# Their arguments are not argparse's: `run` takes the suite's command line as it is. Imported when used, being slow.
_PASSED_ON = {
    "run": "epymarl_trust_region.main",
    "sweep": "epymarl_trust_region.experiments.sweep",
    "report": "epymarl_trust_region.experiments.report.command",
    "tune": "epymarl_trust_region.experiments.tune",
    "watch": "epymarl_trust_region.watch.command",
    "crossplay": "epymarl_trust_region.crossplay.command",
    "best-response": "epymarl_trust_region.crossplay.best_response",
    "compare": "epymarl_trust_region.experiments.compare",
    "bench": "epymarl_trust_region.experiments.bench",
    "study": "epymarl_trust_region.studies.command",
    "episodes": "epymarl_trust_region.recordings.summary",
    "offline": "epymarl_trust_region.offline.command",
}
_SUITE_COMMANDS = ("fetch", "patch", "unpatch", "path")
_COMMANDS = (*_PASSED_ON, "suite", "doctor")
_USAGE = """\
usage: epymarl-tr [--version] [--help] [--debug] COMMAND ...

commands:
  run --config=ALG --env-config=ENV [--suite=epymarl|lite|auto] with KEY=VALUE ...   train or evaluate
  suite                                    which EPyMARL would be used, and its state
  suite fetch [--from URL_OR_PATH]         get EPyMARL at the tested commit into the cache
  suite patch PATH | suite unpatch PATH    let EPyMARL's own src/main.py find plugins, or undo that
  suite patch --series [--only N] PATH     mend EPyMARL itself too: patches/README.md; unpatch undoes it
  suite path                               print the folder of the EPyMARL that would be used
  offline --config=ALG --data PATH ...     learn from recorded episodes alone
  episodes PATH                            what is in the episodes that `run ... with save_episodes=PATH` has written
  sweep FILE ...                           many runs
  report PATH...                           any runs, EPyMARL's own too, as tables, figures and a page
  tune FILE                                settings for algorithms, with equally many trials for each
  watch CHECKPOINT [--out team.gif] ...    episodes of a trained team as a GIF or a video
  crossplay CHECKPOINT CHECKPOINT ...      trained teams against each other, in both roles
  best-response CHECKPOINT ...             how much each role of a trained team would gain: responses are trained
  compare CURVES.csv A B                   how far two experiments of a report are apart, with standard errors
  bench [--against PATH] [--check] ...     the speed of our learners against EPyMARL's mappo_ns on this machine
  study potential-games --out FOLDER       INPG and IPG on tables: the figures of the INPG paper
  study meta-game --out FOLDER             the solver of MATRL's meta-game: how reliable and how fast
  study matrix-games --out FOLDER          MATRL on 2x2 games: Table 1 of the MATRL paper
  study log-linear --out FOLDER            log-linear multi-agent PPO on tables, online and from fixed data
  doctor [--json]                          what is installed, and how to get what is missing
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `epymarl-tr` with `argv` (default: the process's own arguments) and return the exit code.

    0: done; 1: `doctor` found something missing; 2: an error of the user's, printed as `error: ...` on stderr. With
    `--debug` the error is raised instead. 141, as a shell would have it: whoever read the output has had enough, as
    `head` has in `epymarl-tr report ... | head`.
    """
    try:
        code = _main(argv)
    except BrokenPipeError:
        if argv is None and nobody_reads(pipe_broken=True):
            return NOBODY_READS
        raise
    return NOBODY_READS if argv is None and nobody_reads() else code


def _main(argv: Sequence[str] | None) -> int:
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")  # Sacred's; nothing a user could mend
    if argv is None:  # the command itself; `run` then has ways of its own while it lasts
        end_at_once_on_ctrl_c()
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv
    words = [word for word in argv if word != "--debug"]
    argv = argv[argv.index("run") :] if words[:1] == ["run"] else words  # `run` takes it on to the suite
    if argv and argv[0] == "--version":
        print(f"epymarl-tr {__version__}")
        return 0
    if not argv or argv[0] in ("-h", "--help"):
        print(_USAGE, end="")
        return 0 if argv else 2
    if argv[0] == "doctor":  # before anything that a broken installation could not import
        return doctor(argv[1:])

    from epymarl_trust_region.errors import TrustRegionError

    try:
        return _dispatch(argv[0], argv[1:])
    except TrustRegionError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2


def doctor(argv: Sequence[str] = ()) -> int:
    """What is installed, and how to get what is missing; 1 if a required thing is missing, else 0."""
    from epymarl_trust_region.doctor import main

    return main(argv)


def _dispatch(command: str, argv: list[str]) -> int:
    if command == "suite":
        return _suite(argv)
    if command in _PASSED_ON:
        return importlib.import_module(_PASSED_ON[command]).main(argv)
    if command.startswith("-"):
        raise _unknown("flag", command, ("--help", "--version", "--debug"))
    raise _unknown("command", command, _COMMANDS)


def _unknown(kind: str, word: str, known: Sequence[str]) -> Exception:
    from epymarl_trust_region.errors import TrustRegionError

    near = difflib.get_close_matches(word, known, n=1)
    return TrustRegionError(
        f"unknown {kind} `{word}`; " + (f"did you mean `{near[0]}`? " if near else "") + "see epymarl-tr --help"
    )


def _suite(argv: list[str]) -> int:
    if argv and not argv[0].startswith("-") and argv[0] not in _SUITE_COMMANDS:
        raise _unknown("suite command", argv[0], _SUITE_COMMANDS)
    parser = Parser(prog="epymarl-tr suite", description="The EPyMARL checkout that runs use.")
    commands = parser.add_subparsers(dest="command", metavar="{" + ",".join(_SUITE_COMMANDS) + "}")
    fetch = commands.add_parser("fetch", help="clone EPyMARL at the tested commit into the cache")
    fetch.add_argument("--from", dest="source", metavar="URL_OR_PATH", help="where from (default: GitHub)")
    fetch.add_argument("--timeout", type=float, default=30, metavar="S", help="seconds to try for (default: 30)")
    patch = commands.add_parser("patch", help="let the checkout's own src/main.py find plugins")
    patch.add_argument("path", type=Path, metavar="PATH")
    patch.add_argument("--undo", action="store_true", help="the same as unpatch")
    patch.add_argument("--series", action="store_true", help="all patches: also those that mend EPyMARL itself")
    patch.add_argument("--only", type=int, action="append", metavar="N", help="patch N of the series alone; repeatable")
    commands.add_parser("unpatch", help="take all patches back").add_argument("path", type=Path, metavar="PATH")
    commands.add_parser("path", help="print the folder of the checkout that runs would use")
    arguments = parser.parse_args(argv)
    if arguments.command == "fetch":
        return _suite_fetch(arguments.source, arguments.timeout)
    if arguments.command == "unpatch" or (arguments.command == "patch" and arguments.undo):
        return _suite_unpatch(arguments.path)
    if arguments.command == "patch":
        return _suite_patch(arguments.path, arguments.series, arguments.only)
    return _suite_path() if arguments.command == "path" else _suite_status()


def _suite_fetch(source: str | None, timeout_s: float) -> int:
    from epymarl_trust_region.suite import epymarl

    path, fresh = epymarl.fetch(source, timeout_s)
    print(f"EPyMARL {epymarl.PINNED_COMMIT[:7]} is {'now' if fresh else 'already'} at {path}")
    return 0


def _suite_patch(path: Path, whole_series: bool, only: list[int] | None) -> int:
    from epymarl_trust_region.suite import patching

    wanted = patching.chosen(only) if only else patching.series() if whole_series else None
    path = _checkout(path)
    print(f"{path}: {'patched' if patching.apply(path, wanted) else 'already patched, nothing to do'}")
    return 0


def _suite_unpatch(path: Path) -> int:
    from epymarl_trust_region.suite import patching

    path = _checkout(path)
    print(f"{path}: {'patch taken back' if patching.undo(path) else 'not patched, nothing to undo'}")
    return 0


def _checkout(path: Path) -> Path:
    """The root of the EPyMARL checkout at `path`, with a warning if it is none that was tested."""
    from epymarl_trust_region.suite import epymarl

    status = epymarl.check(path)
    if not status.tested and status.warning:
        print(f"warning: {status.warning}", file=sys.stderr)
    return status.path


def _suite_path() -> int:
    from epymarl_trust_region.errors import SuiteError
    from epymarl_trust_region.suite import epymarl

    found = epymarl.find()
    if found is None:
        raise SuiteError("no EPyMARL checkout found; set $EPYMARL_HOME or use `epymarl-tr suite fetch`")
    print(found[0])
    return 0


def _suite_status() -> int:
    from epymarl_trust_region.suite import epymarl

    found = epymarl.find()
    if found is None:
        print("suite    lite (built in)")
        print(f"why      no EPyMARL at $EPYMARL_HOME, in the current folder, or at {epymarl.cache_home()}")
        print("remedy   `epymarl-tr suite fetch`, if you want the real one")
        return 0
    status = epymarl.check(found[0])
    print(f"suite    epymarl at {status.path}")
    print(f"why      {found[1]}")
    print(f"commit   {status.commit or 'unknown'} ({'tested' if status.tested else 'not tested'})")
    print(f"patched  {'yes' if status.patched else 'no'}")
    if status.fixes:
        print(f"mended   by patches {', '.join(map(str, status.fixes))} of the series")
    if status.warning:
        print(f"warning  {status.warning}")
    return 0
