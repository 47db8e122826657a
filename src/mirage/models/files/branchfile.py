"""A memory branch as one file: ours, or as published with the paper.

    branch = load_branch("branch.safetensors", model.transformer)

Ours is safetensors with the branch's configuration in its header; a folder that `MemoryBranch.save_pretrained` wrote is
read too. The published layout (`vace_blocks.*`, `vace_patch_embedding.*`) is known by its names, and which layers its
blocks hint by their number: half as many as the backbone has layers (15 of 30) are for every second, a quarter (8, as
Spatia's) for every fourth; others have to be given. Every tensor has its place or the file is refused: a branch of
another network never loads in part. A LoRA in the same file is left to `loras.py`.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from safetensors.torch import save_file

from mirage.errors import InputError
from mirage.files import replacing
from mirage.formats.source import object_of, read_object
from mirage.models.files.checkpoint import Checkpoint, check_tensors, one_line, open_checkpoint
from mirage.models.files.keys import bare, branch_name, is_branch, lora_part
from mirage.models.transformer import PUBLISHED, MemoryBranch
from mirage.models.wan22 import TRANSFORMER

FORMAT = "mirage-memory-branch"
HOLDS = "the configuration of a memory branch"
BACKBONE = {
    "channels": "in_channels",
    **{name: name for name in ("num_attention_heads", "attention_head_dim", "ffn_dim", "patch_size")},
    **{name: name for name in ("cross_attn_norm", "qk_norm", "eps")},
}
"""Fields of a branch, and what the backbone calls the same."""


@dataclass(frozen=True)
class BranchFile:
    """A branch that was looked at and not read yet: its configuration, and what its file calls each weight."""

    source: Path
    config: dict[str, Any]
    names: Mapping[str, str]
    weights: Checkpoint

    def build(self, dtype: torch.dtype | None = None) -> MemoryBranch:
        """The branch itself; dtype None: as stored. Some weights stay float32 beside bfloat16 ones, as diffusers'."""
        with torch.device("meta"):
            branch = MemoryBranch(**self.config)
        state = {}
        for name, given in self.names.items():
            kept = any(part in MemoryBranch._keep_in_fp32_modules for part in name.split("."))
            state[name] = self.weights.read(given).to(torch.float32 if kept and dtype is not None else dtype)
        branch.load_state_dict(state, assign=True)
        return branch.eval().requires_grad_(False)


def load_branch(
    path: str | Path,
    transformer: WanTransformer3DModel,
    *,
    layers: Sequence[int] | None = None,
    dtype: torch.dtype | None = None,
) -> MemoryBranch:
    """The branch in a file of either layout, for this backbone and on its device.

    layers: of the backbone that a published branch hints, where the number of its blocks does not tell
    dtype: None: the backbone's
    """
    its: Any = transformer.config
    found = read_branch(open_checkpoint(path), heads=its.num_attention_heads, depth=its.num_layers, layers=layers)
    check_backbone(found.config, transformer, source=path)
    branch: Any = found.build(dtype or transformer.dtype)
    return branch.to(transformer.device)


def check_backbone(config: Mapping[str, Any], transformer: WanTransformer3DModel, *, source: str | Path) -> None:
    """`InputError` if a branch of that configuration is not for this backbone."""
    its: Any = transformer.config
    for name, there in BACKBONE.items():
        ours, theirs = config.get(name, its[there]), its[there]
        if (list(ours) if name == "patch_size" else ours) != (list(theirs) if name == "patch_size" else theirs):
            raise InputError(f"branch {source} is for a backbone with {there} {ours}; this model has {theirs}")
    if (last := max(config["layers"])) >= its.num_layers:
        raise InputError(f"branch {source} gives a hint to layer {last}; this model has {its.num_layers} layers")


def save_branch(path: str | os.PathLike[str], branch: MemoryBranch) -> None:
    """One file with the branch and its configuration, whole or not at all."""
    state = {name: weight.detach().cpu().contiguous() for name, weight in branch.state_dict().items()}
    its = {name: value for name, value in dict(branch.config).items() if not name.startswith("_")}
    with replacing(path, alone=True) as beside:
        save_file(state, beside, metadata={"format": "pt", "mirage": FORMAT, "config": json.dumps(its)})


