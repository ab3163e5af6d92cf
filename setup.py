"""Packaging. `configs/` and `patches/` live at the top of the repository and travel inside the package in a wheel."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PACKAGE = "epymarl_trust_region"
VERSION = re.search(r'__version__ = "([^"]+)"', (ROOT / "plugins" / PACKAGE / "__init__.py").read_text()).group(1)
README = ROOT / "README.md"


class BuildWithData(build_py):
    """Also copies the top-level data folders into the package (an editable install reads them where they are)."""

    def run(self):
        super().run()
        if not getattr(self, "editable_mode", False):
            for folder in ("configs", "patches"):
                target = Path(self.build_lib) / PACKAGE / folder
                shutil.rmtree(target, ignore_errors=True)  # a file deleted since the last build must not live on
                shutil.copytree(ROOT / folder, target)


setup(
    name="epymarl-trust-region",
    version=VERSION,
    description="Trust-region and natural-gradient multi-agent learners for EPyMARL",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    classifiers=[  # those that continuous integration tests
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
    ],
    package_dir={"": "plugins"},
    packages=find_packages("plugins"),
    # Not a package of ours: it goes on sys.path as a folder of its own.
    package_data={PACKAGE: ["py.typed", "suite/stubs/smaclite/*.py", "experiments/report/page.html"]},
    cmdclass={"build_py": BuildWithData},
    install_requires=[
        "torch",
        "numpy",
        "pyyaml",
        "sacred",
        "setuptools<82",  # Sacred imports pkg_resources, which setuptools 82 removed
        "gymnasium",
        "tqdm",
        "matplotlib",
        "cloudpickle",
        "rich",
        "threadpoolctl",
    ],
    extras_require={
        "envs": ["mpe2", "lbforaging", "pettingzoo"],
        "vmas": ["vmas[gymnasium]>=1.5.1"],
        "smax": ["jaxmarl>=0.2"],
        "atari": ["pettingzoo", "multi-agent-ale-py>=0.1.12", "ale-py>=0.12", "pygame-ce"],
        # What SMAClite imports. Itself it comes from its repository: see Dockerfile.
        "smaclite": ["scikit-learn", "rtree", "pygame-ce"],
        "tune": ["optuna", "pandas"],
        "ray": ["ray"],
        "slurm": ["submitit"],
        "watch": ["pillow", "imageio", "imageio-ffmpeg"],
        "mujoco": ["gymnasium-robotics>=1.4.2", "mujoco"],
        "offline": ["h5py>=3.8"],
        "report": ["pandas", "scipy>=1.15", "jinja2"],
        "logging": ["tensorboard", "wandb"],
        "docs": ["mkdocs-material>=9.6", "mkdocstrings[python]>=0.29"],
        "notebook": ["nbclient", "nbformat", "ipykernel"],
        "release": ["build", "twine", "pip-audit"],
        # Minari, which recorded episodes are tested to load in, needs Python 3.11.
        "dev": [
            "pytest",
            "pytest-xdist",
            "hypothesis",
            "ruff",
            "mypy",
            "types-PyYAML",
            "types-tqdm",
            "networkx",
            "psutil",
            "scipy>=1.15",
            "optuna",
            "pandas",
            "jinja2",
            "einops",
            "build",
            "tensorboard",
            "minari; python_version >= '3.11'",
        ],
    },
    entry_points={
        "console_scripts": ["epymarl-tr = epymarl_trust_region.cli:main"],
        "epymarl.plugins": ["trust_region = epymarl_trust_region.suite.registration"],
    },
)
