"""Other people's checkpoints -> our layout: `convert` is all of it; read it first.

    Wan2.2-TI2V-5B/  diffusion_pytorch_model-0000*-of-*.safetensors   -> transformer/      a folder in diffusers layout,
                     Wan2.2_VAE.pth                                   -> vae/              which diffusers loads too
                     models_t5_umt5-xxl-enc-bf16.pth, google/umt5-xxl -> text_encoder/, tokenizer/
    a published side branch (vace_*)                                  -> branch.safetensors
    a LoRA (pipe.dit.*, PEFT)                                         -> lora.safetensors

Every tensor must have its place, by name and shape, in a network built from the file's own sizes on the meta device.
Weights go from file to file a shard at a time, so memory does not grow with the model.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoTokenizer, UMT5Config, UMT5EncoderModel

from mirage.errors import InputError
from mirage.files import check_writable, making
from mirage.models import wan22
from mirage.models.files import keys
from mirage.models.files.branchfile import BranchFile, read_branch, save_branch
from mirage.models.files.checkpoint import PICKLES, Checkpoint, Shape, check_tensors, one_line, open_checkpoint
from mirage.models.files.lorafile import LoraFile, read_lora, save_lora
from mirage.models.loading import quiet

SHARD_BYTES = 2 * 2**30
ONE_FILE = ".safetensors"


@dataclass(frozen=True)
class Network:
    """A network of Wan2.2 that was looked at and not read yet: on the meta device, and the names in its file."""

    part: nn.Module
    names: Mapping[str, str]
    weights: Checkpoint


Part = Network | BranchFile | LoraFile


def convert(
    source: str | Path,
    out: str | Path,
    *,
    dtype: torch.dtype | None = None,
    heads: int | None = None,
    alpha: float | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Path]:
    """Convert a file or folder and return what was written, by kind. `InputError` says what did not match.

    out        a .safetensors file for a branch or a LoRA alone; else a new folder. Whole or not at all.
    dtype      of the weights written; None: as they are stored
    heads      attention heads, where no config.json says so; None: one for every 128 channels, as in all of Wan
    alpha      of a LoRA, instead of what it says
    progress   called with how many weights are done, and of how many
    """
    source, out = Path(source), Path(out)
    parts, tokenizer = _looked_at(source, heads, alpha)
    total = sum(_numel(part, name) for part in parts.values() if isinstance(part, Network) for name in part.names)
    done = 0

    def show(added: int) -> None:
        nonlocal done
        done += added
        progress(done, total)

    if out.suffix == ONE_FILE:
        if len(parts) != 1 or isinstance(next(iter(parts.values())), Network):
            raise InputError(f"{source} holds {', '.join(parts)}; expected a folder as --out, got the file {out}")
        check_writable(out)
        ((kind, part),) = parts.items()
        _write(part, out, dtype, show)
        return {kind: out}
    with making(out) as folder:
        for kind, part in parts.items():
            _write(part, folder / (kind if isinstance(part, Network) else f"{kind}{ONE_FILE}"), dtype, show)
        if tokenizer is not None:
            with quiet():
                tokenizer.save_pretrained(folder / "tokenizer")
                UniPCMultistepScheduler(**wan22.SCHEDULER).save_pretrained(folder / "scheduler")
            index = {**wan22.INDEX, "tokenizer": ["transformers", type(tokenizer).__name__]}
            (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    return {kind: out / (kind if isinstance(part, Network) else f"{kind}{ONE_FILE}") for kind, part in parts.items()}


# -- what is there ----------------------------------------------------------------------------------------------------


def _looked_at(source: Path, heads: int | None, alpha: float | None) -> tuple[dict[str, Part], Any]:
    """The parts in a file or folder, by kind, and the tokenizer of a whole model."""
    if source.is_dir() and (source / "model_index.json").is_file():
        raise InputError(f"{source} is in diffusers layout already; give it to --model as it is")
    if source.is_dir() and any(_ends(file, PICKLES) for file in source.iterdir()):
        return _whole_model(source, heads)
    weights = open_checkpoint(source)
    kinds: dict[str, list[str]] = {}
    for name in weights.shapes:
        kinds.setdefault(_kind(keys.bare(name)), []).append(name)
    parts: dict[str, Part] = {}
    for kind, names in kinds.items():
        alone = Checkpoint(
            source, {name: weights.shapes[name] for name in names}, weights.dtypes, weights.metadata, weights.read
        )
        if kind == "branch":
            parts[kind] = read_branch(alone, heads=heads)
        elif kind == "lora":
            parts[kind] = read_lora(alone, alpha=alpha)
        elif kind in NETWORKS:
            parts[kind] = _network(kind, alone, heads)
        else:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            shown = ", ".join(f"{name} {list(weights.shapes[name])}" for name in sorted(names)[:3])
            raise InputError(f"{source} holds tensors of no network that is known here: {shown}{more}")
    if not parts:
        raise InputError(f"{source} holds no tensors")
    return parts, None


def _whole_model(folder: Path, heads: int | None) -> tuple[dict[str, Part], Any]:
    """The original release of Wan2.2-TI2V: all of its parts, or a list of what lacks."""
    weights = (*PICKLES, ONE_FILE)
    found = {
        "the transformer's shards": sorted(folder.glob("diffusion_pytorch_model*.safetensors")),
        "*VAE*.pth": [file for file in folder.iterdir() if "vae" in file.name.lower() and _ends(file, weights)],
        "*t5*.pth": [file for file in folder.iterdir() if "t5" in file.name.lower() and _ends(file, weights)],
        "google/*/tokenizer.json": sorted(folder.glob("google/*/tokenizer.json")),
    }
    lacking = [what for what, files in found.items() if not files]
    if lacking:
        raise InputError(f"{folder} is no whole Wan2.2 release: it lacks {', '.join(lacking)}")
    shards, vae, text, tokenizer = found.values()
    for what, files in list(found.items())[1:]:
        if len(files) > 1:
            raise InputError(f"{folder} has {len(files)} files for {what}; expected one")
    index = sorted(folder.glob("diffusion_pytorch_model*.index.json"))
    transformer = index[0] if index else (shards[0] if len(shards) == 1 else folder)
    opened = {"transformer": transformer, "vae": vae[0], "text_encoder": text[0]}
    parts: dict[str, Part] = {}
    for kind, path in opened.items():
        parts[kind] = _network(kind, open_checkpoint(path), heads or _said_heads(folder))
    try:
        with quiet():
            return parts, AutoTokenizer.from_pretrained(tokenizer[0].parent, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise InputError(f"the tokenizer in {tokenizer[0].parent} does not load: {one_line(error)}") from error


def _said_heads(folder: Path) -> int | None:
    """What the original config.json says; the weights do not."""
    file = folder / "config.json"
    try:
        heads = json.loads(file.read_text(encoding="utf-8")).get("num_heads") if file.is_file() else None
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{file} is no configuration: {one_line(error)}") from error
    if heads is not None and (type(heads) is not int or heads < 1):
        raise InputError(f"{file} says num_heads {str(heads)[:40]}; expected a whole number above 0")
    return heads


def _ends(file: Path, endings: tuple[str, ...]) -> bool:
    return file.name.endswith(endings)


def _kind(name: str) -> str:
    """Which network a bare name is of; "": none."""
    if name.startswith(("vace_blocks.", "vace_patch_embedding.")):
        return "branch"
    if keys.lora_part(name) is not None:
        return "lora"
    return next((kind for kind, (renamed, _) in NETWORKS.items() if renamed(name) is not None), "")


# -- the networks of Wan2.2 -------------------------------------------------------------------------------------------


def _network(kind: str, weights: Checkpoint, heads: int | None) -> Network:
    """The network on the meta device, of the sizes that the weights have; all of them named and placed."""
    renamed, build = NETWORKS[kind]
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


# -- writing ----------------------------------------------------------------------------------------------------------


def _write(part: Part, target: Path, dtype: torch.dtype | None, show: Callable[[int], None]) -> None:
    if isinstance(part, BranchFile):
        save_branch(target, part.build(dtype))
    elif isinstance(part, LoraFile):
        save_lora(target, part, dtype=dtype)
    else:
        _write_network(part, target, dtype, show)


def _write_network(network: Network, folder: Path, dtype: torch.dtype | None, show: Callable[[int], None]) -> None:
    """config.json and weights, in shards of at most SHARD_BYTES, one of them in memory at a time."""
    folder.mkdir()
    part: Any = network.part
    with quiet():
        (part.config.save_pretrained if isinstance(part, UMT5EncoderModel) else part.save_config)(folder)
    stem = "model" if isinstance(part, UMT5EncoderModel) else "diffusion_pytorch_model"
    kept = set(getattr(part, "_keep_in_fp32_modules", None) or ())

    def numbers(name: str) -> torch.dtype:
        stored = network.weights.dtypes[network.names[name]]
        return stored if dtype is None or kept & set(name.split(".")) else dtype

    shards: list[list[str]] = [[]]
    held = 0
    for name in sorted(network.names):
        count = _numel(network, name) * numbers(name).itemsize
        if shards[-1] and held + count > SHARD_BYTES:
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += count
    where: dict[str, str] = {}
    size = 0
    for number, names in enumerate(shards, start=1):
        file = f"{stem}.safetensors" if len(shards) == 1 else f"{stem}-{number:05d}-of-{len(shards):05d}.safetensors"
        state: dict[str, Tensor] = {}
        for name in names:
            state[name] = network.weights.read(network.names[name]).to(numbers(name)).contiguous()
            show(_numel(network, name))
        save_file(state, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(names, file)
        size += sum(value.nbytes for value in state.values())
    if len(shards) > 1:
        index = {"metadata": {"total_size": size}, "weight_map": where}
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def _numel(network: Network, name: str) -> int:
    return math.prod(network.weights.shapes[network.names[name]])
