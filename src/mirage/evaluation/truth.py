"""The truth of a walk through a held-out scene, and which of it was seen before.

`F` video frames, `T` latent frames after the first (latent k covers frames 4k-3..4k), `H W` pixels, `h w` latent grid.

    seen        pixels that, by the truth, an earlier chunk's views showed: the same pixels for every memory
    return      the end of the path, where it is the pose it began in; `visits`: every time that it comes back to it
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from einops import repeat
from torch import Tensor

from mirage.chunks import TIME_STRIDE, latent_count
from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.pose import rotation_angle
from mirage.memory import LatentSpatialMemory
from mirage.scenes import HELD_OUT, Scene


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """A walk as it truly is: `frames` [F,3,H,W] in [0, 1], `depth` [1+T,H,W] of frames 0, 4, 8, ..., `path` [F]."""

    seed: int
    kind: str
    caption: str
    frames: Tensor
    depth: DepthMap
    path: Camera

    @classmethod
    def sample(cls, seed: int, kind: str, *, frames: int, size: tuple[int, int], moving: bool = False) -> "GroundTruth":
        """The scene of a held-out seed."""
        if not 0 <= seed < HELD_OUT:
            raise InputError(f"held-out scenes have seeds 0 to {HELD_OUT - 1}, never trained on; got {seed}")
        scene = Scene.sample(seed, moving=moving)
        return cls.of(scene, kind, scene.path(kind, frames, seed=seed), size=size)

    @classmethod
    def of(cls, scene: Scene, kind: str, path: Camera, *, size: tuple[int, int]) -> "GroundTruth":
        """A scene as it is seen along a path."""
        view = scene.render(path, size)
        return cls(scene.seed, kind, scene.caption, view.rgb, view.depth[::TIME_STRIDE], path)


def returned(path: Camera, *, metres: float = 0.05, degrees: float = 2.0) -> Tensor:
    """Numbers of those of the last latent's frames that stand in the pose of frame 0; none on a path that does not
    come back."""
    last = torch.arange(max(1, len(path) - TIME_STRIDE), len(path))
    return last[_at_start(path[last], path[0], metres, degrees)]


def visits(path: Camera, *, metres: float = 0.05, degrees: float = 2.0) -> list[Tensor]:
    """Numbers of the frames of each return to the pose of frame 0, after having been away from it."""
    there = _at_start(path, path[0], metres, degrees).tolist()
    groups = [list(group) for back, group in groupby(range(len(there)), key=there.__getitem__) if back]
    return [torch.tensor(group) for group in groups[1:]]


def seen_pixels(truth: GroundTruth, grid: tuple[int, int], *, chunk_frames: int) -> Tensor:
    """bool [F-1,H,W] for frames 1..: the pixels of `seen_cells`."""
    return to_pixels(seen_cells(truth, grid, chunk_frames=chunk_frames), truth.frames.shape[-2:])


def seen_cells(truth: GroundTruth, grid: tuple[int, int], *, chunk_frames: int) -> Tensor:
    """bool [T,h,w] for latents 1..: shown by a true view of an earlier chunk (or by the first image), occlusion
    included; judged per cell of the latent `grid` with true depth and poses."""
    stations = truth.path[::TIME_STRIDE]
    depth = truth.depth.resized(grid)
    memory = LatentSpatialMemory(1)
    memory.write(torch.zeros(1, 1, *grid), depth[:1], stations[:1])
    masks = []
    per_chunk = latent_count(chunk_frames) - 1
    for start in range(1, len(stations), per_chunk):
        part = slice(start, start + per_chunk)
        masks.append(memory.read(stations[part], grid).mask)
        memory.write(torch.zeros(len(stations[part]), 1, *grid), depth[part], stations[part])
    return torch.cat(masks)


def to_pixels(mask: Tensor, size: Sequence[int]) -> Tensor:
    """Latent cells [T,h,w] -> pixels of their four frames [4T,H,W]; `size` is (H, W)."""
    height, width = size
    rows = torch.arange(height) * mask.shape[-2] // height
    columns = torch.arange(width) * mask.shape[-1] // width
    return repeat(mask[:, rows[:, None], columns], "t h w -> (t s) h w", s=TIME_STRIDE)


def _at_start(path: Camera, start: Camera, metres: float, degrees: float) -> Tensor:
    """bool [F]: stands in the pose `start` []."""
    apart = (path.center - start.center).norm(dim=-1)
    turned = rotation_angle(start.c2w[:3, :3].T @ path.c2w[:, :3, :3])
    return (apart <= metres) & (turned <= degrees)
