"""What a memory accepts to write. `T` latent frames, `C` channels, `h w` latent grid."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mirage.errors import InputError, short
from mirage.geometry.camera import Camera, CameraLike
from mirage.geometry.depthmap import DepthLike, DepthMap
from mirage.geometry.pose import is_rigid
from mirage.memory.checked import check_write
from mirage.memory.policy import MemoryPolicy


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames to write: latents [T,C,h,w], depth [T,h,w], camera [T], and which cells may enter [T,h,w] bool. source:
    the same latents with their gradients, if somebody differentiates by them."""

    latents: Tensor
    depth: DepthMap
    camera: Camera
    admitted: Tensor
    source: Tensor | None


def frames_to_write(
    latents: Tensor,
    depth: DepthLike,
    camera: CameraLike,
    keep: Tensor | None,
    *,
    channels: int,
    policy: MemoryPolicy,
) -> Frames:
    """As many of each, on one grid, of numbers that may stay for good; `InputError` for others. One frame may come
    without its axis T. Gradients end here."""
    source, latents = latents if latents.requires_grad and torch.is_grad_enabled() else None, latents.detach()
    depth, camera = DepthMap.of(depth), Camera.of(camera, what="the camera of a write")
    if latents.ndim == 3 and not camera.shape and depth.z.ndim == 2:
        keep = None if keep is None else keep[None]
        latents, depth, camera = latents[None], depth[None], camera[None]
    elif not camera.shape and len(latents) == 1:
        camera = camera[None]
    check_write(latents, depth, camera, keep, channels=channels, policy=policy)
    admitted = depth.valid if keep is None else depth.valid & keep.to(depth.valid.device)
    source = None if source is None else source.view(latents.shape)
    if depth.z.requires_grad:
        depth = DepthMap(depth.z.detach(), depth.valid)
    if camera.c2w.requires_grad or camera.intrinsics.requires_grad:
        camera = Camera(camera.c2w.detach(), camera.intrinsics.detach())
    return Frames(latents, depth, camera, admitted, source)


def ids(rows: Tensor, count: int) -> Tensor:
    """Numbers [k] of some of `count` points."""
    whole = rows.ndim == 1 and rows.dtype in (torch.int32, torch.int64)
    if not whole or (len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < count):
        raise InputError(f"points are known by their ids [k], whole numbers from 0 to {count - 1}; got {short(rows)}")
    return rows


def rigid(pose: Tensor) -> Tensor:
    """A pose [4,4] that a world may be moved by."""
    if not is_rigid(pose):
        raise InputError(f"a memory is moved by a rigid pose [4,4], rotation and translation; got {short(pose)}")
    return pose


def views_to_read(camera: CameraLike, grid: tuple[int, int]) -> Camera:
    """Cameras [T] of a read; one camera [] is one view. `grid`: 1 or more each."""
    found = Camera.of(camera)
    if len(found.shape) > 1 or found.shape == (0,):
        raise InputError(f"a read takes cameras [T], 1 or more, or one [], got {list(found.shape)}")
    if min(grid) < 1 or math.prod(grid) > 2**24:
        raise InputError(
            f"a read of {grid[0]} x {grid[1]} cells (h, w); accepted: 1 or more each, at most 2**24 in all"
        )
    return found if found.shape else found[None]
