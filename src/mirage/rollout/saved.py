"""A session in a world file: what is beside the memory in it, and how it is looked at before it is believed.

`J` kept latent frames, `C` latent channels, `h w` latent grid.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mirage.errors import InputError, check_number
from mirage.geometry.camera import Camera, require_cameras
from mirage.geometry.depthmap import DepthMap
from mirage.kinds import Brief
from mirage.memory import LatentSpatialMemory
from mirage.memory.checked import MOST_FRAMES, require, require_finite
from mirage.memory.worldfile import load_world, save_world
from mirage.models.fingerprint import same_autoencoder
from mirage.rollout.history import History
from mirage.rollout.settings import Settings
from mirage.rollout.state import checked_prompt


@dataclass(frozen=True, eq=False, repr=False)
class Saved(Brief):
    """What a walk is when nobody walks it. `autoencoder`: the fingerprint of the one that made its latents, None in
    files older than that; `beside`: tensors that somebody keeps with it, by any name."""

    memory: LatentSpatialMemory
    history: History
    prompt: str
    seed: int
    index: int
    settings: Settings
    autoencoder: Tensor | None = None
    beside: Mapping[str, Tensor] = field(default_factory=dict)


_BESIDE = "beside."
ACCEPTED = "accepted: the model that made them, or one with its autoencoder"
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def save_session(path: str | os.PathLike[str], saved: Saved) -> None:
    """Write the world file, whole or not at all."""
    past = saved.history
    tensors = {
        "latents": past.latents,
        "depth": past.depth.z,
        "valid": past.depth.valid,
        "c2w": past.camera.c2w,
        "intrinsics": past.camera.intrinsics,
        "number": past.number,
    }
    if saved.autoencoder is not None:
        tensors["autoencoder"] = saved.autoencoder
    tensors |= {_BESIDE + name: tensor for name, tensor in saved.beside.items()}
    extra = {
        "prompt": saved.prompt,
        "seed": saved.seed,
        "index": saved.index,
        "settings": saved.settings.stored(),
    }
    save_world(path, saved.memory, extra_tensors=tensors, extra=extra)


def load_session(
    path: str | os.PathLike[str], *, device: torch.device, channels: int, autoencoder: Tensor | None = None
) -> Saved:
    """Read it for a model of so many latent `channels`, whose autoencoder has that fingerprint.

    Raises `InputError` that says in one line what is wrong with it.
    """
    memory, tensors, extra = load_world(path, device=device)
    source = os.fspath(path)
    if memory.channels != channels:
        raise InputError(
            f"{source} holds latents of another autoencoder than the model's, {memory.channels} channels and not "
            f"{channels}; {ACCEPTED}"
        )
    beside = {name.removeprefix(_BESIDE): tensors.pop(name) for name in list(tensors) if name.startswith(_BESIDE)}
    its = tensors.pop("autoencoder", None)
    if its is not None and autoencoder is not None and not same_autoencoder(its, autoencoder):
        raise InputError(f"{source} holds latents of another autoencoder than the model's; {ACCEPTED}")
    history = _history(tensors, extra, source, channels=channels)
    prompt = checked_prompt(extra["prompt"], what=f"{source}: its prompt")
    seed = check_number(f"{source}: its seed", extra["seed"], kind=int, low=-(2**63), high=2**63 - 1)
    index = check_number(f"{source}: its number of chunks", extra["index"], kind=int, low=0, high=2**31)
    settings = Settings.from_stored(extra["settings"], source=source)
    return Saved(memory, history, prompt, seed, index, settings, its, beside)


def _history(tensors: dict[str, Tensor], extra: Any, source: str, *, channels: int) -> History:
    """The kept frames, once every number of them is what a walk could have left."""
    names, values = (
        {"latents", "depth", "valid", "c2w", "intrinsics", "number"},
        {"prompt", "seed", "index", "settings"},
    )
    if tensors.keys() != names or extra.keys() != values:
        raise InputError(f"{source} holds a memory but no session: expected {', '.join(sorted(names))} beside it")
    latents = tensors["latents"]
    if latents.ndim != 4 or latents.shape[1] != channels or 0 in latents.shape:
        raise InputError(f"{source} holds latents {list(latents.shape)}; expected [J,{channels},h,w]")
    count, grid = len(latents), latents.shape[-2:]
    expected: dict[str, tuple[tuple[torch.dtype, ...], tuple[int, ...]]] = {
        "latents": (_FLOATS, latents.shape),
        "depth": (_FLOATS, (count, *grid)),
        "valid": ((torch.bool,), (count, *grid)),
        "c2w": (_FLOATS[:1], (count, 4, 4)),
        "intrinsics": (_FLOATS[:1], (count, 4)),
        "number": ((torch.int64,), (count,)),
    }
    for name, (dtypes, shape) in expected.items():
        its = tensors[name]
        require(
            its.dtype in dtypes and its.shape == shape,
            source,
            f"holds {name} as {its.dtype} {list(its.shape)}; expected {' or '.join(map(str, dtypes))} {list(shape)}",
        )
    require_finite(latents, source, "latents")
    camera, number = Camera(tensors["c2w"].cpu(), tensors["intrinsics"].cpu()), tensors["number"].cpu()
    require_cameras(camera, source=source)
    rising = int(number[0]) >= 0 and int(number[-1]) <= MOST_FRAMES and bool((number.diff() > 0).all())
    require(rising, source, f"numbers its latents other than rising, from 0 to at most {MOST_FRAMES}")
    return History(latents, DepthMap(tensors["depth"], tensors["valid"]), camera, number)
