"""Which cameras saw a point: on the surface they saw, hidden behind it, or in the air before it.

`J` cameras with a depth map each, `N` points, `h w` grid. A depth map holds one depth per cell; between the centres of
the four cells around a landing the surface lies between their depths, so those four bound it. That keeps a floor seen
at a grazing angle visible, where the depth of the one nearest cell would be off by more than any tolerance.

        eye -->  . before  |. on  . behind        "before": the camera looked through the point to what lies behind it,
                           | surface              so when that camera looked, the point was not there
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

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


def looked_through(
    points: Tensor, camera: Camera, depth: DepthMap, *, since: Sequence[int] | None = None, tolerance: float = 0.05
) -> Tensor:
    """`sight(...).before` of finite world points [N,3], for any of the cameras [J]: bool [N].

    since: of each camera, the first point that it is asked about; None: all.

    A walk asks this of every new point and a hundred cameras: on processors a compiled loop does what
    `looked_through_torch` says, to the bit.
    """
    h, w = depth.shape[-2:]
    low = _corners(torch.where(depth.valid, -depth.z, -torch.inf)).neg()  # inf where nothing is known
    limit = torch.where(low < torch.inf, low * (1 - tolerance), -torch.inf)
    fx, fy, cx, cy = camera.intrinsics.unbind(-1)
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    lens = torch.stack([fx * w, zero, cx * w, zero, fy * h, cy * h, zero, zero, one], dim=-1).view(-1, 3, 3)
    matrix = (lens @ camera.w2c[:, :3]).float()  # to (column * z, row * z, z)
    first = [0] * len(matrix) if since is None else list(since)
    if points.device.type == "cpu" and find_spec("numba") is not None:
        from mirage.geometry.visibility_numba import looked_through_numba as work
    else:
        work = looked_through_torch
    return work(points.float(), matrix, limit.float(), first)


def looked_through_torch(points: Tensor, matrix: Tensor, limit: Tensor, since: Sequence[int]) -> Tensor:
    """The definition. matrix [J,3,4]: to the grid; limit [J,h+1,w+1]: of depth at its corners, -inf where nobody
    looked."""
    h, w = (n - 1 for n in limit.shape[1:])
    through = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    for j, first in enumerate(since):
        x, y, z = points[first:].unbind(-1)
        column, row, ahead = (x * m[0] + y * m[1] + z * m[2] + m[3] for m in matrix[j])
        inverse = 1 / ahead
        u, v = column * inverse, row * inverse
        said = (ahead > 0) & (u >= 0) & (u <= w) & (v >= 0) & (v <= h)
        corner = torch.where(said, (v + 0.5).int() * (w + 1) + (u + 0.5).int(), 0)  # (i, j): between cells i - 1 and i
        through[first:] |= said & (ahead < limit[j].flatten().index_select(0, corner))
    return through


def _corners(value: Tensor) -> Tensor:
    """Largest of the up to four cells around each corner of a grid: [J,h,w] -> [J,h+1,w+1]."""
    padded = torch.nn.functional.pad(value, (1, 1, 1, 1), value=-torch.inf)
    across = torch.maximum(padded[..., 1:], padded[..., :-1])
    return torch.maximum(across[..., 1:, :], across[..., :-1, :])
