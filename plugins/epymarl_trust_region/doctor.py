"""`epymarl-tr doctor`: what is installed, and how to get what is missing.

Nothing but the standard library is imported until a check asks for it: a broken installation is what this is for.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import NoReturn

from .command_line import Parser

_CLONE = Path(__file__).resolve().parents[2]  # of the repository, unless this is an installed wheel
_REQUIRED = (
    "torch",
    "numpy",
    "gymnasium",
    "sacred",
    "yaml",
    "tqdm",
    "matplotlib",
    "cloudpickle",
    "rich",
    "threadpoolctl",
)
# Extras of setup.py. Of these each package is imported: it is quick, and a broken one is seen.
_IMPORTED = (
    ("mpe2", "envs", "MPE"),
    ("lbforaging", "envs", "level-based foraging"),
    ("h5py", "offline", "recording of episodes"),
    *((package, "report", "`epymarl-tr report`") for package in ("pandas", "scipy", "jinja2")),
    ("optuna", "tune", "`epymarl-tr tune`"),
)
# Of these it is only asked whether they are installed; and what is not to be had without them.
_EXTRAS: dict[str, tuple[tuple[str, ...], str]] = {
    "vmas": (("vmas",), "env_args.key=vmas-..."),
    "smax": (("jaxmarl",), "env=smax"),
    "mujoco": (("gymnasium-robotics", "mujoco"), "env=mamujoco"),
    "atari": (("pettingzoo", "multi-agent-ale-py", "ale-py", "pygame-ce"), "env=pong"),
    "watch": (("pillow", "imageio", "imageio-ffmpeg"), ".mp4 of `epymarl-tr watch`"),
    "logging": (("tensorboard", "wandb"), "use_tensorboard=True, or use_wandb=True"),
    "ray": (("ray",), "sweep with --engine=ray"),
    "slurm": (("submitit",), "sweep with --engine=slurm"),
    "notebook": (("nbclient", "nbformat", "ipykernel"), "running of examples/first_comparison.ipynb"),
    "docs": (("mkdocs-material", "mkdocstrings"), "`make docs`"),
    "release": (("build", "twine", "pip-audit"), "`make release`, `make audit`"),
    "smaclite": (("scikit-learn", "rtree", "pygame-ce"), "env=smaclite"),
}
_PIN = re.compile(r"([A-Za-z0-9_.-]+)==([^;\s]+)\s*(?:;\s*python_version (>=|<) \"3\.(\d+)\")?")
# Without its requirements: it asks for an Rtree that has no wheel, and for pygame, whose place pygame-ce takes.
_SMACLITE = "pip install --no-deps git+https://github.com/uoe-agents/smaclite.git"


@dataclass(frozen=True)
class Check:
    """One line."""

    name: str
    good: bool
    detail: str
    remedy: str = ""  # what to type or do; empty where all is well
    required: bool = True
    fault: str = ""  # what it is called if it is not good

    @property
    def line(self) -> str:
        state = "OK" if self.good else self.fault or ("MISSING" if self.required else "missing (optional)")
        return f"{self.name:<12} {state:<8} {self.detail}" + ("" if self.good else f"; {self.remedy}")


class _Parser(Parser):
    """Refuses by itself: where the installation is broken, our errors cannot be imported."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {self.in_words(message)}\n")


def main(argv: Sequence[str] = ()) -> int:
    """The command line; 1 if something that every run needs is missing, else 0."""
    parser = _Parser(prog="epymarl-tr doctor", description="What is installed; what is missing.")
    parser.add_argument(
        "--json", action="store_true", help="the same for programs: name, good, detail, remedy, required"
    )
    options = parser.parse_args(list(argv))
    found = []
    with contextlib.redirect_stdout(sys.stderr if options.json else sys.stdout):  # some packages greet who imports them
        for check in checks():
            found.append(check)
            if not options.json:
                print(check.line, flush=True)
    good = all(check.good or not check.required for check in found)
    if options.json:
        print(json.dumps({"good": good, "checks": [asdict(check) for check in found]}, indent=1))
    return 0 if good else 1


