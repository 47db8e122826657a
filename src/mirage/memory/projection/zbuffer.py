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
from functools import cache, reduce
from importlib.util import find_spec
from typing import Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.memory.points import PAGE, Cloud
from mirage.memory.projection.hits import Hits, frustum, hits, project
from mirage.optional import optional

Backend = Literal["torch", "numba", "triton"]
NEAR = 1e-6
"""Points at or before this z-depth never win. A guard for the division, not a clipping plane."""
_BLOCK = 2048
"""Pages that the torch definition takes at once: 180k points. Fewer pay more for calls, more for the caches."""
_NOBODY = torch.iinfo(torch.int64).max
"""The id of a cell without a point: after every other."""


def zbuffer(
    points: Cloud | Tensor,
    camera: Camera,
    grid: tuple[int, int],
    *,
    front: float = 0.0,
    margin: int = 0,
    within: tuple[Tensor, Tensor] | None = None,
    near: float = NEAR,
    backend: Backend | None = None,
) -> Hits:
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
    size, named = (grid[0] + 2 * margin, grid[1] + 2 * margin), backend_for(cloud.device, backend)
    work = twin(named)
    return work(cloud, matrix, size, _visible(named)(cloud, matrix, size, near), front, within, near)


def backend_for(device: torch.device, backend: Backend | None = None) -> Backend:
    """The twin that is used for points on `device`: the named one, else MIRAGE_ZBUFFER, else the fastest there is."""
    named = backend or os.environ.get("MIRAGE_ZBUFFER")
    if named and named not in get_args(Backend):
        raise InputError(f"z-buffer backend is one of {', '.join(get_args(Backend))}, got {named!r}")
    fast = {"cpu": "numba", "cuda": "triton"}.get(device.type, "torch")
    return cast(Backend, named or (fast if _installed(fast) else "torch"))


def twin(backend: Backend):
    """The function of that name, to be called as `zbuffer_torch` is. `InputError` where its package does not import."""
    if backend == "torch":
        return zbuffer_torch
    with optional(backend, wanted=f"the z-buffer's backend {backend}"):
        if backend == "numba":
            from mirage.memory.projection.zbuffer_numba import zbuffer_numba

            return zbuffer_numba
        from mirage.memory.projection.zbuffer_triton import zbuffer_triton

        return zbuffer_triton


def _visible(backend: Backend):
    if backend != "numba":
        return visible_pages
    from mirage.memory.projection.zbuffer_numba import visible_numba

    return visible_numba


@cache
def _installed(package: str) -> bool:
    return find_spec(package) is not None


def zbuffer_torch(
    cloud: Cloud,
    matrix: Tensor,
    size: tuple[int, int],
    visible: Tensor,
    front: float,
    within: tuple[Tensor, Tensor] | None,
    near: float,
) -> Hits:
    """The definition. `matrix` [T,3,4] f32 and `visible` [T,M] are those of `projection` and `visible_pages`.

    Per camera the points that land in a cell are eliminated in three rounds: by z, which leaves the front; by rank,
    which is z again or the squared distance to the cell's centre; by id. Pages come in blocks; what a block leaves on
    a front that is known only so far is asked again when the whole front is known.
    """
    h, w = size
    winner = torch.full((len(matrix), h * w), _NOBODY, device=cloud.device)
    room = torch.empty(9, min(_BLOCK, len(cloud.low)) * PAGE, device=cloud.device)  # fresh memory costs more than sums
    edges = _edges(room, size, near)
    pages_of = visible.nonzero()[:, 1].split(visible.sum(1).tolist())
    for t in range(len(matrix)):
        nearest, best = torch.full((2, h * w), math.inf, device=cloud.device)
        blocks = []
        for pages in pages_of[t].split(_BLOCK) if len(pages_of[t]) else ():
            cell, z, uv, place = _landing(cloud, matrix[t], w, pages, edges, room)
            if within is not None:
                low, high = (bound[t].flatten().index_select(0, cell) for bound in within)
                cell, z, place = _chosen(_at_most((low, z), (z, high)), cell, z, place)
            if blocks:  # most points lie behind what is known, and scattering is dear
                cell, z, place = _chosen(_on_front(cell, z, nearest, front), cell, z, place)
            nearest.scatter_reduce_(0, cell, z, "amin")
            cell, z, place = _chosen(_on_front(cell, z, nearest, front), cell, z, place)
            blocks.append((cell, z, _off_centre(uv.index_select(-1, place)) if front > 0 else z, place, pages))
        for i, (cell, z, rank, place, pages) in enumerate(blocks):
            if i < len(blocks) - 1:  # the last one knew the whole front
                cell, z, rank, place = _chosen(_on_front(cell, z, nearest, front), cell, z, rank, place)
                blocks[i] = cell, z, rank, place, pages
            best.scatter_reduce_(0, cell, rank, "amin")
        for cell, _, rank, place, pages in blocks:
            cell, place = _chosen(_at_most((rank, best.index_select(0, cell))), cell, place)
            page = place.int() // PAGE
            point = pages.index_select(0, page).sub_(page).mul_(PAGE).add_(place)
            winner[t].scatter_reduce_(0, cell, point, "amin")
    return hits(cloud, matrix, winner.masked_fill_(winner == _NOBODY, -1).view(-1, h, w))


