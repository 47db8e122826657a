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
from dataclasses import dataclass

import torch
from torch import Tensor

from mirage.geometry.camera import Camera
from mirage.memory.points import Cloud
from mirage.memory.zbuffer import Hits, projection, zbuffer

SHARE = 0.6
"""Half the side of a splat, in footprints. 0.5 leaves seams, 0.75 swells silhouettes (docs/results.md)."""
REACH = 2
"""A splat ends this many cells from its own: enough for a camera four times closer."""
BEHIND = 0.9
"""A winner is covered by a neighbour whose depth is less than this share of its own."""


@dataclass(frozen=True, eq=False)
class Seen:
    """`index` [T,h,w] (-1: none), `depth` [T,h,w] (inf: none), `offset` [T,2,h,w] in cells, within [-1/2, 1/2]."""

    index: Tensor
    depth: Tensor
    offset: Tensor


def see(cloud: Cloud, footprint: Tensor, camera: Camera, grid: tuple[int, int], *, front: float, fill: bool,
        within: tuple[Tensor, Tensor] | None = None) -> Seen:
    """What each cell sees: the exact winners and, with `fill`, what the splats of their neighbours add.

    `footprint` [N]: the side of the cell that each point came from, in world units. `within`: (low, high) [T,h,w],
    as in `zbuffer`; a splat that fills a cell obeys that cell's bounds.
    """
    margin = REACH if fill else 0
    edged = None if within is None else (_replicated(within[0], margin), _replicated(within[1], margin))
    hits = zbuffer(cloud, camera, grid, front=front, margin=margin, within=edged)
    u, v = _landings(cloud, camera, grid, margin, hits)
    if not fill:
        return Seen(hits.index, hits.depth, _offset(u, v))
    return _filled(hits, u, v, footprint, camera, grid, front, within)


def _filled(hits: Hits, u: Tensor, v: Tensor, footprint: Tensor, camera: Camera, grid: tuple[int, int], front: float,
            within: tuple[Tensor, Tensor] | None) -> Seen:
    (h, w), side = grid, 2 * REACH + 1
    inner = (..., slice(REACH, REACH + h), slice(REACH, REACH + w))
    index, depth, offset = hits.index[inner].clone(), hits.depth[inner].clone(), _offset(u, v)[inner].contiguous()
    nearest = -torch.nn.functional.max_pool2d(-hits.depth[:, None], side, stride=1)[:, 0]
    t, row, column = (nearest < BEHIND * depth).nonzero().unbind(-1)

    steps = torch.arange(side, device=t.device)
    wide = w + 2 * REACH
    neighbour = ((t * (h + 2 * REACH) + row) * wide + column)[:, None] + (steps[:, None] * wide + steps).flatten()
    z, point = hits.depth.flatten()[neighbour], hits.index.flatten()[neighbour]
    aside = u.flatten()[neighbour] - (column[:, None] + REACH + 0.5)
    below = v.flatten()[neighbour] - (row[:, None] + REACH + 0.5)
    focal = camera.intrinsics[:, :2].to(z).abs() * z.new_tensor([w, h])
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
    shift = torch.stack([aside.gather(1, place), below.gather(1, place)], dim=1)[changed, :, 0]
    offset.movedim(1, -1)[at] = shift.clamp(-0.5, 0.5)
    return Seen(index, depth, offset)


def _landings(cloud: Cloud, camera: Camera, grid: tuple[int, int], margin: int, hits: Hits) -> tuple[Tensor, Tensor]:
    """Column and row, in cells, where the winners fell [T,h,w]; NaN where none won."""
    matrix = projection(camera, grid, margin).to(cloud.device)[..., None, None]
    flat = hits.index.flatten().clamp_min(0)
    if not len(cloud.x):
        return torch.full_like(hits.depth, math.nan), torch.full_like(hits.depth, math.nan)
    x, y, z = (axis[flat].view_as(hits.index) for axis in (cloud.x, cloud.y, cloud.z))
    across, down = (x * matrix[:, i, 0] + y * matrix[:, i, 1] + z * matrix[:, i, 2] + matrix[:, i, 3] for i in (0, 1))
    inverse = torch.where(hits.index >= 0, 1 / hits.depth, math.nan)
    return across * inverse, down * inverse


def _offset(u: Tensor, v: Tensor) -> Tensor:
    """[T,2,h,w]: from the centre of each cell to where its winner fell; 0 where none won."""
    h, w = u.shape[-2:]
    columns = torch.arange(w, device=u.device, dtype=u.dtype) + 0.5
    rows = torch.arange(h, device=u.device, dtype=u.dtype)[:, None] + 0.5
    return torch.stack([u - columns, v - rows], dim=1).nan_to_num(0.0)


def _replicated(bound: Tensor, margin: int) -> Tensor:
    return torch.nn.functional.pad(bound[:, None], (margin,) * 4, mode="replicate")[:, 0]
