"""What many tests need: stand-ins of a few lines. `T` latent frames, `h w` latent grid."""

from collections.abc import Callable

import torch
from torch import Tensor

from mirage.depth.protocol import Views
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.models.files.keys import transformer_name


def wall(views: Views) -> DepthMap:
    """A depth estimator for any random model: every view sees a wall two units away, [T,h,w]."""
    return walls(len(views.latents), views.grid)


def walls(count: int, grid: tuple[int, int], z: float = 2.0) -> DepthMap:
    """That wall, seen `count` times."""
    return DepthMap(torch.full((count, *grid), z))


def renamed(name: str, ours: Callable[[str], str | None] = transformer_name) -> str:
    """A tensor's published name in our layout; of one that has a place there."""
    found = ours(name)
    assert found is not None, name
    return found


def views_of(frames: Tensor, camera: Camera, number: Tensor) -> Views:
    """Frames [T,3,H,W] of somebody's video, as depth is asked of them; their latents are of no interest."""
    return Views(torch.zeros(len(frames), 1, 2, 3), camera, number, False, lambda: frames)
