"""What a memory accepts to write. `T` latent frames, `C` channels, `h w` latent grid."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mirage.errors import InputError, short
from mirage.geometry.camera import Camera, CameraLike
from mirage.geometry.depthmap import DepthLike, DepthMap


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames to write: latents [T,C,h,w], depth [T,h,w], camera [T], and which cells may enter [T,h,w] bool."""

    latents: Tensor
    depth: DepthMap
    camera: Camera
    admitted: Tensor


def frames_to_write(
    latents: Tensor, depth: DepthLike, camera: CameraLike, keep: Tensor | None, *, channels: int
) -> Frames:
    """As many of each, on one grid, of numbers that may stay for good; `InputError` for others. One frame may come
    without its axis T. Gradients end here."""
    latents, depth, camera = latents.detach(), DepthMap.of(depth), Camera.of(camera)
    if not latents.is_floating_point():
        raise InputError(f"latents are floating point [T,{channels},h,w], got {short(latents)}")
    if latents.ndim == 3 and not camera.shape and depth.z.ndim == 2:
        keep = None if keep is None else keep[None]
        latents, depth, camera = latents[None], depth[None], camera[None]
    elif not camera.shape and len(latents) == 1:
        camera = camera[None]
    expected = (latents.shape[0], channels, *depth.shape[-2:]) if latents.ndim else ()
    if latents.shape != expected or depth.shape[:-2] != latents.shape[:1] or 0 in latents.shape[1:]:
        raise InputError(
            f"a write takes latents [T,{channels},h,w] and depth [T,h,w] on the same grid, "
            f"got {list(latents.shape)} and {list(depth.shape)}; see DepthMap.resized"
        )
    if camera.shape != latents.shape[:1]:
        raise InputError(f"a write takes one camera per latent frame, got {list(camera.shape)} for {len(latents)}")
    if keep is not None and (keep.shape != depth.shape or keep.dtype != torch.bool):
        raise InputError(f"keep is bool, of the shape of the depth {list(depth.shape)}; got {short(keep)}")
    z, valid = depth.z.detach(), depth.valid
    admitted = valid if keep is None else valid & keep.to(valid.device)
    return Frames(latents, DepthMap(z, valid), camera.to(camera.c2w.detach()), admitted)


def check_room(frames: Frames, *, features: str, room: float, max_bytes: int | None) -> None:
    """They can be kept: finite, within the range of the kind that is kept, and one frame fits in."""
    latents, depth = frames.latents, frames.depth
    largest = max(abs(bound.item()) for bound in latents.aminmax()) if latents.numel() else 0.0
    if not math.isfinite(largest):
        raise InputError("the latents have NaN or infinite numbers; they would stay in the memory for good")
    if features == "float16" and largest > 65504:
        raise InputError(f'the latents reach {largest:g} and float16 ends at 65504; use features="float32"')
    if math.prod(depth.shape[-2:]) > room:
        raise InputError(
            f"one frame has {math.prod(depth.shape[-2:])} cells and a memory of "
            f"{max_bytes} bytes holds {room} points; give it a larger budget"
        )


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
