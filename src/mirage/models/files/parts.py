"""What a checkpoint holds: networks of Wan2.2, a memory branch, a LoRA; told by the names and shapes of its tensors.

    parts = parts_of(open_checkpoint("Wan2.2_VAE.pth"))     # {"vae": Network}

Networks are built on the meta device, of the sizes that the weights have; every tensor has its place there.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import UMT5Config, UMT5EncoderModel

from mirage.errors import InputError
from mirage.models import wan22
from mirage.models.files import keys
from mirage.models.files.branchfile import BranchFile, read_branch
from mirage.models.files.checkpoint import SHOWN, Checkpoint, Shape, check_tensors, one_line
from mirage.models.files.lorafile import LoraFile, read_lora
from mirage.models.loading import quiet


@dataclass(frozen=True)
class Network:
    """A network of Wan2.2 that was looked at and not read yet: on the meta device, and the names in its file."""

    part: nn.Module
    names: Mapping[str, str]
    weights: Checkpoint

    def numel(self, name: str) -> int:
        """How many numbers a tensor has."""
        return math.prod(self.weights.shapes[self.names[name]])


Part = Network | BranchFile | LoraFile


def parts_of(
    weights: Checkpoint,
    *,
    heads: int | None = None,
    alpha: float | None = None,
    branch_layers: Sequence[int] | None = None,
) -> dict[str, Part]:
    """The parts of one checkpoint by kind: of `NETWORKS`, "branch", "lora". Choices as in `convert`."""
    kinds: dict[str, list[str]] = {}
    for name in weights.shapes:
        kinds.setdefault(_kind(name), []).append(name)
    if names := kinds.get(""):
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        shown = ", ".join(f"{name} {list(weights.shapes[name])}" for name in sorted(names)[:SHOWN])
        raise InputError(f"{weights.source} holds tensors of no network that is known here: {shown}{more}")
    if branch_layers is not None and "branch" not in kinds:
        raise InputError(f"{weights.source} holds no published branch, so there are no layers of it to choose")
    parts: dict[str, Part] = {}
    for kind, names in kinds.items():
        alone = weights.only(names)
        if kind == "branch":
            parts[kind] = read_branch(alone, heads=heads, layers=branch_layers)
        elif kind == "lora":
            parts[kind] = read_lora(alone, alpha=alpha)
        else:
            parts[kind] = _network(kind, alone, heads)
    return parts


def _kind(name: str) -> str:
    """Which network a tensor is of, by its name; "": none."""
    if keys.is_branch(name):
        return "branch"
    if keys.lora_part(name) is not None or keys.other_adapter(name) is not None:
        return "lora"
    return next((kind for kind, (renamed, _) in NETWORKS.items() if renamed(keys.bare(name)) is not None), "")


def _network(kind: str, weights: Checkpoint, heads: int | None) -> Network:
    """The network on the meta device, of the sizes that the weights have; all of them named and placed."""
    renamed, build = NETWORKS[kind]
    weights.check_numbers()
    names: dict[str, str] = {}
    for name in weights.shapes:
        new = renamed(keys.bare(name)) or name
        if new in names:
            raise InputError(f"{weights.source} holds {new} twice, as {names[new]} and {name}")
        names[new] = name
    found = {new: weights.shapes[old] for new, old in names.items()}
    try:
        with quiet(), torch.device("meta"):
            part = build(found, heads)
    except (KeyError, IndexError, StopIteration) as error:
        raise InputError(f"{weights.source} is no {kind} of Wan2.2: it lacks {one_line(error)}") from error
    except (ValueError, TypeError, RuntimeError, ZeroDivisionError, AssertionError, StrictDataclassError) as error:
        raise InputError(f"{weights.source} is no {kind} of Wan2.2: {one_line(error)}") from error
    # a tied twin is the same tensor under a second name; one of them is enough
    state = part.state_dict(keep_vars=True)
    expected: dict[int, str] = {}
    for name, value in state.items():
        expected.setdefault(id(value), name)
    check_tensors(
        weights.source, f"Wan2.2's {kind}", {name: tuple(state[name].shape) for name in expected.values()}, found,
        given=names,
    )  # fmt: skip
    return Network(part, names, weights)


def _transformer(found: Mapping[str, Shape], heads: int | None) -> WanTransformer3DModel:
    dim, channels, *patch = found["patch_embedding.weight"]
    heads = heads or max(1, dim // wan22.TRANSFORMER["attention_head_dim"])
    if dim % heads or dim // heads % 2:
        raise ValueError(f"a width of {dim} does not go into {heads} attention heads")
    return WanTransformer3DModel(**{
        **wan22.TRANSFORMER,
        "patch_size": patch,
        "num_attention_heads": heads,
        "attention_head_dim": dim // heads,
        "in_channels": channels,
        "out_channels": found["proj_out.weight"][0] // (patch[0] * patch[1] * patch[2]),
        "text_dim": found["condition_embedder.text_embedder.linear_1.weight"][1],
        "freq_dim": found["condition_embedder.time_embedder.linear_1.weight"][1],
        "ffn_dim": found["blocks.0.ffn.net.0.proj.weight"][0],
        "num_layers": _count(found, "blocks"),
    })  # fmt: skip


def _vae(found: Mapping[str, Shape], heads: int | None) -> AutoencoderKLWan:
    base, seen = found["encoder.conv_in.weight"][:2]
    channels = found["post_quant_conv.weight"][0]
    if channels != wan22.VAE["z_dim"]:
        raise ValueError(f"its latents have {channels} channels; accepted: {wan22.VAE['z_dim']}")
    levels = _count(found, "encoder.down_blocks")
    widths = [found[f"encoder.down_blocks.{level}.resnets.0.conv1.weight"][0] for level in range(levels)]
    patch = next(patch for patch in range(1, seen + 1) if 3 * patch * patch >= seen)
    in_time = [f"encoder.down_blocks.{level}.downsampler.time_conv.weight" in found for level in range(levels - 1)]
    return AutoencoderKLWan(**{
        **wan22.VAE,
        "base_dim": base,
        "decoder_base_dim": found["decoder.norm_out.gamma"][0],
        "dim_mult": [width // base for width in widths],
        "num_res_blocks": _count(found, "encoder.down_blocks.0.resnets"),
        "temperal_downsample": in_time,
        "in_channels": seen,
        "out_channels": found["decoder.conv_out.weight"][0],
        "patch_size": patch,
        "scale_factor_spatial": patch * 2 ** (levels - 1),
        "scale_factor_temporal": 2 ** sum(in_time),
    })  # fmt: skip


def _text_encoder(found: Mapping[str, Shape], heads: int | None) -> UMT5EncoderModel:
    words, dim = found["shared.weight"]
    buckets, own_heads = found["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
    return UMT5EncoderModel(UMT5Config(**{
        **wan22.TEXT_ENCODER,
        "vocab_size": words,
        "d_model": dim,
        "d_kv": found["encoder.block.0.layer.0.SelfAttention.q.weight"][0] // own_heads,
        "d_ff": found["encoder.block.0.layer.1.DenseReluDense.wi_0.weight"][0],
        "num_layers": _count(found, "encoder.block"),
        "num_heads": own_heads,
        "relative_attention_num_buckets": buckets,
    }))  # fmt: skip


def _count(found: Mapping[str, Shape], prefix: str) -> int:
    """How many numbered parts there are under a name; what is numbered otherwise than 0, 1, ... will not match."""
    depth = prefix.count(".") + 1
    return len({name.split(".")[depth] for name in found if name.startswith(f"{prefix}.")})


NETWORKS: dict[str, tuple[Callable[[str], str | None], Callable[[Mapping[str, Shape], int | None], Any]]] = {
    "transformer": (keys.transformer_name, _transformer),
    "vae": (keys.vae_name, _vae),
    "text_encoder": (keys.text_encoder_name, _text_encoder),
}
