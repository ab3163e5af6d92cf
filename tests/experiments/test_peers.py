"""`epymarl-tr bench --peer`: what is said to a peer's script, what both sides have alike, and what is refused."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
from epymarl_trust_region import cli
from epymarl_trust_region.configuration import read
from epymarl_trust_region.errors import ConfigError, SuiteError
from epymarl_trust_region.experiments import bench
from epymarl_trust_region.experiments.bench_rows import Row
from epymarl_trust_region.experiments.bench_work import Work
from epymarl_trust_region.experiments.peers import rows, side
from epymarl_trust_region.experiments.peers.side import PeerSide, PeerWork
from epymarl_trust_region.suite.selection import files_of

SCRIPTS = Path(side.__file__).parent
ROWS = [(name, row) for name, peer in rows.PEERS.items() for row in peer.rows()]
FAKE = """
import sys, time
sys.path.insert(0, {scripts!r})
from protocol import serve
def build(home, work):
    print("a peer's chatter")
    assert sys.path[0] == str(home)
    if work["mode"] == "fails":
        raise ValueError("no such scenario")
    def once():
        if work["mode"] == "dies":
            print("out of luck", file=sys.stderr); sys.exit(3)
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass
        return work["steps"]
    return once
serve(build)
"""


@pytest.fixture
def fake(tmp_path):
    (tmp_path / "fake.py").write_text(FAKE.format(scripts=str(SCRIPTS)))

    def make(mode="works", **given) -> PeerSide:
        work = PeerWork("Fake", str(tmp_path / "fake.py"), {"mode": mode, "steps": 500, **given})
        return PeerSide(work, tmp_path, sys.executable)

    return make


def test_a_script_is_built_once_and_plays_when_it_is_asked(fake):
    peer = fake()
    peer.ready()
    first, second = peer.once(), peer.once()
    assert first.steps == second.steps == 500 and first.wall > 0 and first.cpu >= 0.02
    assert math.isnan(peer.end()) and peer.process.returncode == 0


def test_a_script_that_cannot_be_built_gives_its_reason(fake):
    peer = fake("fails")
    with pytest.raises(RuntimeError, match="ValueError: no such scenario"):
        peer.ready()
    peer.end()


def test_a_script_that_dies_gives_its_last_words(fake):
    peer = fake("dies")
    peer.ready()
    with pytest.raises(RuntimeError, match="its process has died: out of luck"):
        peer.once()
    peer.end()


def test_a_row_with_a_peer_has_a_ratio_per_pair(fake):
    task = {"key": "trust-region-climbing-v0", "time_limit": 1}
    row = Row("fake", "ours : fake", 2, None, Work("happo", "gymma", task, episodes=2), PeerWork("Fake", "", {}))
    result = bench.measure(row, None, 2, lambda work: fake())
    assert len(result.ratios) == 2 and result.theirs["wall_s"] > 0 and "ours : fake" in bench.line(result)
    with pytest.raises(SuiteError, match="fake cannot be measured: ValueError: no such scenario"):
        bench.measure(row, None, 2, lambda work: fake("fails"))


@pytest.mark.parametrize("row", [row for _, row in ROWS], ids=lambda row: row.name)
def test_both_sides_have_the_same_samples_networks_and_passes(row):
    ours = read(files_of("lite"), row.ours.algorithm, row.ours.environment)[0] | row.ours.overrides
    theirs = row.theirs.given
    assert row.ours.episodes == theirs["streams"]
    assert (ours["rollout_steps"] or row.ours.env_args["time_limit"]) == theirs["steps"]
    assert ours["epochs"] == ours["critic_epochs"] == theirs["epochs"]
    assert ours["actor_num_mini_batch"] == ours["critic_num_mini_batch"] == theirs["minibatches"]
    assert [ours["hidden_dim"]] * 2 == [ours["critic_hidden_dim"]] * 2 == theirs["hidden"]
    assert (SCRIPTS / row.theirs.script).is_file()
    json.dumps(theirs)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--peer=harl"], r"--peer=harl: --home is missing; `git clone https://github.com/PKU-MARL/HARL`"),
        (["--peer=harl", "--home=."], r"--home=\. is no checkout of it"),
        (["--peer=harl", "--config", "happo"], "both in place of the rows"),
        (["--peer=harl", "--growth"], "--against, --growth and --figures are of the rows against EPyMARL"),
        (["--home=."], r"--home=\. is a peer's; name it with --peer=benchmarl\|harl\|jaxmarl"),
        (["--peer=harl", "--only", "spread-vector"], "no row spread-vector; there are harl-halfcheetah6x1"),
    ],
)
def test_what_cannot_be_compared_is_refused(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        bench.main(words)
    assert cli.main(["bench", *words]) == 2


def test_a_python_that_is_not_there_is_refused(tmp_path):
    known = tmp_path / rows.PEERS["harl"].known_by
    known.parent.mkdir(parents=True)
    known.touch()
    with pytest.raises(ConfigError, match="--peer-python=nowhere/python is no program"):
        rows.checked("harl", tmp_path, "nowhere/python")
    assert rows.checked("harl", tmp_path, sys.executable) == tmp_path
    assert rows.made_from("harl", tmp_path) == {"harl_commit": None}
