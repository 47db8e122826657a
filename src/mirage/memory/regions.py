"""Parts of a memory: a box, points one by one, or what a camera sees under a mask. `N` points, `T` cameras, `h w` grid.

memory.remove(((-1, -2, 2), (1, 0, 4)))             # the box between two corners, world units
memory.remove(memory.points.frame < 5)              # points, as bools [N]
memory.remove(mask, camera=camera)                  # the thing that this camera sees under the mask [h,w]
memory.remove(mask, camera=camera, thickness=0.2)   # and what lies behind its front by a fifth of its distance
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mirage.errors import InputError, check_number, short
from mirage.geometry.camera import Camera, CameraLike
from mirage.memory.accepted import views_to_read
from mirage.memory.points import PointColumns
from mirage.memory.readout import Readout

Corner = Sequence[float] | Tensor
Region = Tensor | tuple[Corner, Corner] | Callable[[Tensor], Tensor]
"""Bools [N], a box as its low and high corner, or a function of positions [N,3] that gives bools [N]."""


def inside(
    region: Region,
    points: PointColumns,
    read: Callable[[Camera, tuple[int, int]], Readout],
    *,
    camera: CameraLike | None,
    thickness: float | None,
    tolerance: float,
) -> Tensor:
    """Which points [N] of a memory lie in a region, or with a camera under a mask. read: what cameras [T] see of them
    on a grid (h, w); tolerance: up to which two depths are one surface."""
    if thickness is not None:
        check_number("the thickness of a thing", thickness, low=0.0, accepted="a share of its distance, 0 or more")
        if camera is None:
            raise InputError("a thickness is of a thing that a camera sees: give the camera too")
    if camera is None:
        return points_in(region, points)
    device = points.position.device
    views = views_to_read(camera, (1, 1)).to(device, torch.float32)
    mask = checked_mask(region, views).to(device)
    readout = read(views, (mask.shape[-2], mask.shape[-1]))
    return points_under(mask, views, points, readout, band=(tolerance, max(tolerance, thickness or 0.0)))


def of_positions(region: Region, position: Tensor) -> Region:
    """A function of positions [N,3] as what it says of them; any other region as it is."""
    return region(position) if callable(region) and not isinstance(region, Tensor | type) else region


def points_in(region: Region, points: PointColumns) -> Tensor:
    """Which points [N] lie in it."""
    region = of_positions(region, points.position)
    if isinstance(region, tuple):
        region = torch.stack([torch.as_tensor(corner, dtype=torch.float32) for corner in region])
    if isinstance(region, Tensor) and region.dtype == torch.bool and region.shape == (len(points),):
        return region.to(points.position.device)
    if not isinstance(region, Tensor) or region.shape != (2, 3) or region.dtype == torch.bool or region.is_complex():
        raise InputError(
            f"a region is {len(points)} bools, one a point, a box of two corners [2,3], or a function of positions "
            f"[N,3] that gives such bools; got {short(region)}"
        )
    low, high = region.to(points.position)
    if not bool((low <= high).all()):
        raise InputError(f"a box is its low corner and its high one, got {low.tolist()} and {high.tolist()}")
    return ((points.position >= low) & (points.position <= high)).all(-1)


def points_under(
    mask: Tensor, camera: Camera, points: PointColumns, readout: Readout, *, band: tuple[float, float]
) -> Tensor:
    """Which points [N] the cameras [T] see where their mask [T,h,w] is True: those that won there, and all others of
    the same thing: before and behind the depth that is seen by no more than the shares `band` of it."""
    t, h, w = mask.shape
    found = torch.zeros(len(points), dtype=torch.bool, device=points.position.device)
    winners = readout.index[mask & readout.mask]
    found[winners.to(found.device)] = True
    for view in range(t):
        uv, z = camera[view].project(points.position)
        inside = (z > 0) & (uv >= 0).all(-1) & (uv < 1).all(-1)
        row = (uv[:, 1] * h).nan_to_num(0, 0, 0).long().clamp(0, h - 1)
        column = (uv[:, 0] * w).nan_to_num(0, 0, 0).long().clamp(0, w - 1)
        seen = readout.depth.z[view].to(z)[row, column]
        there = (mask & readout.mask)[view].to(z.device)[row, column]
        found |= inside & there & (z >= (1 - band[0]) * seen) & (z <= (1 + band[1]) * seen)
    return found


def checked_mask(mask: object, camera: Camera) -> Tensor:
    """A mask [T,h,w] for cameras [T]; one of [h,w] is for one camera."""
    if not isinstance(mask, Tensor) or mask.ndim not in (2, 3) or mask.dtype not in (torch.bool, torch.uint8):
        raise InputError(f"a mask that a camera sees is bool [h,w] or [T,h,w], got {short(mask)}")
    mask = mask.bool() if mask.ndim == 3 else mask[None].bool()
    if len(mask) != len(camera) or 0 in mask.shape:
        raise InputError(f"a mask for each camera [T,h,w], got {list(mask.shape)} for {len(camera)}")
    return mask
