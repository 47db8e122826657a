"""Which cameras saw a point: on the surface they saw, hidden behind it, or in the air before it.

`J` cameras with a depth map each, `N` points, `h w` grid. A depth map holds one depth per cell; between the centres of
the four cells around a landing the surface lies between their depths, so those four bound it. That keeps a floor seen
at a grazing angle visible, where the depth of the one nearest cell would be off by more than any tolerance.

        eye -->  . before  |. on  . behind        "before": the camera looked through the point to what lies behind it,
                           | surface              so when that camera looked, the point was not there
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.kinds import Brief


@dataclass(frozen=True, eq=False, repr=False)
class Sight(Brief):
    """What each of J cameras says of each of N points; bool [J,N], all False where a camera has nothing to say (the
    point is outside its view or behind it, or no depth is valid there).

    `uv` [J,N,2]: where the point lands in the unit square; meaningless where nothing is said.
    """

    on: Tensor
    before: Tensor
    behind: Tensor
    uv: Tensor


def sight(points: Tensor, camera: Camera, depth: DepthMap, *, tolerance: float = 0.05) -> Sight:
    """Compare world points [N,3], or other ones for each camera [J,N,3], with the depth maps [J,h,w] of cameras [J].

    `tolerance`: relative difference in depth up to which a point lies on the surface.
    """
    uv, z = camera.project(points)
    h, w = depth.shape[-2:]
    low = _corners(torch.where(depth.valid, -depth.z, -torch.inf)).neg()
    high = _corners(torch.where(depth.valid, depth.z, -torch.inf))
    u, v = uv[..., 0].contiguous(), uv[..., 1].contiguous()
    said = (z > 0) & (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1)
    # corner (i, j) of the padded grid lies between cells i - 1 and i
    corner = (v * h + 0.5).clamp(0, h).long() * (w + 1) + (u * w + 0.5).clamp(0, w).long()
    low, high = (bound.flatten(-2).gather(-1, corner) for bound in (low, high))
    said &= high > 0
    before = said & (z < low * (1 - tolerance))
    behind = said & (z > high * (1 + tolerance))
    return Sight(said & ~before & ~behind, before, behind, uv)


def looked_through(points: Tensor, camera: Camera, depth: DepthMap, *, tolerance: float = 0.05) -> Tensor:
    """`sight(...).before` of finite world points [N,3], for any of the cameras [J]: bool [N].

    A walk asks this of every new point and a hundred cameras, so each costs a few passes over the points and one look
    into a table: of half cells, whose corner is known, with a border around them where nobody looked.
    """
    h, w = depth.shape[-2:]
    low = _corners(torch.where(depth.valid, -depth.z, -torch.inf)).neg()  # inf where nothing is known
    limit = torch.where(low < torch.inf, low * (1 - tolerance), -torch.inf)
    halves = limit.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, 1:-1, 1:-1]
    table = torch.nn.functional.pad(halves, (1, 1, 1, 1), value=-torch.inf).flatten(1)
    # to (column, row) in that table times z, and z itself
    fx, fy, cx, cy = camera.intrinsics.unbind(-1)
    zero, one, columns, rows = torch.zeros_like(fx), torch.ones_like(fx), 2 * w, 2 * h
    lens = torch.stack(
        [fx * columns, zero, cx * columns + 1, zero, fy * rows, cy * rows + 1, zero, zero, one], dim=-1
    ).view(-1, 3, 3)
    matrix = lens @ camera.w2c[:, :3]
    placed = torch.cat([points, torch.ones_like(points[:, :1])], dim=-1).T.contiguous()
    through = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    seen = points.new_empty(3, len(points))
    for j in range(len(matrix)):
        torch.mm(matrix[j], placed, out=seen)
        z = seen[2].clamp_min_(1e-30)  # what lies behind the camera lands far off the table, or on its border
        seen[:2] /= z
        seen[0].clamp_(0, columns + 1)
        seen[1].clamp_(0, rows + 1)
        column, row = seen[:2].int()
        through |= z < table[j].index_select(0, row.mul_(columns + 2).add_(column))
    return through


def _corners(value: Tensor) -> Tensor:
    """Largest of the up to four cells around each corner of a grid: [J,h,w] -> [J,h+1,w+1]."""
    padded = torch.nn.functional.pad(value, (1, 1, 1, 1), value=-torch.inf)
    across = torch.maximum(padded[..., 1:], padded[..., :-1])
    return torch.maximum(across[..., 1:, :], across[..., :-1, :])
