"""Points that have the size of the cell they came from: the second pass of a read, which closes holes.

`T` cameras, `h w` grid, `K` cells that may change, `S` neighbours looked at. A single splat leaves three cells in four
empty when the camera moves twice as close. Giving every point of a noisy cloud its size would let the nearest noise
swallow the front; so only the winners of the exact pass spread, and only into cells where nothing won or where what
won lies clearly behind them (it shines through the gaps of a surface in front).

      exact pass       second pass           a b c d: winners of a wall seen from half as far
      a . b .          a a b b
      . . . .    -->   a a b b
      c . d .          c c d d
"""

import math

import torch
from einops import rearrange
from torch import Tensor

from mirage.geometry.camera import Camera
from mirage.memory.points import Cloud
from mirage.memory.projection.hits import Hits
from mirage.memory.projection.splat import BEHIND, REACH, SHARE
from mirage.memory.projection.zbuffer import Backend, backend_for, zbuffer


def see(
    cloud: Cloud,
    footprint: Tensor,
    camera: Camera,
    grid: tuple[int, int],
    *,
    front: float,
    fill: bool,
    within: tuple[Tensor, Tensor] | None = None,
    backend: Backend | None = None,
) -> Hits:
    """What each cell sees: the exact winners and, with `fill`, what the splats of their neighbours add.

    `footprint` [N]: the side of the cell that each point came from, in world units. `within`: (low, high) [T,h,w],
    as in `zbuffer`; a splat that fills a cell obeys that cell's bounds. The offset of a point that fills a cell is held
    at the edge of that cell.
    """
    if not fill:
        return zbuffer(cloud, camera, grid, front=front, within=within, backend=backend)
    edged = None if within is None else (replicated(within[0]), replicated(within[1]))
    exact = zbuffer(cloud, camera, grid, front=front, margin=REACH, within=edged, backend=backend)
    focal = (camera.intrinsics[:, :2].abs() * camera.intrinsics.new_tensor([grid[1], grid[0]])).float()
    if backend_for(cloud.device, backend) == "numba":
        from mirage.memory.projection.footprint_numba import spread_numba

        return spread_numba(exact, footprint, focal, front, within)
    return spread_torch(exact, footprint, focal, front, within)


def spread_torch(
    exact: Hits, footprint: Tensor, focal: Tensor, front: float, within: tuple[Tensor, Tensor] | None
) -> Hits:
    """The definition. `exact`: winners with REACH cells around the grid; `focal` [T,2]: cells per unit of slope.

    A splat covers a cell if the cell's centre lies in it. Of the splats that cover a cell the same rule decides as
    in `zbuffer`: nearest if `front` is 0, else nearest to the centre among those of the front surface; lower id.
    """
    t, row, column = _uncertain(exact.depth).unbind(-1)
    h, w = (n - 2 * REACH for n in exact.depth.shape[-2:])
    inner = (..., slice(REACH, REACH + h), slice(REACH, REACH + w))
    index, depth, offset = (part[inner].clone() for part in (exact.index, exact.depth, exact.offset))

    step = torch.arange(2 * REACH + 1, device=t.device)
    down, right = (part.flatten() for part in torch.meshgrid(step, step, indexing="ij"))
    where = (t[:, None], row[:, None] + down, column[:, None] + right)
    z, point = exact.depth[where], exact.index[where]
    aside = exact.offset[:, 0][where] + (right - REACH)
    below = exact.offset[:, 1][where] + (down - REACH)
    size = SHARE * footprint[point.clamp_min(0)] / z
    covers = (aside.abs() <= size * focal[t, 0, None]) & (below.abs() <= size * focal[t, 1, None])
    covers &= z < BEHIND * depth[t, row, column][:, None]
    if within is not None:
        low, high = (bound[t, row, column][:, None] for bound in within)
        covers &= (z >= low) & (z <= high)

    surface = torch.where(covers, z, math.inf).amin(1, keepdim=True) * (1 + front)
    rank = torch.where(covers & (z <= surface), aside * aside + below * below if front > 0 else z, math.inf)
    best = rank.amin(1, keepdim=True)
    chosen = torch.where(rank == best, point, torch.iinfo(torch.int64).max).amin(1, keepdim=True)
    place = (point == chosen).long().argmax(1, keepdim=True)
    changed = (best[:, 0] < math.inf).nonzero()[:, 0]
    at = t[changed], row[changed], column[changed]
    index[at], depth[at] = chosen[changed, 0], z.gather(1, place)[changed, 0]
    shift = torch.cat([aside.gather(1, place), below.gather(1, place)], dim=1)[changed]
    rearrange(offset, "t c h w -> t h w c")[at] = shift.clamp(-0.5, 0.5)
    return Hits(index, depth, offset)


def _uncertain(depth: Tensor) -> Tensor:
    """Cells (t, row, column) [K,3] of the inner grid with a winner around them that lies clearly before their own."""
    nearest = -torch.nn.functional.max_pool2d(-depth[:, None], 2 * REACH + 1, stride=1)[:, 0]
    return (nearest < BEHIND * depth[:, REACH:-REACH, REACH:-REACH]).nonzero()


def replicated(bound: Tensor) -> Tensor:
    return torch.nn.functional.pad(bound[:, None], (REACH,) * 4, mode="replicate")[:, 0]
