"""The memories that a walk can be compared with, by the names that people type.

A comparison differs in this object and in nothing else: from each the denoiser sees latents on
the same grid and a mask. `T` latent frames, `C` latent channels, `h w` latent grid, `H W` pixels.
"""

from collections.abc import Callable

from mirage.conditioning import pixel_codec
from mirage.errors import InputError
from mirage.memory import LatentSpatialMemory, MemoryPolicy
from mirage.memory.frames import FrameMemory
from mirage.memory.protocol import NoMemory, SpatialMemory
from mirage.memory.rgb import RGBPointMemory
from mirage.models.world import WorldModel

VOXEL = 0.02
"""Width of rgb-voxel's cubes in world units: about one pixel of a room, so that it loses little."""

MEMORIES: dict[str, Callable[[WorldModel], SpatialMemory]] = {
    "latent": lambda world: latent_memory(world, MemoryPolicy()),
    "rgb": lambda world: rgb_memory(world),
    "rgb-voxel": lambda world: rgb_memory(world, voxel=VOXEL),
    "frames": lambda world: FrameMemory(world.channels),
    "none": lambda world: NoMemory(world.channels),
}


def make_memory(name: str, world: WorldModel) -> SpatialMemory:
    """A new memory by name, where the model is."""
    if name not in MEMORIES:
        raise InputError(f"no memory {name!r}; accepted: {', '.join(MEMORIES)}")
    return MEMORIES[name](world)


def latent_memory(world: WorldModel, policy: MemoryPolicy) -> LatentSpatialMemory:
    """Latents where they were seen."""
    return LatentSpatialMemory(world.channels, policy=policy, device=world.vae.device)


def rgb_memory(world: WorldModel, *, voxel: float | None = None) -> RGBPointMemory:
    """Pixels where they were seen, by the model's own autoencoder."""
    decode, encode = pixel_codec(world)
    return RGBPointMemory(world.channels, decode=decode, encode=encode, voxel=voxel, device=world.vae.device)
