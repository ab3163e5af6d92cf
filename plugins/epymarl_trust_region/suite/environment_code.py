"""The code behind an environment's id: where it is looked for, and what is said where it cannot be imported."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path

from ..config import nearest
from ..errors import EnvironmentMissingError, TrustRegionError

#: How the packages that this project knows are installed. No other name is ever advised: under the name of a user's
#: own module an index may hold a stranger's package.
INSTALL = {
    "lbforaging": "pip install lbforaging",
    "rware": "pip install rware",
    "matrixgames": "pip install git+https://github.com/uoe-agents/matrix-games.git",
    "smaclite": "pip install git+https://github.com/uoe-agents/smaclite.git",
    "vmas": "pip install 'vmas[gymnasium]>=1.5.1'",
    "mpe2": "pip install mpe2",
    "jaxmarl": "pip install jaxmarl",
}
# Frames of the import itself, which say nothing of the module that is imported.
_IMPORTERS = (__file__, importlib.__file__, "<frozen importlib")


def add_current_folder() -> None:
    """Let modules in the current folder be found, as under `python -m`; worker processes get the path with it.

    Its place is behind the first entry, which is the running script's folder or a host's source, and before packages.
    PYTHONSAFEPATH, which keeps `python -m` from looking there, keeps this from it too.
    """
    here = os.path.realpath(os.getcwd())
    if not _is_safe_path() and all(os.path.realpath(entry or here) != here for entry in sys.path):
        sys.path.insert(1, here)


def import_code(key: str, module: str, attribute: str | None = None) -> None:
    """Import a module, for the environment `key`, and see that it has the attribute.

    Raises:
        EnvironmentMissingError: there is no such module or attribute, or an error in it, named as what it is.
    """
    _check_name(key, module)
    try:
        found = importlib.import_module(module)
        if attribute is not None:
            getattr(found, attribute)
    except TrustRegionError:  # one that we have worded ourselves
        raise
    except (Exception, SystemExit) as error:
        raise EnvironmentMissingError(complaint(key, error, module)) from error


def complaint(key: str, error: BaseException, module: str | None = None) -> str:
    """One line about what went wrong in the code of the environment `key`.

    Args:
        module: the one that was imported; None where an environment was made.
    """
    place = _place(error, module)
    if module and isinstance(error, ModuleNotFoundError) and not place:  # none of its code has run
        return _absent(key, module, error)
    text = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    if isinstance(error, SyntaxError) and error.text:
        text += f" in `{error.text.strip()}`"
    return f"environment {key}: {place and f'{place}: '}{type(error).__name__}: {text}; {_remedy(error, module)}"


def origin(module: str) -> str:
    """Where an imported module came from, in words for the end of a message; nothing for what this project knows."""
    top = module.partition(".")[0]
    if top in INSTALL or top == __package__.partition(".")[0]:
        return ""
    found = sys.modules[module]
    file = getattr(found, "__file__", None) or next(iter(getattr(found, "__path__", ())), None)
    words = f" ({module} is {_shown(file) if file else 'built in'}, and importing it registers no such id"
    own = [path for path in (Path(f"{top}.py"), Path(top, "__init__.py")) if path.exists()]
    if own and not (file and Path(file).resolve().is_relative_to(Path.cwd().resolve())):
        words += f"; {own[0]} in the current folder is hidden behind it: rename yours"
    return words + ")"


def _check_name(key: str, module: str) -> None:
    if module.endswith(".py") or not (all(part.isidentifier() for part in module.split(".")) or _is_found(module)):
        name = ".".join(part for part in Path(module).with_suffix("").parts if part.isidentifier()) or "my_env"
        raise EnvironmentMissingError(
            f"environment {key}: `{module}` is not the name of a module; write it as after `import`, as in "
            f"env_args.key={name}:{key.rpartition(':')[2]}"
        )


def _is_found(module: str) -> bool:
    """Whether there is such a module, as there may be under a name that `import` cannot write: 01-my-env.py."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _absent(key: str, module: str, error: ModuleNotFoundError) -> str:
    package = module.partition(".")[0]
    if package in INSTALL:
        return f"environment {key} needs the package {package} ({error}); {INSTALL[package]}"
    here = f"in the current folder ({os.getcwd()})"
    if _is_safe_path():
        here += ", where PYTHONSAFEPATH keeps Python from looking,"
    own = {path.stem for path in Path().glob("*.py")} | {path.parent.name for path in Path().glob("*/__init__.py")}
    return (
        f"environment {key}: there is no module {error.name or module} {here} or elsewhere on Python's path"
        f"{nearest(module, own)}; start from the folder that holds it, or name that folder in PYTHONPATH"
    )


def _place(error: BaseException, module: str | None) -> str:
    """`FILE, line N` of the innermost code that ran, of the imported module's own folder; nothing if none did."""
    if isinstance(error, SyntaxError) and error.filename and os.path.exists(error.filename):
        return f"{_shown(error.filename)}, line {error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_IMPORTERS)]
    if not frames:
        return ""
    own = [f for f in frames if _is_below(f.filename, Path(frames[0].filename).parent)] if module else frames
    return f"{_shown(own[-1].filename)}, line {own[-1].lineno}"


def _is_below(file: str, folder: Path) -> bool:
    return Path(file).is_relative_to(folder) and "site-packages" not in Path(file).relative_to(folder).parts


def _remedy(error: BaseException, module: str | None) -> str:
    if isinstance(error, SystemExit):
        return "a module that registers environments must not end Python: mend it"
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    package = (missing or "").partition(".")[0]
    if not missing or sys.modules.get(package) or package == (module or "").partition(".")[0]:
        return "mend it"
    return INSTALL.get(package, f"install the package that provides {missing}, or name its folder in PYTHONPATH")


def _shown(file: str) -> str:
    """A path as short as can be."""
    path, here = Path(file).resolve(), Path.cwd().resolve()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _is_safe_path() -> bool:
    return getattr(sys.flags, "safe_path", False)  # from Python 3.11 on
