"""Weights of fewer bits: refused in one line where the package is missing; close to the full ones where it is there."""

import importlib.util
from pathlib import Path

import pytest
import torch

from mirage.errors import InputError
from mirage.models.fitting.quantize import Quantize, check_quantize, is_quantized
from mirage.models.loading import load_world_model
from mirage.models.tiny import tiny_world


def test_what_is_missing_is_said(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    packages: dict[Quantize, str] = {"fp8": "torchao", "int8": "torchao", "nf4": "bitsandbytes"}
    for kind, package in packages.items():
        with pytest.raises(InputError, match=f"quantize {kind} needs the package {package}; pip install .*quantize"):
            check_quantize(kind, device="cpu")
    check_quantize("none", device="cpu")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with pytest.raises(InputError, match="nf4 needs a CUDA device, got cpu"):
        check_quantize("nf4", device="cpu")
    with pytest.raises(InputError, match="accepted: none, fp8, int8, nf4"):
        check_quantize("int1", device="cpu")  # pyright: ignore


def test_the_matrices_of_blocks_are_quantized_and_nothing_else() -> None:
    model = tiny_world(detail_channels=4, prediction="sample")
    for component, network in (("transformer", model.transformer), ("memory_branch", model.memory_branch),
                               ("text_encoder", model.text_encoder), ("vae", model.vae)):  # fmt: skip
        assert network is not None
        names = [name for name, _ in network.named_parameters() if is_quantized(component, network, name)]
        assert all("block" in name and name.endswith(".weight") for name in names)
        assert bool(names) == (component != "vae")


@pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="torchao is not installed")
@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_a_quantized_load_is_close_to_the_full_one(kind, tmp_path: Path) -> None:
    tiny_world().save_pretrained(tmp_path)
    full, small = (load_world_model(tmp_path, quantize=q, dtype=torch.bfloat16) for q in ("none", kind))
    for component in ("transformer", "memory_branch", "text_encoder"):
        network = small.components[component]
        for name, weight in network.named_parameters():
            assert (type(weight) is not torch.nn.Parameter) == is_quantized(component, network, name), name
    one, other = (model.encode_prompt("a red room").float() for model in (full, small))
    assert 0 < (one - other).abs().max() < 0.1 * one.abs().max()