def _edges(like: Tensor, size: tuple[int, int], near: float) -> Tensor:
    """The largest column and row on the grid, and the least z that exists [3]."""
    return torch.nextafter(like.new_tensor([size[1], size[0], near]), like.new_tensor([0, 0, math.inf]))


def _landing(
    cloud: Cloud, matrix: Tensor, w: int, pages: Tensor, edges: Tensor, room: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The points of `pages` that fall onto the grid: cell, z and place among the points of `pages`, each [k]; with
    (column, row) [2,*] of all of `pages`. `room` [9,*]: overwritten."""
    room = room[:, : len(pages) * PAGE]
    x, y, z = (
        torch.index_select(axis.view(-1, PAGE), 0, pages, out=room[i].view(-1, PAGE)).view(1, -1)
        for i, axis in enumerate((cloud.x, cloud.y, cloud.z))
    )
    uv, z = project(x, y, z, matrix, room=(room[3:6], room[6:9]))
    (u, v), (right, bottom, ahead), zero = uv, edges, z.new_zeros(())
    place = _at_most((zero, u), (u, right), (zero, v), (v, bottom), (ahead, z))
    u, v, z = _chosen(place, u, v, z)
    return v.int().mul_(w).add_(u.int()).long(), z, uv, place  # by floor, since both are >= 0 here


def _chosen(where: Tensor, *columns: Tensor) -> tuple[Tensor, ...]:
    return tuple(column.index_select(0, where) for column in columns)


def _on_front(cell: Tensor, z: Tensor, nearest: Tensor, front: float) -> Tensor:
    return _at_most((z, (nearest * (1 + front)).index_select(0, cell)))


def _off_centre(uv: Tensor) -> Tensor:
    """Squared distance [k] from the centre of its cell to (column, row) [2,k], in cells."""
    aside, below = uv.frac().sub_(0.5).square_()
    return aside + below


def _at_most(*pairs: tuple[Tensor, Tensor]) -> Tensor:
    """Where a <= b in every pair (a, b). On a processor numpy finds that six times faster than torch."""
    if pairs[0][1].is_cuda:
        return reduce(torch.logical_and, [a <= b for a, b in pairs]).nonzero()[:, 0]
    return torch.from_numpy(np.flatnonzero(reduce(np.logical_and, [a.numpy() <= b.numpy() for a, b in pairs])))


def projection(camera: Camera, grid: tuple[int, int], margin: int = 0) -> Tensor:
    """Matrices [T,3,4] f32 from world points to (column * z, row * z, z) on a grid with `margin` cells around it."""
    h, w = grid
    fx, fy, cx, cy = camera.intrinsics.double().unbind(-1)
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    lens = torch.stack([fx * w, zero, cx * w + margin, zero, fy * h, cy * h + margin, zero, zero, one], dim=-1)
    return (lens.view(-1, 3, 3) @ camera.to(torch.float64).w2c[:, :3]).float()


def visible_pages(cloud: Cloud, matrix: Tensor, size: tuple[int, int], near: float) -> Tensor:
    """Which pages may have a point in view: bool [T,M]. Never wrong about a page that has one."""
    planes = frustum(matrix, size, near)
    normal, shift = planes[:, :3], planes[:, 3:]
    slack = 1e-5 * torch.maximum(cloud.low.abs(), cloud.high.abs())
    # the corner of each box that lies furthest inside each plane
    inside = torch.addmm(shift + 1e-5 * shift.abs(), normal.clamp_min(0), (cloud.high + slack).T)
    inside.addmm_(normal.clamp_max(0), (cloud.low - slack).T)
    return inside.view(5, len(matrix), -1).amin(0) >= 0
