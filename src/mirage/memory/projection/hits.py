"""What the z-buffer and its twins share: which points won, and the projection that all of them round alike.

`N` points, `T` cameras, `h w` cells. Nothing here is compiled: a constant of a kernel lives in the kernel's file or in
its arguments, because a cache of compiled code looks at that file alone.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mirage.kinds import Brief
from mirage.memory.points import Cloud


@dataclass(frozen=True, eq=False, repr=False)
class Hits(Brief):
    """`index` [T,h,w] i64: the point that won, -1 where none did; `depth` [T,h,w] f32: its z-depth, inf where none;
    `offset` [T,2,h,w] f32: where it fell from the cell's centre, right and down, in cells, 0 where none."""

    index: Tensor
    depth: Tensor
    offset: Tensor


def hits(cloud: Cloud, matrix: Tensor, index: Tensor) -> Hits:
    """Depth and offset of the winners `index` [T,h,w]."""
    t, h, w = index.shape
    depth = torch.full((t, h, w), math.inf, device=cloud.device)
    if not len(cloud.x):
        return Hits(index, depth, torch.zeros(t, 2, h, w, device=cloud.device))
    nobody, at = index < 0, index.flatten().clamp_min(0)
    x, y, z = (axis.index_select(0, at).view(t, 1, h * w) for axis in (cloud.x, cloud.y, cloud.z))
    uv, z = project(x, y, z, matrix)
    row, column = torch.meshgrid(torch.arange(h, device=at.device), torch.arange(w, device=at.device), indexing="ij")
    offset = uv.view(t, 2, h, w) - torch.stack([column, row]).float() - 0.5
    return Hits(index, z.view(t, h, w).masked_fill(nobody, math.inf), offset.masked_fill(nobody[:, None], 0.0))


def project(
    x: Tensor, y: Tensor, z: Tensor, matrix: Tensor, room: tuple[Tensor | None, Tensor | None] = (None, None)
) -> tuple[Tensor, Tensor]:
    """World coordinates [*,1,k] by matrices [*,3,4] -> (column, row) on the grid [*,2,k], in cells, and z-depth [*,k].

    The twins repeat exactly this sequence of roundings. Behind the camera column and row mean nothing. `room`: two
    [*,3,k] to work in; the answer lies in the first.
    """
    a, b, c, d = matrix[..., None].unbind(-2)
    seen, product = torch.mul(x, a, out=room[0]), torch.mul(y, b, out=room[1])
    seen += product
    seen += torch.mul(z, c, out=product)
    seen += d
    uv, ahead = seen[..., :2, :], seen[..., 2, :]
    uv *= torch.reciprocal(ahead)[..., None, :]
    return uv, ahead


def frustum(matrix: Tensor, size: tuple[int, int], near: float) -> Tensor:
    """The five planes of each view [5*T,4] of a grid, left and right, above and below, near: a point is before one
    where the product of normal and place, plus the last number, is above 0."""
    h, w = size
    across, down, ahead = matrix.unbind(1)
    limit = torch.zeros_like(ahead)
    limit[:, 3] = near
    return torch.stack([across, w * ahead - across, down, h * ahead - down, ahead - limit]).flatten(0, 1)
