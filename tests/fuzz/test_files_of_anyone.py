"""Whatever stands in a file or a command line: it is read, or refused in one line of ours, and nothing is written.

A bounded set of the same cases in every test run; `make fuzz` tries others, FUZZ of each kind, and says how many.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import struct
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml
from epymarl_trust_region.config_files import read
from epymarl_trust_region.configuration import overrides
from epymarl_trust_region.errors import TrustRegionError
from epymarl_trust_region.experiments.sweep import read_sweep
from epymarl_trust_region.recordings.episodes import read_episodes
from epymarl_trust_region.recordings.layout import data_file, metadata_file
from epymarl_trust_region.recordings.summary import summary
from epymarl_trust_region.suite.checkpoints import check_folder
from recorded import made, write
from support import LEARNERS, make_batch, make_learner

hypothesis = pytest.importorskip("hypothesis")
pytest.importorskip("h5py")
from hypothesis import strategies as st  # noqa: E402

LONG = os.environ.get("FUZZ")
settings = hypothesis.settings(
    max_examples=int(LONG or 40), derandomize=not LONG, database=None, deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)  # fmt: skip
tried: Counter[str] = Counter()
numbers = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def say_how_many():
    yield
    print(f"\ntried: {', '.join(f'{count} {kind}' for kind, count in sorted(tried.items()))}")


def outcome(kind: str, job, *arguments) -> None:
    """A result, or one line."""
    try:
        job(*arguments)
        tried[f"{kind} read"] += 1
    except TrustRegionError as error:
        assert "\n" not in str(error), str(error)
        tried[f"{kind} refused"] += 1


words = st.text(max_size=12) | st.sampled_from(
    ["py/object", "lr", "name", "env_args", "experiments", "with", "seeds", "~"]
)
data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | st.integers(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings
@hypothesis.given(
    st.text() | data.map(lambda value: yaml.dump(value, allow_unicode=True)), st.sampled_from(["yaml", "json"])
)
def test_configuration_files(tmp_path_factory, text, suffix):
    file = tmp_path_factory.getbasetemp() / f"fuzz{next(numbers)}.{suffix}"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    outcome("files", read, str(file))
    file.unlink()


entries = st.fixed_dictionaries(
    {}, optional={key: data for key in ("name", "config", "env_config", "suite", "seeds", "task", "with", "x")}
)
sweeps = st.fixed_dictionaries(
    {}, optional={"defaults": data | entries, "experiments": st.lists(entries | data, max_size=3)}
)


@settings
@hypothesis.given(sweeps.map(lambda value: yaml.dump(value)) | st.text())
def test_sweep_files(tmp_path_factory, text):
    file = tmp_path_factory.getbasetemp() / f"sweep{next(numbers)}.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    outcome("sweeps", read_sweep, file)
    file.unlink()


values = st.text(max_size=20) | data.map(repr)


@settings
@hypothesis.given(st.lists(words.flatmap(lambda key: values.map(lambda value: f"{key}={value}")) | values, max_size=4))
def test_command_lines(params):
    outcome("command lines", overrides, ["with", *params])


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "x"
    write(path, [made(2), made(3)])
    return path


def read_both(path: Path) -> None:
    summary(path)
    read_episodes(path)


def read_copy(recording: Path, change) -> None:
    copy = recording.parent / f"copy{next(numbers)}"
    shutil.copytree(recording, copy)
    change(copy)
    before = {file.name: file.read_bytes() for file in (copy / "data").iterdir()}
    try:
        outcome("recordings", read_both, copy)
        assert {file.name: file.read_bytes() for file in (copy / "data").iterdir()} == before
    finally:
        shutil.rmtree(copy)


@settings
@hypothesis.given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=9)), max_size=4),
                  st.floats(0, 1))  # fmt: skip
def test_bytes_of_a_recording(recording, pieces, kept):
    def change(copy: Path) -> None:
        content = bytearray(data_file(copy).read_bytes())
        for place, piece in pieces:
            at = int(place * len(content))
            content[at : at + len(piece)] = piece
        data_file(copy).write_bytes(content[: int(kept * len(content))] if kept < 0.3 else content)

    read_copy(recording, change)


@settings
@hypothesis.given(
    st.integers(), st.integers(), st.lists(st.tuples(st.integers(), st.integers(), st.binary(max_size=9)))
)
def test_bytes_of_a_journal(recording, size, mark, pieces):
    def change(copy: Path) -> None:
        numbers = [(size, mark % 4)] + [(offset, length) for offset, length, _ in pieces]
        heads = [struct.pack("<qq", *(max(min(n, 2**63 - 1), -(2**63)) for n in pair)) for pair in numbers]
        bodies = [b"", *(piece for *_, piece in pieces)]
        text = b"".join(head + body for head, body in zip(heads, bodies, strict=True))
        (copy / "data/main_data.hdf5.undo").write_bytes(text)

    read_copy(recording, change)


@settings
@hypothesis.given(st.data())
def test_facts_of_a_recording(recording, draw):
    metadata = json.loads(metadata_file(recording).read_text())
    group = metadata["epymarl_trust_region"] if draw.draw(st.booleans()) else metadata
    key = draw.draw(st.sampled_from(sorted(group)) | st.sampled_from(["action_low", "action_high", "action_dtype"]))
    group[key] = draw.draw(data.filter(lambda value: "date" not in repr(value)) | st.integers(-2, 5))
    read_copy(recording, lambda copy: metadata_file(copy).write_text(json.dumps(metadata)))


def load(run: Path) -> None:
    """As a run with this `checkpoint_path` does, into a learner that is like the one that saved it."""
    check_folder(str(run), 0, LEARNERS["happo_learner"].load())
    make_learner(make_batch(), hidden_dim=4, critic_hidden_dim=4).load_models(str(run / "10"))


@pytest.fixture
def checkpoint(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("run")
    (run / "10").mkdir()  # without checksums, which would notice all of it
    make_learner(make_batch(), hidden_dim=4, critic_hidden_dim=4).save_models(str(run / "10"))
    return run


@settings
@hypothesis.given(
    st.sampled_from(["agent.th", "learner.th"]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=9)), max_size=4),
    st.floats(0, 1),
)
def test_bytes_of_a_checkpoint(checkpoint, name, pieces, kept):
    file = checkpoint / "10" / name
    whole = file.read_bytes()
    content = bytearray(whole)
    for place, piece in pieces:
        at = int(place * len(content))
        content[at : at + len(piece)] = piece
    file.write_bytes(content[: int(kept * len(content))] if kept < 0.3 else content)
    try:
        outcome("checkpoints", load, checkpoint)
    finally:
        file.write_bytes(whole)


others = (
    st.sampled_from([torch.zeros(()), torch.zeros(3), torch.zeros(2, 4), torch.full((4,), float("nan")),
                     torch.zeros(4, dtype=torch.long), torch.zeros(4, dtype=torch.complex64), torch.zeros(0)])
    | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    | st.just({}) | st.just([]) | st.lists(st.integers(), max_size=3)
)  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # torch's, of odd tensors
@settings
@hypothesis.given(st.data(), st.sampled_from(["agent.th", "learner.th"]))
def test_contents_of_a_checkpoint(checkpoint, draw, name):
    """One entry, somewhere in it, is another thing, or is not there."""
    file = checkpoint / "10" / name
    whole = file.read_bytes()
    state = place = torch.load(file, weights_only=True)
    while True:
        keys = sorted(place, key=str) if isinstance(place, dict) else range(len(place))
        key = draw.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or draw.draw(st.integers(0, 4)) == 0:
            break
        place = place[key]
    if isinstance(place, dict) and draw.draw(st.booleans()):
        del place[key]
    elif isinstance(place, dict | list):
        place[key] = draw.draw(others)
    torch.save(state, file)
    try:
        outcome("checkpoints", load, checkpoint)
    finally:
        file.write_bytes(whole)
