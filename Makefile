# `make train`: from a bare machine to a learning agent. `make test`: what is checked of every commit. Python 3.10 or newer.
PYTHON ?= python3
VENV ?= .venv
STEPS ?= 200000
ENV_ARGS ?= env_args.key=pz-mpe-simple-spread-v3 env_args.time_limit=25
TRAIN_ARGS ?= test_interval=20000 test_nepisode=50
PYTEST_ARGS ?=
GPU_ARGS ?=
JOBS ?= auto
FUZZ ?= 5000
SOAK ?= 3600
PYTHONS ?= python3.10 python3.11 python3.12 python3.13
TAG ?=

BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
STAMP := $(VENV)/.installed
ALL_STAMP := $(VENV)/.installed-all
DOCS_STAMP := $(VENV)/.installed-docs
RAY_STAMP := $(VENV)/.installed-ray
RELEASE_STAMP := $(VENV)/.installed-release
# JaxMARL and MuJoCo 4 need Python 3.11; before it the tests of SMAX and of multi-agent MuJoCo are skipped.
SIMULATORS = vmas$(shell $(BIN)/python -c 'import sys; print(",smax,mujoco" * (sys.version_info >= (3, 11)))')

.DEFAULT_GOAL := help
.PHONY: help venv fetch train bench gpu-check lint test test-all docs fuzz soak release audit clean

help:
	@echo "make train [STEPS=$(STEPS)] [TRAIN_ARGS='seed=1 ...']   train HAPPO on MPE simple_spread"
	@echo "make test  [JOBS=$(JOBS)] [PYTEST_ARGS='-m \"not slow\"']   lint, then every test, JOBS at a time"
	@echo "make test-all                  also the tests of many minutes"
	@echo "make fuzz  [FUZZ=$(FUZZ)]           files, environments, ... of anyone, FUZZ of each kind, never the same twice"
	@echo "make soak  [SOAK=$(SOAK)]           three long runs in SOAK seconds: memory and files flat, nothing left behind"
	@echo "make bench                     HAPPO against EPyMARL's mappo_ns, in seconds, on this machine"
	@echo "make gpu-check                 the same numbers on a GPU as on the CPU, and how fast: results/speed/gpu"
	@echo "make docs                      the documentation as a site, in site/index.html"
	@echo "make release [PYTHONS=...] [TAG=v...]   build sdist and wheel, and try them in bare environments of PYTHONS"
	@echo "make audit                     known vulnerabilities in the packages of constraints.txt"
	@echo "make lint                      ruff and mypy: style, format and types"
	@echo "make fetch                     get EPyMARL at the tested commit into the cache"
	@echo "make venv [PYTHON=$(PYTHON)]      only the virtual environment $(VENV), with all that the tests need"
	@echo "make clean                     remove $(VENV), builds and caches (results stay)"

venv: $(ALL_STAMP)

$(STAMP): setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "error: $(PYTHON) is missing or older than 3.10; use make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || \
		{ echo "error: $(PYTHON) has no venv module; install it (Debian and Ubuntu: apt install python3-venv)"; exit 1; }
	@test -n "$$PIP_EXTRA_INDEX_URL$$PIP_INDEX_URL" || echo "hint: pip may choose PyTorch's build for GPUs, gigabytes of it;" \
		"for the CPU build: make venv PIP_EXTRA_INDEX_URL=ADDRESS, with the one that https://pytorch.org/get-started/locally names"
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e '.[envs,offline,dev]'
	@touch $@

# Large, and only the tests need them.
$(ALL_STAMP): $(STAMP) Makefile
	$(INSTALL) -e '.[atari,docs,notebook,slurm,$(SIMULATORS)]'
	@touch $@

# No EPyMARL is no failure: the built-in suite takes over, and `suite fetch` has said in one line why.
fetch: $(STAMP)
	@$(BIN)/epymarl-tr suite fetch --timeout 30 || true

train: fetch
	$(BIN)/epymarl-tr run --quiet --config=happo --env-config=gymma with $(ENV_ARGS) t_max=$(STEPS) $(TRAIN_ARGS)

bench: fetch
	$(BIN)/epymarl-tr bench

# Under 8 minutes on one card; with a PyTorch for CUDA in the environment. Needs neither EPyMARL nor simulators.
gpu-check: $(STAMP)
	$(BIN)/python tests/gpu_check.py $(GPU_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy

# One thread a process: NumPy's would fight with those of the tests beside. In order, in small portions: those that start
# JAX stand last, and no worker may be handed others after them.
test: lint $(ALL_STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist load --maxschedchunk 8 $(PYTEST_ARGS)

test-all: PYTEST_ARGS += --thorough
test-all: $(RAY_STAMP) test

$(RAY_STAMP): $(ALL_STAMP)
	$(INSTALL) -e '.[ray]'
	@touch $@

$(DOCS_STAMP): $(STAMP) Makefile
	$(INSTALL) -e '.[docs]'
	@touch $@

# NO_MKDOCS_2_WARNING: a word to its users about its successor, of no use to readers.
docs: $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "see site/index.html, or with its search: $(BIN)/python -m http.server --directory site"

# A few minutes; says how many were tried. `make test` has a small, fixed part of it.
fuzz: $(ALL_STAMP)
	FUZZ=$(FUZZ) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -s tests/fuzz

soak: $(ALL_STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/soak.py --seconds $(SOAK) --out results/soak/soak.json

$(RELEASE_STAMP): $(STAMP) Makefile
	$(INSTALL) -e '.[release]'
	@touch $@

# What is checked, and what is not: tests/release.py. Pythons that are not there are said to be so.
release: $(RELEASE_STAMP)
	$(BIN)/python tests/release.py --pythons $(PYTHONS) $(if $(TAG),--tag $(TAG))

# All versions are given, so nothing is resolved or installed.  A package that the service does not know is a failure too.
audit: $(RELEASE_STAMP)
	$(BIN)/python -m pip_audit --strict --disable-pip --no-deps --requirement constraints.txt

clean:
	rm -rf $(VENV) build dist site plugins/*.egg-info .mypy_cache .pytest_cache .ruff_cache
	find plugins tests -name __pycache__ -type d -prune -exec rm -rf {} +
