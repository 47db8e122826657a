"""Which point does each cell of each camera see? `N` points, `T` cameras, `h w` cells.

`zbuffer` picks one of three twins that give the same answer to the bit: `zbuffer_torch` below is the definition,
`zbuffer_numba` is for processors, `zbuffer_triton` for CUDA. All do the same single-precision operations in the same
order, without fused multiply-adds, so that a comparison of their indices can be exact.

      camera ---> [ cell ]----x  a: nearest, far off the cell's centre
                  [      ]---x---  b: 3 % behind a, on the centre       front = 0: a wins;  front = 0.08: b wins
                  [      ]-------------x  c: another surface
"""

import math
import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.memory.points import PAGE, Cloud

Backend = Literal["torch", "numba", "triton"]
NEAR = 1e-6
"""Points at or before this z-depth never win. A guard for the division, not a clipping plane."""
_BLOCK = 186
"""Pages that the torch definition takes at once: 32k points, so that its intermediates stay in the cache."""


@dataclass(frozen=True, eq=False)
class Hits:
    """`index` [T,h,w] i64: the point that won, -1 where none did; `depth` [T,h,w] f32: its z-depth, inf where none."""

    index: Tensor
    depth: Tensor


def zbuffer(points: Cloud | Tensor, camera: Camera, grid: tuple[int, int], *, front: float = 0.0, margin: int = 0,
            within: tuple[Tensor, Tensor] | None = None, near: float = NEAR, backend: Backend | None = None) -> Hits:
    """The visible point of every cell.

    A point belongs to the cell that its projection falls into, by floor. With `front` 0 the nearest point of a cell
    wins. With `front` f, of the points with z <= (1 + f) * nearest the one nearest to the cell's centre wins, and
    `front` = inf compares all of them. Exact ties go to the lower id. Points behind the camera or at z <= `near`,
    and NaNs, never win. The answer depends on nothing else: not on the threads, the blocks, nor the device.

    `margin`: so many cells are added around the grid; the result is [T, h + 2 margin, w + 2 margin].
    `within`: (low, high) [T,h,w] (with the margin): only points with low <= z <= high exist, per cell.
    `backend`: one twin by name; None: MIRAGE_ZBUFFER if set, else the fastest one for where the points lie.
    """
    cloud = points if isinstance(points, Cloud) else Cloud.of(points)
    if len(camera.shape) != 1:
        raise InputError(f"a z-buffer takes cameras [T], got {list(camera.shape)}")
    matrix = projection(camera, grid, margin).to(cloud.device)
    size = (grid[0] + 2 * margin, grid[1] + 2 * margin)
    visible = visible_pages(cloud, matrix, size, near)
    return _twin(backend or os.environ.get("MIRAGE_ZBUFFER"), cloud)(cloud, matrix, size, visible, front, within, near)


def zbuffer_torch(cloud: Cloud, matrix: Tensor, size: tuple[int, int], visible: Tensor, front: float,
                  within: tuple[Tensor, Tensor] | None, near: float) -> Hits:
    """The definition. `matrix` [T,3,4] f32 and `visible` [T,M] are those of `projection` and `visible_pages`.

    A rank (z, or the squared distance to the cell's centre) and the point's id make one integer key, and the least
    key of a cell wins: positive floats compare like their bits, so rank decides and id breaks ties.
    """
    h, w = size
    index = torch.full((len(matrix), h * w), -1, dtype=torch.int64, device=cloud.device)
    depth = torch.full((len(matrix), h * w), math.inf, dtype=torch.float32, device=cloud.device)
    for t in range(len(matrix)):
        landed = [_landing(cloud, matrix[t].tolist(), size, pages, near)
                  for pages in visible[t].nonzero()[:, 0].split(_BLOCK)]
        if not landed:
            continue
        cell, z, off, point = (torch.cat(parts) for parts in zip(*landed, strict=True))
        if within is not None:
            low, high = (bound[t].flatten()[cell] for bound in within)
            inside = ((z >= low) & (z <= high)).nonzero()[:, 0]
            cell, z, off, point = cell[inside], z[inside], off[inside], point[inside]
        rank = z
        if front > 0:
            nearest = depth.new_full((h * w,), math.inf).scatter_reduce_(0, cell, z, "amin")
            surface = (z <= nearest[cell] * (1 + front)).nonzero()[:, 0]
            cell, z, rank, point = cell[surface], z[surface], off[surface], point[surface]
        key = rank.view(torch.int32).long() << 32 | point
        best = key.new_full((h * w,), torch.iinfo(torch.int64).max).scatter_reduce_(0, cell, key, "amin")
        won = (key == best[cell]).nonzero()[:, 0]
        index[t, cell[won]], depth[t, cell[won]] = point[won], z[won]
    return Hits(index.view(-1, h, w), depth.view(-1, h, w))


