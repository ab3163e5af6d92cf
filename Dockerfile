# EPyMARL at the tested commit, SMAClite and this plugin, with PyTorch for the CPU. docs/docker.md has the commands.
#
#   docker build --build-arg TORCH_INDEX=ADDRESS -t epymarl-tr .
#
# ADDRESS: of PyTorch's builds for the CPU, as https://pytorch.org/get-started/locally names it for pip.
FROM python:3.11-slim-bookworm

ARG TORCH_INDEX
ARG SMACLITE=0d6abbea1334011984ae4704a0ef7a33c36057d6

# git: EPyMARL and SMAClite come from their repositories.
RUN apt-get update && apt-get install --yes --no-install-recommends git && rm -rf /var/lib/apt/lists/*

ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/venv
WORKDIR /opt/build

# First what changes least. Another index has PyTorch alone, so what PyTorch needs comes from the usual one.
COPY constraints.txt ./
RUN test -n "$TORCH_INDEX" || { echo "error: name the CPU builds of PyTorch: --build-arg TORCH_INDEX=ADDRESS"; exit 1; }
RUN pip install -c constraints.txt --extra-index-url "$TORCH_INDEX" "$(grep -x 'torch==[0-9.]*' constraints.txt)+cpu"

COPY setup.py pyproject.toml MANIFEST.in README.md LICENSE ./
COPY configs configs
COPY patches patches
COPY plugins plugins
RUN pip install -c constraints.txt '.[envs,offline,report,watch,smaclite]'

# Without its own requirements: it asks for an Rtree that has no wheel, and for pygame where pygame-ce is.
RUN pip install --no-deps "git+https://github.com/uoe-agents/smaclite@$SMACLITE"

RUN useradd --create-home --uid 1000 marl
USER marl
RUN epymarl-tr suite fetch --timeout 300 && mkdir /home/marl/work

WORKDIR /home/marl/work
ENTRYPOINT ["epymarl-tr"]
CMD ["doctor"]
