"""A LoRA of the transformer as one file: as published with the paper, as PEFT or diffusers write it, or ours.

    load_lora("lora.safetensors", model.transformer)    # attached, not merged: `transformer.unload_lora()` undoes it

    weight' = weight + (alpha / rank) * B @ A               A [rank,in], B [out,rank]

Alpha is, in this order: what is asked for; a tensor `.alpha` beside the pair; `lora_alpha` in the header or in an
adapter_config.json beside the file; else the rank, which is how the published code applies its own files.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor, nn

from mirage.errors import InputError
from mirage.files import replacing
from mirage.models.files.checkpoint import SHOWN, Checkpoint, one_line, open_checkpoint
from mirage.models.files.keys import lora_part

FORMAT = "mirage-lora"


@dataclass(frozen=True)
class LoraFile:
    """A LoRA that was looked at and not read yet.

    pairs       module of the diffusers transformer -> what the file calls its A and its B
    rank, alpha per module
    """

    source: Path
    pairs: Mapping[str, tuple[str, str]]
    rank: Mapping[str, int]
    alpha: Mapping[str, float]
    weights: Checkpoint

    def state(self) -> dict[str, Tensor]:
        """Tensors by the names of diffusers and PEFT, without a prefix."""
        return {
            f"{module}.lora_{part}.weight": self.weights.read(name)
            for module, pair in self.pairs.items()
            for part, name in zip("AB", pair, strict=True)
        }

    def config(self) -> dict[str, Any]:
        """As PEFT's `LoraConfig` takes it."""
        rank = Counter(self.rank.values()).most_common(1)[0][0]
        alpha = Counter(self.alpha.values()).most_common(1)[0][0]
        return {
            "r": rank,
            "lora_alpha": alpha,
            "rank_pattern": {module: value for module, value in self.rank.items() if value != rank},
            "alpha_pattern": {module: value for module, value in self.alpha.items() if value != alpha},
            "target_modules": sorted(self.pairs),
        }


def load_lora(path: str | Path, transformer: WanTransformer3DModel, *, alpha: float | None = None) -> None:
    """Attach the LoRA in a file to the transformer, as the adapter "lora"."""
    found = read_lora(open_checkpoint(path), alpha=alpha)
    linear = {name: module for name, module in transformer.named_modules() if isinstance(module, nn.Linear)}
    for module, (a, b) in found.pairs.items():
        if module not in linear:
            raise InputError(f"LoRA {path} is for {module}, which is no linear layer of this model")
        ins, outs = found.weights.shapes[a][1], found.weights.shapes[b][0]
        its = linear[module]
        if (ins, outs) != (its.in_features, its.out_features):
            raise InputError(
                f"LoRA {path} is for another backbone: its {module} is {ins} -> {outs}, this model's "
                f"{its.in_features} -> {its.out_features}"
            )
    load: Any = transformer.load_lora_adapter
    load(found.state(), prefix=None, adapter_name="lora", metadata=found.config())


def save_lora(path: str | os.PathLike[str], lora: LoraFile, *, dtype: torch.dtype | None = None) -> None:
    """One file in diffusers' own layout (`transformer.*`, its configuration in the header), whole or not at all."""
    state = {f"transformer.{name}": value.to(dtype).contiguous() for name, value in lora.state().items()}
    config = {f"transformer.{name}": value for name, value in lora.config().items()}
    header = {"format": "pt", "mirage": FORMAT, "lora_adapter_metadata": json.dumps(config)}
    with replacing(path) as beside:
        save_file(state, beside, metadata=header)


def read_lora(weights: Checkpoint, *, alpha: float | None = None) -> LoraFile:
    """What LoRA a checkpoint holds; every tensor is one of a pair, or its alpha. alpha: instead of what it says."""
    parts: dict[str, dict[str, str]] = {}
    strangers = []
    for name in weights.shapes:
        if (part := lora_part(name)) is None:
            strangers.append(name)
        elif parts.setdefault(part[0], {}).setdefault(part[1], name) != name:
            raise InputError(f"{weights.source} holds {part[1]} of {part[0]} twice")
    strangers += [min(pair.values()) for pair in parts.values() if not {"A", "B"} <= pair.keys()]
    if strangers or not parts:
        more = f" and {len(strangers) - SHOWN} more" if len(strangers) > SHOWN else ""
        names = ", ".join(f"{name} {list(weights.shapes[name])}" for name in sorted(strangers)[:SHOWN])
        raise InputError(f"{weights.source} is no LoRA: {f'no pair for {names}{more}' if names else 'it is empty'}")
    rank: dict[str, int] = {}
    for module, pair in parts.items():
        a, b = weights.shapes[pair["A"]], weights.shapes[pair["B"]]
        if len(a) != 2 or len(b) != 2 or a[0] != b[1] or a[0] == 0:
            raise InputError(f"{weights.source}: A {list(a)} and B {list(b)} of {module} do not multiply")
        rank[module] = a[0]
    found = LoraFile(
        weights.source, {m: (p["A"], p["B"]) for m, p in parts.items()}, rank, dict.fromkeys(parts, 1.0), weights
    )
    said = _said(weights)
    alphas = {
        module: _checked(alpha if alpha is not None else _alpha(found, module, pair.get("alpha"), said), weights.source)
        for module, pair in parts.items()
    }
    return replace(found, alpha=alphas)


def _alpha(lora: LoraFile, module: str, name: str | None, said: Mapping[str, Any]) -> Any:
    if name is None:
        return said["alpha_pattern"].get(module, said.get("lora_alpha", lora.rank[module]))
    if lora.weights.shapes[name] not in ((), (1,)):
        raise InputError(f"{lora.source}: {name} has shape {list(lora.weights.shapes[name])}; expected one number")
    return lora.weights.read(name).item()


def _checked(alpha: Any, source: Path) -> float:
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) < 1e6:
        raise InputError(f"{source} has alpha {str(alpha)[:40]}; expected a number of size below a million")
    return float(alpha)


def _said(weights: Checkpoint) -> dict[str, Any]:
    """The LoRA's configuration: from the header as diffusers writes it, or beside the file as PEFT writes it."""
    folder = weights.source if weights.source.is_dir() else weights.source.parent
    beside = folder / "adapter_config.json"
    try:
        if "lora_adapter_metadata" in weights.metadata:
            said = json.loads(weights.metadata["lora_adapter_metadata"])
        else:
            said = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
        plain = {name.removeprefix("transformer."): value for name, value in said.items()}
        patterns = plain.get("alpha_pattern")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{weights.source} has a damaged LoRA configuration: {one_line(error)}") from error
    if odd := [name for name in ("use_rslora", "use_dora", "lora_bias") if plain.get(name)]:
        raise InputError(f"{weights.source} is a LoRA with {odd[0]}; accepted: a plain one")
    return {**plain, "alpha_pattern": patterns if isinstance(patterns, dict) else {}}
