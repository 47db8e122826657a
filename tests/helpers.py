"""What many tests need: stand-ins of a few lines. `T` latent frames, `h w` latent grid."""

import torch

from mirage.depth.protocol import Views
from mirage.geometry.depthmap import DepthMap


def wall(views: Views) -> DepthMap:
    """A depth estimator for any random model: every view sees a wall two units away, [T,h,w]."""
    return walls(len(views.latents), views.grid)


def walls(count: int, grid: tuple[int, int], z: float = 2.0) -> DepthMap:
    """That wall, seen `count` times."""
    return DepthMap(torch.full((count, *grid), z))