def checks() -> Iterator[Check]:
    """All of them, in the order in which they are shown."""
    yield from _needed()
    yield from _machine()
    yield from _optional()
    yield from _hosts()
    yield from _extensions()


def _needed() -> Iterator[Check]:
    """What every run needs."""
    python = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", sys.version_info >= (3, 10), python, "install Python 3.10 or newer")
    for package in _REQUIRED:
        yield _package(package, install())
    yield _setuptools()


def _machine() -> Iterator[Check]:
    """What runs are made on, and whether the packages are those that are known to work."""
    yield Check("threads", True, f"a run uses one torch thread; this machine has {os.cpu_count()} cores")
    yield _asked("versions", _versions, install("envs,offline,dev"), "differ")
    yield _asked(
        "CUDA",
        _cuda,
        "runs use the CPU, as all published numbers do; for a GPU, on which this plugin is unmeasured, see "
        "https://pytorch.org and docs/gpu.md",
    )


def _optional() -> Iterator[Check]:
    """What the extras of setup.py bring."""
    for package, extra, what in _IMPORTED:
        yield _package(package, f"{install(extra)}; without it there is no {what}", required=False)
    own: dict[str, Callable[[], str]] = {"atari": _pong, "smaclite": _smaclite}
    for extra, (packages, what) in _EXTRAS.items():
        question = own.get(extra, functools.partial(_installed, packages))
        then = f", then {_SMACLITE}" if extra == "smaclite" else ""
        yield _asked(extra, question, f"{install(extra)}{then}; without it there is no {what}")


def _hosts() -> Iterator[Check]:
    """EPyMARL, what it runs beside ours, and git, which fetches it."""
    yield _asked(
        "StarCraftII", _starcraft, "install it, or set SC2PATH to its folder; without it there is no env=sc2 or sc2v2"
    )
    yield _asked("git", _git_version, "install git; without it EPyMARL cannot be fetched or patched")
    yield _asked("EPyMARL", _epymarl, "`epymarl-tr suite fetch`; without it runs use the built-in suite")
    yield from _patches()


def install(extras: str = "") -> str:
    """The command that installs this plugin with some extras, from a clone where it is one, in any folder."""
    extras = f"[{extras}]" if extras else ""
    if (_CLONE / "constraints.txt").is_file():
        return f"pip install -c {_CLONE}/constraints.txt -e '{_CLONE}{extras}'"
    return f"pip install 'epymarl-trust-region{extras}'" if extras else "pip install epymarl-trust-region"


def _package(name: str, remedy: str, required: bool = True) -> Check:
    try:
        importlib.import_module(name)
    except Exception as error:  # a package may fail to import in any way; the user needs to see which
        return Check(name, False, _words(error, with_type=True), remedy, required)
    return Check(name, True, metadata.version("PyYAML" if name == "yaml" else name), "", required)


def _asked(name: str, question: Callable[[], str], remedy: str, fault: str = "") -> Check:
    try:
        return Check(name, True, question(), "", required=False)
    except Exception as error:  # whatever it is, the line says so and the doctor goes on
        return Check(name, False, _words(error), remedy, required=False, fault=fault)


def _words(error: Exception, with_type: bool = False) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if with_type else text or type(error).__name__


def _setuptools() -> Check:
    remedy = "pip install 'setuptools<82' (Sacred imports pkg_resources)"
    try:
        version = metadata.version("setuptools")
    except metadata.PackageNotFoundError:
        return Check("setuptools", False, "not installed", remedy)
    return Check("setuptools", int(version.split(".")[0]) < 82, version, remedy)


def _versions() -> str:
    """Of what is installed, against the set that is known to work together."""
    file = _CLONE / "constraints.txt"
    if not file.is_file():
        return "not compared: constraints.txt lies in a clone of the repository alone"
    same, other = 0, []
    for line in file.read_text(encoding="utf-8").splitlines():
        pin = _PIN.match(line)
        if not pin or (pin[3] and (sys.version_info >= (3, int(pin[4]))) != (pin[3] == ">=")):
            continue
        with contextlib.suppress(metadata.PackageNotFoundError):
            found = metadata.distribution(pin[1])
            if "_vendor" in Path(str(found.locate_file(""))).parts:  # setuptools' own copy, which no other package uses
                continue
            version = found.version
            if version.partition("+")[0] == pin[2]:
                same += 1
            else:
                other.append(f"{pin[1]} {version} (known to work: {pin[2]})")
    if other:
        raise LookupError(f"of constraints.txt differ {len(other)}: {', '.join(other)}")
    return f"the {same} packages of constraints.txt that are installed are at those versions"


