"""Loading a world model: by name, from a folder, or from the hub; whole, or not at all.

Everything that a file can lack is looked at here and said in one line; the libraries below would warn and fill it at
random.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from logging import CRITICAL
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers.utils import logging as transformers_logging

from mirage.errors import InputError
from mirage.formats.source import read_object
from mirage.kinds import checked
from mirage.models.codec import Tiles
from mirage.models.files.branchfile import check_backbone, load_branch
from mirage.models.files.checkpoint import one_line
from mirage.models.files.index import ModelIndex, look_first
from mirage.models.files.loras import Given, attach_loras, check_loras, read_loras
from mirage.models.fitting.offload import Offload, check_offload, place
from mirage.models.fitting.quantize import Quantize, check_quantize, quantization
from mirage.models.fold import fold_time
from mirage.models.grouped import GroupedAutoencoder
from mirage.models.wan22 import PUBLISHED_SAMPLING
from mirage.models.world import WorldModel, check_prediction

BUNDLED = {"mini": Path(__file__).parent / "mini"}
NEEDED = {"vae", "transformer", "text_encoder", "tokenizer", "scheduler"}


@checked
def load_world_model(
    name_or_path: str | Path,
    *,
    branch: str | Path | None = None,
    lora: Given = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    quantize: Quantize = "none",
    offload: Offload = "none",
    tile: int | None = None,
) -> WorldModel:
    """A world model by name ("mini"), from a folder, or from the Hugging Face hub ("owner/name"). Safetensors only.

    branch     a file with a memory branch, ours or as published, in place of the model's own
    lora       LoRAs of the transformer: a file, or several, each with its strength (`LoraSpec`, or "FILE:STRENGTH")
    dtype      None: bfloat16 on a GPU, and on a CPU that computes in it for a `GroupedAutoencoder`; else float32
    quantize   weights of fewer bits, see `mirage.models.fitting.quantize`
    offload    where the networks lie when they do not run, see `mirage.models.fitting.offload`
    tile       decode frames in tiles of about that many pixels, see `Tiles`; None: whole
    Only a hub id touches the network. What can not be loaded is an `InputError` of one line.
    """
    device = torch.device(device or "cpu")
    check_quantize(quantize, device=device)
    check_offload(offload, device=device)
    # before gigabytes are read or fetched
    index = look_first(BUNDLED.get(str(name_or_path), name_or_path))
    if branch is not None and not Path(branch).expanduser().exists():
        raise InputError(f"no branch at {branch}: no such file or folder")
    loras = read_loras(lora, branch=branch)
    folder = _folder(name_or_path)
    stored = _check_files(folder)
    check_loras(loras, folder)
    if dtype is None:
        dtype = torch.bfloat16 if device.type == "cuda" or _quick_in_bfloat16(index) else torch.float32
    try:
        with quiet():
            model = WorldModel.from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                quantization_config=quantization(quantize, set(stored), dtype=dtype),
                **({} if index is None else index.replaced()),
            )
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, ImportError) as error:
        raise InputError(f"model {folder} does not load: {one_line(error)}") from error
    for name, part in model.components.items():
        if isinstance(part, nn.Module):
            missing = _missing(part, stored[name])
            if missing:
                raise InputError(f"model {folder}: {name} lacks {len(missing)} weights, the first one {missing[0]}")
    check_fit(model, folder)
    if branch is not None:
        model.register_modules(memory_branch=load_branch(branch, model.transformer))
        check_prediction(model.memory_branch, model.prediction)
        if model.memory_branch is not None and model.memory_branch.published:
            model.register_to_config(**PUBLISHED_SAMPLING)
    attach_loras(loras, model.transformer)
    if device.type == "cpu":
        fold_time(model.vae)
    model.offload, model.tiles = offload, None if tile is None else Tiles.of(tile, model.stride)
    place({name: part for name, part in model.components.items() if isinstance(part, nn.Module)},
          offload=offload, device=device)  # fmt: skip
    return model.eval()


def _quick_in_bfloat16(index: ModelIndex | None) -> bool:
    """Whether this processor has instructions for bfloat16, and the model no convolutions in three dimensions: oneDNN's
    are wrong in it on some (see `mirage.models.transformer.embedded`), and Wan's autoencoders are made of them."""
    if index is None or index.components.get("vae") != GroupedAutoencoder.__name__:
        return False
    its = getattr(torch.cpu, "get_capabilities", dict)()  # which older ones do not have
    return bool(its.get("avx512_bf16") or its.get("amx_bf16"))


