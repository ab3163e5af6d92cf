"""`make gpu-check` without a GPU: its way from end to end, its refusal, and that a fault is found."""

from __future__ import annotations

import json

import gpu_check
import pytest
import torch


@pytest.fixture
def short(monkeypatch):
    """One algorithm, one kind of row, one run."""
    monkeypatch.setattr(gpu_check, "ALGORITHMS", ["happo"])
    monkeypatch.setattr(gpu_check, "ROWS", (("happo", "MLP"),))
    monkeypatch.setattr(gpu_check, "run_settings", lambda device: [("use_cuda=False", f"learner_device={device}")])
    monkeypatch.setattr(gpu_check, "MOST_TIMES", 2)


def check(tmp_path, *more: str) -> tuple[int, dict]:
    out, threads = tmp_path / "made/cpu.json", torch.get_num_threads()
    words = ["--device", "cpu", "--batches", "2", "--steps", "3", "--out", str(out), "--allow-dirty", *more]
    try:
        return gpu_check.main(words), json.loads(out.read_text())
    finally:
        torch.set_num_threads(threads)


def test_all_of_it_on_the_cpu(short, tmp_path, capsys):
    code, found = check(tmp_path)
    names = [one["name"] for one in found["checks"]]
    assert code == 0 and all(one["good"] and one["distance"] == 0 for one in found["checks"])
    assert names[:4] == [f"update of happo, {n}, {p}" for n in ("MLP", "GRU") for p in ("discrete", "Gaussian")]
    assert names[4:] == [
        "checkpoints of happo, MLP", "checkpoints of happo, GRU", "checkpoints of hatrpo, MLP",
        "run with use_cuda=False learner_device=cpu",
    ]  # fmt: skip
    for part in ("update", "end_to_end"):
        assert [row["side"] for row in found[part]] == ["cpu", "learner_device=cpu"]
        assert all(row["ms"] > 0 and len(row["all_ms"]) == 2 and row["host_reads"] > 20 for row in found[part])
    assert {"torch", "plugin_commit"} <= found["made_by"].keys() and found["machine"]["card"] == "cpu"
    assert capsys.readouterr().out.endswith("8 of 8 checks good; written to " + str(tmp_path / "made/cpu.json\n"))


def test_a_fault_is_found_and_rows_without_time_are_named(short, tmp_path, monkeypatch, capsys):
    """One that moves the device's critic by a hundredth of its step."""
    plain, calls = gpu_check.trained, iter(range(100))

    def faulty(learner, device, gaussian=False):
        before = gpu_check.state_of(learner)
        state = plain(learner, device, gaussian)
        if next(calls) == 0:
            state = {k: v + 0.01 * (v - before[k]) if k.startswith("critic") else v for k, v in state.items()}
        return state

    monkeypatch.setattr(gpu_check, "trained", faulty)
    monkeypatch.setattr(gpu_check, "whole_run", lambda how: 1 / 0)
    code, found = check(tmp_path, "--seconds", "0")
    bad = {one["name"]: one for one in found["checks"] if not one["good"]}
    assert code == 1 and list(bad) == ["update of happo, MLP, discrete", "run with use_cuda=False learner_device=cpu"]
    assert bad["update of happo, MLP, discrete"]["distance"] == pytest.approx(0.01, rel=1e-3)
    assert bad["run with use_cuda=False learner_device=cpu"]["error"].startswith("ZeroDivisionError")
    assert all(row["skipped"] == "no time left of 0 s" for row in found["update"] + found["end_to_end"])
    assert capsys.readouterr().err.splitlines() == [f"failed: {name}" for name in bad]


def test_distances():
    """The worse of the two networks; a NaN is as far as can be, and what stays where it was is no fault."""
    before = {"actors.a": torch.zeros(2), "critic.b": torch.zeros(1)}
    after = {"actors.a": torch.tensor([3.0, 4.0]), "critic.b": torch.ones(1)}
    near = {"actors.a": torch.tensor([3.0, 4.5]), "critic.b": torch.ones(1)}
    lost = {"actors.a": torch.tensor([3.0, float("nan")]), "critic.b": torch.ones(1)}
    assert gpu_check.distance(after, after, before) == gpu_check.distance(before, before, before) == 0
    assert gpu_check.distance(near, after, before) == pytest.approx(0.1)
    assert gpu_check.distance(lost, after, before) == gpu_check.distance(after, before, before) == float("inf")


def test_without_a_card_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main([]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("no CUDA device; PyTorch ") and err.count("\n") == 1


def test_names_of_files():
    assert gpu_check.slug("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"
