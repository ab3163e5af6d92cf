"""Packages from outside: the example as pip installs it, and made ones, installed for one test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import yaml
from epymarl_trust_region.extensions import GROUPS
from epymarl_trust_region.suite import algorithms
from epymarl_trust_region.suite.lite import registries
from support import ROOT

HAA2C = ROOT / "examples/haa2c"


def pip_install(source: Path, folder: Path) -> Path:
    """Install a package as a user would, offline, into a folder of its own; gives the folder."""
    copy = shutil.copytree(source, folder / "source")  # pip builds beside the sources
    site = folder / "site"
    flags = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *flags, "--target", str(site), str(copy)]
    # Only newer ones build wheels by themselves, and a virtual environment may begin with an old one.
    there = metadata.distributions(name="setuptools")
    newest = max(there, key=lambda found: int(found.version.split(".")[0])).locate_file("")
    environment = {**os.environ, "PYTHONPATH": str(newest)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return site


def write_package(
    site: Path, name: str, points: Mapping[str, Mapping[str, str]], files: Mapping[str, str], version: str = "1.0"
) -> None:
    """What pip leaves of a package.

    Args:
        points: kind, as in GROUPS -> entry points.
        files: path from `site` -> text.
    """
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = (f"[{GROUPS[kind]}]\n" + "".join(f"{k} = {v}\n" for k, v in of.items()) for kind, of in points.items())
    (info / "entry_points.txt").write_text("\n".join(groups))
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)


def yaml_of(of: str, **changes) -> str:
    """A yaml file of ours with other values, as text; None removes a key."""
    keys = yaml.safe_load((ROOT / f"configs/algs/{of}.yaml").read_text()) | changes
    return yaml.safe_dump({key: value for key, value in keys.items() if key not in changes or value is not None})


@contextmanager
def installed(site: Path, monkeypatch):
    """Let this process, and those that it starts, find the packages in a folder."""
    kept = [(registry, dict(registry)) for registry in (registries.LEARNERS, registries.CONTROLLERS)]
    modules = set(sys.modules)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setenv("PYTHONPATH", str(site), prepend=":")
        _forget()
        try:
            yield
        finally:
            for registry, content in kept:
                registry.clear()
                registry.update(content)
            for name in set(sys.modules) - modules:
                if str(site) in str(getattr(sys.modules[name], "__file__", "")):
                    del sys.modules[name]
    _forget()


def _forget() -> None:
    algorithms.listing.cache_clear()
    algorithms._loaded.cache_clear()
