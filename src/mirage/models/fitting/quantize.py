"""Weights of fewer bits, through torchao and bitsandbytes, which the user installs: the extra `quantize`.

    fp8, int8   a byte per weight and a scale per row (torchao); activations keep their precision
    nf4         half a byte per weight and a scale per 64 (bitsandbytes); needs CUDA

Only the large matrices inside the blocks of the transformer, its branch and the text encoder: the first and last layers
of a network are a few per cent of its weights and most of what is lost.
"""

from __future__ import annotations

import importlib.util
from typing import Any, Literal

import diffusers
import torch
import transformers
from diffusers.quantizers import PipelineQuantizationConfig
from torch import nn

from mirage.errors import InputError
from mirage.optional import install

Quantize = Literal["none", "fp8", "int8", "nf4"]
PACKAGES = {"fp8": "torchao", "int8": "torchao", "nf4": "bitsandbytes"}
BYTES = {"fp8": 1.0, "int8": 1.0, "nf4": 0.5 + 4 / 64}
"""Per weight, scales of 64 weights included; scales per row are counted as nothing."""
QUANTIZED = ("transformer", "memory_branch", "text_encoder")
KEPT = {
    "transformer": ["patch_embedding", "condition_embedder", "proj_out"],
    "memory_branch": ["patch_embedding", "proj_in", "proj_out", "detail"],
    "text_encoder": ["shared", "embed_tokens", "relative_attention_bias"],
}
"""Parts of a network that keep their precision."""


def check_quantize(kind: Quantize, *, device: torch.device | str) -> None:
    """`InputError` where this machine can not: the package or the device is missing."""
    if kind == "none":
        return
    if kind not in PACKAGES:
        raise InputError(f"quantize is {kind!r}; accepted: none, {', '.join(PACKAGES)}")
    if importlib.util.find_spec(PACKAGES[kind]) is None:
        raise InputError(f"quantize {kind} needs the package {PACKAGES[kind]}; {install(PACKAGES[kind])}")
    if kind == "nf4" and torch.device(device).type != "cuda":
        raise InputError(f"quantize nf4 needs a CUDA device, got {device}; accepted without one: fp8, int8")


def quantization(kind: Quantize, parts: set[str], *, dtype: torch.dtype) -> PipelineQuantizationConfig | None:
    """What `DiffusionPipeline.from_pretrained` takes, for those components of a model that are worth it."""
    if kind == "none":
        return None
    return PipelineQuantizationConfig(
        quant_mapping={name: _config(kind, name, dtype) for name in QUANTIZED if name in parts}
    )


def is_quantized(component: str, network: nn.Module, name: str) -> bool:
    """Whether the weight of that name, in that component, is stored in fewer bits."""
    owner, _, leaf = name.rpartition(".")
    kept = any(part in KEPT[component] for part in owner.split(".")) if component in KEPT else True
    return leaf == "weight" and not kept and isinstance(network.get_submodule(owner), nn.Linear)


def _config(kind: Quantize, name: str, dtype: torch.dtype) -> Any:
    library: Any = transformers if name == "text_encoder" else diffusers
    if kind == "nf4":
        skipped = "llm_int8_skip_modules"
        return library.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, **{skipped: KEPT[name]}
        )
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig  # pyright: ignore

    weights = Float8WeightOnlyConfig() if kind == "fp8" else Int8WeightOnlyConfig()
    return library.TorchAoConfig(weights, modules_to_not_convert=KEPT[name])
