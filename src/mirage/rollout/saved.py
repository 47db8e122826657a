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
from mirage.geometry.camera import Camera, check_cameras
from mirage.geometry.depthmap import DepthMap
from mirage.kinds import Brief
from mirage.memory import LatentSpatialMemory
from mirage.memory.worldfile import load_world, save_world
from mirage.rollout.history import History
from mirage.rollout.settings import Settings


@dataclass(frozen=True, eq=False, repr=False)
class Saved(Brief):
    """What a walk is when nobody walks it; `beside`: tensors that somebody keeps with it, by any name."""

    memory: LatentSpatialMemory
    history: History
    prompt: str
    seed: int
    index: int
    settings: Settings
    beside: Mapping[str, Tensor] = field(default_factory=dict)


_BESIDE = "beside."


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
    tensors |= {_BESIDE + name: tensor for name, tensor in saved.beside.items()}
    extra = {
        "prompt": saved.prompt,
        "seed": saved.seed,
        "index": saved.index,
        "settings": saved.settings.stored(),
    }
    save_world(path, saved.memory, extra_tensors=tensors, extra=extra)


def load_session(path: str | os.PathLike[str], *, device: torch.device, channels: int) -> Saved:
    """Read it for a model of latents of so many `channels`; what is wrong with it is an `InputError` of one line."""
    memory, tensors, extra = load_world(path, device=device)
    source = os.fspath(path)
    if memory.channels != channels:
        raise InputError(f"{source} holds latents of {memory.channels} channels, the model has {channels}")
    beside = {name.removeprefix(_BESIDE): tensors.pop(name) for name in list(tensors) if name.startswith(_BESIDE)}
    history = _history(tensors, extra, source)
    if not isinstance(extra["prompt"], str):
        raise InputError(f"{source}: its prompt is {type(extra['prompt']).__name__}; expected text")
    seed = check_number(f"{source}: its seed", extra["seed"], kind=int, low=-(2**63), high=2**63 - 1)
    index = check_number(f"{source}: its number of chunks", extra["index"], kind=int, low=0, high=2**31)
    settings = Settings.from_stored(extra["settings"], source=source)
    return Saved(memory, history, extra["prompt"], seed, index, settings, beside)


def _history(tensors: dict[str, Tensor], extra: Any, source: str) -> History:
    expected = {"latents", "depth", "valid", "c2w", "intrinsics", "number"}
    values = {"prompt", "seed", "index", "settings"}
    if tensors.keys() != expected or not isinstance(extra, dict) or extra.keys() != values:
        raise InputError(f"{source} holds a memory but no session: expected {', '.join(sorted(expected))} beside it")
    count, grid = len(tensors["latents"]), tensors["latents"].shape[-2:]
    if tensors["depth"].shape != (count, *grid) or tensors["number"].shape != (count,) or count == 0:
        raise InputError(f"{source}: its {count} latents, their depth and their numbers do not fit together")
    camera = Camera(tensors["c2w"].cpu(), tensors["intrinsics"].cpu())
    if camera.shape != (count,):
        raise InputError(f"{source}: it has {count} latents and cameras {list(camera.shape)}; expected one each")
    check_cameras(camera, source=source)  # and taken as they are: made orthonormal anew, the walk would go on elsewhere
    return History(tensors["latents"], DepthMap(tensors["depth"], tensors["valid"]), camera, tensors["number"].cpu())