def _folder(name_or_path: str | Path) -> Path:
    """Where the model lies on this machine, fetched from the hub if that is where it is."""
    name = str(name_or_path)
    if name in BUNDLED:
        if not (BUNDLED[name] / "model_index.json").is_file():
            raise InputError(f"the bundled model {name!r} is not installed: no model_index.json in {BUNDLED[name]}")
        return BUNDLED[name]
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    known = f"accepted: {', '.join(BUNDLED)}, a folder in diffusers layout, or a hub id owner/name"
    hub_like = re.fullmatch(r"\w[\w.-]*/[\w.-]+", name) and not isinstance(name_or_path, Path)
    if path.exists() or not hub_like:
        raise InputError(f"no model {name!r}; {known}")
    try:
        # weights and tables only: neither pickles nor code come down
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.model", "*.txt"]))
    except (OSError, ValueError) as error:
        raise InputError(f"no model {name!r}; {known} ({one_line(error)})") from error


def _check_files(folder: Path) -> dict[str, set[str]]:
    """Every component named in model_index.json is there, and every weight file is whole: the weights of each."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise InputError(f"model {folder} has no model_index.json; accepted: a folder in diffusers layout")
    parts = read_object(index, accepts="the index of a model in diffusers layout")
    present = {name for name, value in parts.items() if isinstance(value, list) and value and value[0] is not None}
    if lacking := sorted(NEEDED - present):
        raise InputError(f"model {folder} names no {', '.join(lacking)} in model_index.json; all of them are needed")
    stored: dict[str, set[str]] = {}
    for name in sorted((NEEDED | set(WorldModel._optional_components)) & present):
        files = sorted((folder / name).glob("*.safetensors"))
        if not files and name not in ("tokenizer", "scheduler"):
            raise InputError(f"model {folder}: {name} has no .safetensors file; other formats are not read")
        stored[name] = set()
        for file in files:
            try:
                with safe_open(file, framework="pt") as weights:
                    stored[name] |= set(weights.keys())
            except (SafetensorError, OSError) as error:
                raise InputError(f"model {folder}: {name}/{file.name} is damaged ({one_line(error)})") from error
    return stored


def _missing(part: nn.Module, stored: set[str]) -> list[str]:
    """Weights of a network that no file gave: neither by their own name nor by that of a tied twin.

    Asked after loading, because the libraries fill such weights at random, with no more than a warning.
    """
    state = {**dict(part.named_parameters()), **dict(part.named_buffers())}
    persistent = part.state_dict(keep_vars=True).keys()  # and what a quantised weight adds to itself
    state = {name: value for name, value in state.items() if name in persistent}
    given = {id(value) for name, value in state.items() if name in stored}
    return [name for name, value in state.items() if name not in stored and id(value) not in given]


def check_fit(model: WorldModel, folder: Path) -> None:
    """The networks of a folder are for each other, or `InputError`: each loads by itself, and strangers would fail
    only as they run."""
    vae: Any = model.vae.config
    transformer: Any = model.transformer.config
    widths = {
        "channels of the vae's latents": (vae.z_dim, transformer.in_channels),
        "channels of the text_encoder": (model.text_encoder.config.d_model, transformer.text_dim),
    }
    for what, (its, expected) in widths.items():
        if its != expected:
            raise InputError(f"model {folder}: {what} are {its} and the transformer takes {expected}")
    if model.memory_branch is not None:
        check_backbone(dict(model.memory_branch.config), model.transformer, source=folder / "memory_branch")
    if model.depth_head is not None and (its := dict(model.depth_head.config)["channels"]) != vae.z_dim:
        raise InputError(f"model {folder}: depth_head takes {its} latent channels and the vae has {vae.z_dim}")


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no warnings of the libraries while loading: what matters is checked here and said once."""
    libraries: list[Any] = [diffusers_logging, transformers_logging]
    before = [(library.is_progress_bar_enabled(), library.get_verbosity()) for library in libraries]
    for library in libraries:
        library.disable_progress_bar()
        library.set_verbosity(CRITICAL)  # an error is raised too, and said by whoever catches it
    try:
        yield
    finally:
        for library, (bars, verbosity) in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)
            if bars:
                library.enable_progress_bar()
