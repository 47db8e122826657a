"""The GPU benchmark, whole, on a toy model where there is no GPU: what it can not measure there it says."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import gpu
import lease
from mirage.training.loop import averaged_weights
from mirage.training.recipes import RECIPES
from mirage.training.run import run_of


def test_a_toy_model_is_measured_and_told(tmp_path, capsys):
    assert gpu.main(["--tiny", "--chunks", "1", "--steps", "1", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert set(found["walk"]["stages"]) == {"latent", "rgb"}
    assert [row["decoding"] for row in found["overlap"]] == ["after each chunk", "beside the next chunk"]
    assert all(row["us"] > 0 and 0 < row["share of a copy's"] < 1 for row in found["zbuffer"])
    told = (tmp_path / "gpu.md").read_text()
    assert told in capsys.readouterr().out
    assert found["environment"]["device"] in told
    if torch.cuda.is_available():
        assert len(found["peaks"]) == len(gpu.WAYS)
        assert {row["backend"] for row in found["zbuffer"]} == {"triton", "torch"}
    else:
        assert all(what in told for what in ("compile", "peaks", "Triton"))


def test_without_a_gpu_it_is_one_line_and_2(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert gpu.main(["--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "no CUDA device" in said.err
    assert said.out == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("offload", ["none", "model", "group"])
def test_a_peak_is_of_a_walk(offload, monkeypatch):
    """Its walk runs here too, under a stand-in for what CUDA counts."""
    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(f"torch.cuda.{name}", lambda *_: None)
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda *_: 2**30)
    row = gpu.peak(offload, 32, torch.device("cpu"), 1, tiny=True, tell=lambda what: None)
    assert (row["--offload"], row["--tile"], row["measured GiB"], row["planned GiB"]) == (offload, 32, 1.0, None)


def test_a_lease_runs_every_gpu_recipe_once_and_brings_back_what_it_made(tmp_path, monkeypatch, capsys):
    asked = [name for stage in lease.STAGES.values() for name in stage]
    for_a_gpu = [name for name in RECIPES if name.startswith("mini_gpu_")]
    assert sorted(asked) == sorted([*for_a_gpu, "mini_export"])
    ran = []

    def run(name, home, *, processes):
        ran.append((name, processes))
        folder = home / run_of(name)
        folder.mkdir(parents=True)
        weights = {"step": torch.tensor(3), "averaged.weight": torch.ones(2)}
        if name not in lease.MAKERS:
            save_file(weights, folder / "checkpoint.safetensors")

    monkeypatch.setattr(lease, "run", run)
    home, out, there = tmp_path / "home", tmp_path / "out", tmp_path / "there"
    assert lease.main(["2", "--home", str(home), "--out", str(out)]) == 0
    assert ran == [("mini_gpu_latents", 14), ("mini_gpu_views", 14), ("mini_gpu_depth_head", 1)]
    assert lease.main(["unpack", str(out), "--home", str(there)]) == 0
    assert torch.equal(averaged_weights(there / "mini_depth_head")["weight"], torch.ones(2))
    assert lease.main(["unpack", str(out), "--home", str(there)]) == 2
    assert "has a run mini_depth_head already" in capsys.readouterr().err
