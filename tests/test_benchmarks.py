"""The GPU benchmark, whole, on a toy model where there is no GPU: what it can not measure there it says."""

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import gpu


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