def _landing(cloud: Cloud, matrix: list[list[float]], size: tuple[int, int], pages: Tensor,
             near: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The points of `pages` that fall onto the grid: cell, z, squared distance to the cell's centre, id; each [k]."""
    h, w = size
    x, y, z = (axis.view(-1, PAGE)[pages].flatten() for axis in (cloud.x, cloud.y, cloud.z))
    u, v, z = project(x, y, z, matrix)
    on_grid = ((z > near) & (u >= 0) & (u < w) & (v >= 0) & (v < h)).nonzero()[:, 0]
    u, v, z = u[on_grid], v[on_grid], z[on_grid]
    row, column = v.floor(), u.floor()
    aside, below = u - column - 0.5, v - row - 0.5
    point = pages[on_grid // PAGE] * PAGE + on_grid % PAGE
    return row.long() * w + column.long(), z, aside * aside + below * below, point


def project(x: Tensor, y: Tensor, z: Tensor, matrix: list[list[float]]) -> tuple[Tensor, Tensor, Tensor]:
    """World coordinates [k] -> column and row on the grid, in cells, and z-depth [k]. The twins repeat exactly this
    sequence of roundings; behind the camera the first two mean nothing."""
    across, down, ahead = (x * a + y * b + z * c + d for a, b, c, d in matrix)
    inverse = 1 / ahead
    return across * inverse, down * inverse, ahead


def projection(camera: Camera, grid: tuple[int, int], margin: int = 0) -> Tensor:
    """Matrices [T,3,4] f32 from world points to (column * z, row * z, z) on a grid with `margin` cells around it."""
    h, w = grid
    fx, fy, cx, cy = camera.intrinsics.double().unbind(-1)
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    lens = torch.stack([fx * w, zero, cx * w + margin, zero, fy * h, cy * h + margin, zero, zero, one], dim=-1)
    return (lens.view(-1, 3, 3) @ camera.to(torch.float64).w2c[:, :3]).float()


def visible_pages(cloud: Cloud, matrix: Tensor, size: tuple[int, int], near: float) -> Tensor:
    """Which pages may have a point in view: bool [T,M]. Never wrong about a page that has one."""
    h, w = size
    across, down, ahead = matrix.unbind(1)
    limit = torch.zeros_like(ahead)
    limit[:, 3] = near
    planes = torch.stack([across, w * ahead - across, down, h * ahead - down, ahead - limit], dim=1)
    normal, shift = planes[..., :3].flatten(0, 1), planes[..., 3].flatten()
    center, half = (cloud.high + cloud.low) / 2, (cloud.high - cloud.low) / 2
    slack = 1e-5 * (center.abs() + half)
    inside = center @ normal.T + (half + slack) @ normal.abs().T + (shift + 1e-5 * shift.abs()) >= 0
    return inside.view(len(center), len(matrix), 5).all(-1).T


def _twin(name: str | None, cloud: Cloud):
    if name is None:
        on_cuda = cloud.device.type == "cuda"
        wanted = "triton" if on_cuda else "numba" if cloud.device.type == "cpu" else "torch"
        name = wanted if wanted == "torch" or find_spec(wanted) else "torch"
    if name == "torch":
        return zbuffer_torch
    if name == "numba":
        from mirage.memory.zbuffer_numba import zbuffer_numba
        return zbuffer_numba
    if name == "triton":
        from mirage.memory.zbuffer_triton import zbuffer_triton
        return zbuffer_triton
    raise InputError(f"z-buffer backend is one of torch, numba, triton, got {name!r}")
