"""What may enter the memory: what stands still. A thing that moved would haunt the place where it stood.

`T` latent frames, `C` channels, `h w` latent grid. No model is asked; what moves gives itself away, to frames of the
same chunk and to what is remembered:

    seen through    another frame, or the memory, saw what lies behind this point: it was not there then
    changed         another frame sees the surface at this place, but it looks different
    part of it      a cell that continues such a cell, in the image or in a neighbouring frame, and looks like it

Somebody with a better eye (a segmenter, a painted video) gives a mask; it is added to what is found here.
"""

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.visibility import Sight, sight

_CHANGED = 0.7
"""Difference from all that surrounds the landing, in standard deviations of the chunk's latents, that is a change."""
_NOISE = 6.0
"""A change is also this many times the median difference: latents of one surface differ from frame to frame."""
_ALIKE, _JUMP = 0.9, 0.05
"""Neighbours continue each other if they differ less, in standard deviations and in relative depth."""
_GROWTH = 3
"""Rounds of growth, a cell and two frames each: more loses still cells faster than it finds moving ones."""


def static(latents: Tensor, depth: DepthMap, camera: Camera, *, remembered: DepthMap | None = None,
           moving: Tensor | None = None, tolerance: float = 0.05) -> Tensor:
    """Cells [T,h,w] of a chunk that may be written: bool, True where the depth is valid and nothing says it moves.

    latents [T,C,h,w], depth [T,h,w], camera [T]: the chunk.
    remembered: [T,h,w], the depth that the memory shows to these cameras, valid where it knows something.
    moving: [T,h,w] bool, cells that somebody else knows to move.
    tolerance: relative depth difference up to which two frames see one surface; above the noise of the depth.

    One frame alone says nothing about motion. What moves less than a cell within the chunk is not found.
    """
    for name, given in (("depth", depth), ("remembered", remembered), ("moving", moving)):
        if given is not None and given.shape != latents.shape[:1] + latents.shape[2:]:
            raise InputError(f"{name} is [T,h,w] like the latents {list(latents.shape)}, got {list(given.shape)}")
    if camera.shape != latents.shape[:1]:
        raise InputError(f"{len(latents)} latent frames have one camera each, got {list(camera.shape)}")
    look = latents.float() / latents.float().std((0, 2, 3), keepdim=True).clamp_min(1e-6)
    camera = camera.to(depth.z.device, depth.z.dtype)
    origin, direction = camera.rays((depth.shape[-2], depth.shape[-1]))
    points = (origin[:, None, None] + depth.z[..., None] * direction).flatten(1, 2)
    sights = [sight(points[t], camera, depth, tolerance=tolerance) for t in range(len(points))]

    moves = _seen_through(sights, depth) | _changed(sights, look)
    if remembered is not None:
        moves |= remembered.valid & (depth.z < remembered.z * (1 - tolerance))
    moves = moves if moving is None else moves | moving.to(moves.device)
    moves &= depth.valid
    for _ in range(_GROWTH):
        moves |= _beside(moves, look, depth)
        moves |= _carried(moves, look, sights)
        moves &= depth.valid
    return depth.valid & ~moves


def _seen_through(sights: list[Sight], depth: DepthMap) -> Tensor:
    return torch.stack([told.before.any(0).view(depth.shape[1:]) for told in sights])


def _changed(sights: list[Sight], look: Tensor) -> Tensor:
    """Where at least two other frames see the surface and it looks different there: [T,h,w]. What the four cells around
    a landing span is no difference, or every edge in a pattern would be one."""
    T, _, h, w = look.shape
    low, high = -_corners(-look), _corners(look)
    differences = look.new_full((T, T, h * w), torch.nan)
    for t, told in enumerate(sights):
        u, v = told.uv.nan_to_num(0, 0, 0).unbind(-1)
        corner = (v * h + 0.5).clamp(0, h).long() * (w + 1) + (u * w + 0.5).clamp(0, w).long()
        here = look[t].flatten(1)[None]
        below, above = (_gathered(bound, corner) for bound in (low, high))
        away = torch.maximum(below - here, here - above).clamp_min(0).square().mean(1).sqrt()
        differences[t] = torch.where(told.on, away, torch.nan)
        differences[t, t] = torch.nan
    usual = differences.nanmedian().nan_to_num(0.0).item()
    return ((differences > max(_CHANGED, _NOISE * usual)).sum(1) >= 2).view(T, h, w)


def _beside(moves: Tensor, look: Tensor, depth: DepthMap) -> Tensor:
    """Cells whose neighbour moves and which continue it."""
    found = torch.zeros_like(moves)
    for axis in (-2, -1):
        n = moves.shape[axis]
        first, second = slice(0, n - 1), slice(1, n)
        one, other = ((..., part, slice(None)) if axis == -2 else (..., part) for part in (first, second))
        alike = (look[one] - look[other]).square().mean(1).sqrt() < _ALIKE
        near = (depth.z[one] - depth.z[other]).abs() < _JUMP * torch.maximum(depth.z[one], depth.z[other])
        found[one] |= moves[other] & alike & near
        found[other] |= moves[one] & alike & near
    return found


def _carried(moves: Tensor, look: Tensor, sights: list[Sight]) -> Tensor:
    """Cells that most of the neighbouring frames, two to either side, which see them, see among what moves."""
    T, _, h, w = look.shape
    votes, seen = torch.zeros_like(moves, dtype=torch.int32), torch.zeros_like(moves, dtype=torch.int32)
    for t, told in enumerate(sights):
        near = [s for s in range(max(t - 2, 0), min(t + 3, T)) if s != t]
        u, v = told.uv[near].nan_to_num(0, 0, 0).unbind(-1)
        cell = (v * h).clamp(0, h - 1).long() * w + (u * w).clamp(0, w - 1).long()
        there = _gathered(look[near], cell)
        same = told.on[near] & ((there - look[t].flatten(1)).square().mean(1).sqrt() < _ALIKE)
        votes[t] = (same & moves[near].flatten(1).gather(1, cell)).sum(0).view(h, w)
        seen[t] = same.sum(0).view(h, w)
    return 2 * votes > seen


def _gathered(values: Tensor, index: Tensor) -> Tensor:
    """Values [S,C,a,b] at flat places [S,N]: [S,C,N]."""
    return values.flatten(2).gather(2, index[:, None].expand(-1, values.shape[1], -1))


def _corners(values: Tensor) -> Tensor:
    """Largest of the cells around each corner of the grid: [T,C,h,w] -> [T,C,h+1,w+1]."""
    return torch.nn.functional.max_pool2d(values, 2, stride=1, padding=1)
