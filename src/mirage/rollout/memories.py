"""The memories that a walk can be compared with, by the names that people type.

A comparison differs in this object and in nothing else: from each the denoiser sees latents on
the same grid and a mask. `T` latent frames, `C` latent channels, `h w` latent grid, `H W` pixels.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.memory import LatentSpatialMemory, MemoryPolicy
from mirage.memory.frames import FrameMemory
from mirage.memory.protocol import NoMemory, SpatialMemory
from mirage.memory.rgb import Decode, Encode, RGBPointMemory
from mirage.models.codec import FRAMES, StreamDecoder
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
    decode, encode = codec(world)
    return RGBPointMemory(world.channels, decode=decode, encode=encode, voxel=voxel, device=world.vae.device)


def codec(world: WorldModel) -> tuple[Decode, Encode]:
    """A model's autoencoder as the two callables of `RGBPointMemory`."""

    def decode(latents: Tensor, state: StreamDecoder | None) -> tuple[Tensor, StreamDecoder]:
        decoder = world.decoder() if state is None else state.copy()
        frames = decoder.decode(latents)
        # the first latent of a stream is one frame; a later one is four, and stands at the last of them
        return frames[(len(frames) - 1) % FRAMES :: FRAMES], decoder

    def encode(frames: Tensor) -> Tensor:
        return torch.cat([world.encode(frame[None]) for frame in frames])

    return decode, encode
