"""The memories that a walk can be compared with, by the names that people type.

A comparison differs in this object and in nothing else: from each the denoiser sees latents on
the same grid and a mask. `T` latent frames, `C` latent channels, `h w` latent grid, `H W` pixels.
"""

from collections.abc import Callable

from mirage.conditioning import pixel_codec
from mirage.errors import InputError
from mirage.memory import LatentSpatialMemory, MemoryPolicy
from mirage.memory.baselines.frames import FrameMemory
from mirage.memory.baselines.nothing import NoMemory
from mirage.memory.baselines.rgb import RGBPointMemory
from mirage.memory.protocol import SpatialMemory
from mirage.models.world import WorldModel
from mirage.plugins import plugin, plugin_names

VOXEL = 0.02
"""Width of rgb-voxel's cubes in world units: about one pixel of a room, so that it loses little."""

MEMORIES: dict[str, Callable[[WorldModel], SpatialMemory]] = {
    "latent": lambda model: latent_memory(model, MemoryPolicy()),
    "rgb": lambda model: rgb_memory(model),
    "rgb-voxel": lambda model: rgb_memory(model, voxel=VOXEL),
    "frames": lambda model: FrameMemory(model.channels),
    "none": lambda model: NoMemory(model.channels),
}


def make_memory(name: str, model: WorldModel) -> SpatialMemory:
    """A new memory by name, where the model is: one of ours, or of a package that brings one (plugins.py)."""
    if name in MEMORIES:
        return MEMORIES[name](model)
    if name in (others := plugin_names("memories")):
        return plugin("memories", name)(model)
    raise InputError(f"no memory {name!r}; accepted: {', '.join([*MEMORIES, *others])}")


def latent_memory(model: WorldModel, policy: MemoryPolicy) -> LatentSpatialMemory:
    """Latents where they were seen."""
    return LatentSpatialMemory(model.channels, policy=policy, device=model.runs_on)


def rgb_memory(model: WorldModel, *, voxel: float | None = None) -> RGBPointMemory:
    """Pixels where they were seen, by the model's own autoencoder."""
    decode, encode = pixel_codec(model)
    return RGBPointMemory(model.channels, decode=decode, encode=encode, voxel=voxel, device=model.vae.device)