def _cuda() -> str:
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        raise LookupError(f"no GPU that torch {torch.__version__} can use")
    devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    cards = ", ".join(f"{device.name}, {device.total_memory / 2**30:.0f} GiB" for device in devices)
    return f"{cards}; runs use it with use_cuda=True. This plugin is unmeasured there: `make gpu-check`, docs/gpu.md"


def _installed(packages: Sequence[str]) -> str:
    """Versions alone: importing some of these takes long, starts threads, or prints.

    Raises:
        LookupError: names those that are not installed.
    """
    found, missing = [], []
    for name in packages:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        raise LookupError(f"not installed: {', '.join(missing)}")
    return ", ".join(found)


def _pong() -> str:
    """Pong's packages, and its cartridge, which is in the folder of one of them."""
    versions, package = _installed(_EXTRAS["atari"][0]), importlib.util.find_spec("ale_py")
    if package is None or not package.origin or not list(Path(package.origin).parent.glob("**/pong.bin")):
        raise LookupError("ale-py has no cartridge of Pong (roms/pong.bin)")
    return f"{versions}; with the cartridge of Pong"


def _smaclite() -> str:
    """By itself: who has installed it with its own requirements has pygame in the place of pygame-ce."""
    if "smaclite" in sys.modules or importlib.util.find_spec("smaclite") is None:
        raise LookupError("not installed")
    return metadata.version("smaclite")


def _starcraft() -> str:
    """Where EPyMARL's wrappers look for the game, and whether its maps are there."""
    named = os.environ.get("SC2PATH")
    home = Path(named or "~/StarCraftII").expanduser()
    if not home.is_dir():
        raise LookupError(f"SC2PATH={named} is no folder" if named else f"SC2PATH is not set, and there is no {home}")
    if missing := [part for part in ("Versions", "Maps/SMAC_Maps") if not (home / part).is_dir()]:
        raise LookupError(f"{home} has no {' and no '.join(missing)}")
    return f"{home} ({'SC2PATH' if named else 'the default; SC2PATH is not set'})"


def _git_version() -> str:
    from epymarl_trust_region.git import git

    return git("--version", cwd=Path.cwd()).stdout.strip()


def _epymarl() -> str:
    from epymarl_trust_region.suite import epymarl

    found = epymarl.find()
    if found is None:
        raise LookupError("no checkout found")
    status = epymarl.check(found[0])
    return f"{status.path} ({found[1]})" + (f"; {status.warning}" if status.warning else "")


def _patches() -> Iterator[Check]:
    """Of the checkout, if there is one."""
    with contextlib.suppress(Exception):  # of a checkout that is none: the line above has said so
        from epymarl_trust_region.suite import epymarl, patching

        found = epymarl.find()
        if found is None:
            return
        wanted = patching.for_plugins()
        there, all_of_them = len([patch for patch in patching.applied(found[0]) if patch in wanted]), len(wanted)
        detail = f"{there} of {all_of_them} are in {found[0]}"
        remedy = f"`epymarl-tr suite patch {found[0]}`; without them `python src/main.py` knows no plugins (`run` does)"
        yield Check("patches", there == all_of_them, detail, remedy, required=False, fault="not all")


def _extensions() -> Iterator[Check]:
    """One for each package that adds algorithms: what it adds, or all that is wrong with it."""
    try:
        from epymarl_trust_region.extensions import packages
        from epymarl_trust_region.suite.algorithms import faults
    except Exception:  # of a broken installation: the lines above say what is missing
        return
    for package in packages():
        wrong = faults(package)
        state = "; ".join(wrong) or ", ".join(file.stem for file in package.files)
        yield Check("algorithms", not wrong, f"{package.name}: {state}", "mend or uninstall it", False, "broken")