def read_branch(
    weights: Checkpoint, *, heads: int | None = None, depth: int | None = None, layers: Sequence[int] | None = None
) -> BranchFile:
    """What branch a checkpoint holds; a LoRA beside it is not looked at.

    heads, depth, layers: what the published layout does not say: heads of its attention, layers of its backbone (None:
    30, as Wan2.2-TI2V-5B has), and which of them its blocks hint (None: as many blocks usually do).
    """
    if any(is_branch(name) for name in weights.shapes):
        weights = weights.only(name for name in weights.shapes if lora_part(name) is None)
        weights.check_numbers()
        config, names = _published(weights, heads)
        config["layers"] = _layers(weights, names, depth or TRANSFORMER["num_layers"], layers)
    else:
        if layers is not None:
            raise InputError(f"{weights.source} is no published branch: its layers are not for choice")
        config, names = _ours(weights), {name: name for name in weights.shapes}
    try:
        with torch.device("meta"):
            expected = {name: tuple(value.shape) for name, value in MemoryBranch(**config).state_dict().items()}
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise InputError(f"{weights.source} has an impossible configuration: {one_line(error)}") from error
    found = {new: weights.shapes[old] for new, old in names.items()}
    check_tensors(weights.source, "its memory branch", expected, found, given=names)
    return BranchFile(weights.source, config, names, weights)


def _ours(weights: Checkpoint) -> dict[str, Any]:
    """The configuration in the header, or in the config.json beside."""
    if weights.metadata.get("mirage") == FORMAT:
        where = f"{weights.source}: its configuration"
        said = object_of(weights.metadata.get("config", ""), source=where, accepts=HOLDS)
    elif weights.source.is_dir() and (weights.source / "config.json").is_file():
        said = read_object(weights.source / "config.json", accepts=HOLDS)
    else:
        raise InputError(f"{weights.source} is no memory branch: neither ours nor with the published vace_* names")
    config = {name: value for name, value in said.items() if not name.startswith("_")}
    layers = config.get("layers")
    held = {name.split(".")[1] for name in weights.shapes if name.startswith("blocks.")}
    if not isinstance(layers, list) or len(layers) != len(held) or not all(type(n) is int and n >= 0 for n in layers):
        raise InputError(f"{weights.source} has {len(held)} side blocks, for the layers {str(layers)[:80]}")
    return {**config, "layers": tuple(layers)}


def _published(weights: Checkpoint, heads: int | None) -> tuple[dict[str, Any], dict[str, str]]:
    """Configuration and names of a published branch but for its layers; sizes are as its weights say."""
    names: dict[str, str] = {}
    for name in weights.shapes:
        new = branch_name(bare(name)) or name
        if new in names:
            raise InputError(f"{weights.source} holds {new} twice, as {names[new]} and {name}")
        names[new] = name

    def shape(name: str, rank: int) -> tuple[int, ...]:
        found = weights.shapes.get(names.get(name, ""), ())
        if len(found) != rank or 0 in found:
            raise InputError(f"{weights.source} is no published branch: {name} has shape {list(found)}")
        return found

    dim, seen, *patch = shape("patch_embedding.weight", 5)
    ffn, _ = shape("blocks.0.block.ffn.net.0.proj.weight", 2)
    channels = TRANSFORMER["in_channels"]
    kinds = {channels + more(channels): inputs for inputs, more in PUBLISHED.items()}
    if seen not in kinds:
        raise InputError(f"{weights.source} takes {seen} channels; accepted: {' or '.join(map(str, sorted(kinds)))}")
    heads = heads or max(1, dim // TRANSFORMER["attention_head_dim"])
    if dim % heads or dim // heads % 2:
        raise InputError(f"{weights.source} is {dim} wide, which {heads} attention heads do not divide")
    return {
        "channels": channels, "num_attention_heads": heads,
        "attention_head_dim": dim // heads, "ffn_dim": ffn, "patch_size": tuple(patch), "inputs": kinds[seen],
        "cross_attn_norm": True, "qk_norm": TRANSFORMER["qk_norm"], "eps": TRANSFORMER["eps"],
        "use_offset": False, "use_rays": False,
    }, names  # fmt: skip


def _layers(weights: Checkpoint, names: Mapping[str, str], depth: int, asked: Sequence[int] | None) -> tuple[int, ...]:
    """Which layers of a backbone `depth` deep the blocks of a published branch hint."""
    held = {int(name.split(".")[1]) for name in names if name.startswith("blocks.")}
    if held != set(range(len(held))):
        raise InputError(f"{weights.source} is cut short: it has side blocks {sorted(held)}, not all from 0 on")
    if asked is not None:
        if len(asked) != len(held) or sorted(set(asked)) != list(asked) or min(asked) < 0:
            raise InputError(f"{weights.source} has {len(held)} side blocks, for the layers {list(asked)}; expected as "
                             f"many layers, from low to high")  # fmt: skip
        return tuple(asked)
    usual = {count: step for step in (4, 2) if (count := len(range(0, depth, step))) > 1}
    if len(held) not in usual:
        known = " or ".join(f"{count} (every {step}th layer)" if step > 2 else f"{count} (every 2nd layer)"
                            for count, step in sorted(usual.items()))  # fmt: skip
        raise InputError(f"{weights.source} has {len(held)} side blocks, which tells no layers of a backbone of "
                         f"{depth}; expected {known}, or the branch converted with its layers named")  # fmt: skip
    return tuple(range(0, depth, usual[len(held)]))
