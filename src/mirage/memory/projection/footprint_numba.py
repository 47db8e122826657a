"""The second pass of a read for processors: `spread_torch` of footprint.py, to the bit, compiled by numba."""

import numpy as np
import torch
from torch import Tensor

from mirage.geometry.jit import kernel
from mirage.memory.projection.hits import Hits
from mirage.memory.projection.splat import BEHIND, REACH, SHARE
from mirage.memory.projection.zbuffer_numba import each_camera


def spread_numba(
    exact: Hits, footprint: Tensor, focal: Tensor, front: float, within: tuple[Tensor, Tensor] | None
) -> Hits:
    """See `spread_torch`."""
    inner = (..., slice(REACH, -REACH), slice(REACH, -REACH))
    index, depth, offset = (
        part[inner].clone(memory_format=torch.contiguous_format) for part in (exact.index, exact.depth, exact.offset)
    )
    sizes, focals = footprint.numpy(), focal.numpy()
    if within is None:
        low, high = np.empty((len(index), 0, 0), np.float32), np.empty((len(index), 0, 0), np.float32)
    else:
        low, high = (bound.float().contiguous().numpy() for bound in within)

    def one_camera(t: int) -> None:
        spread(
            exact.index[t].numpy(),
            exact.depth[t].numpy(),
            exact.offset[t].numpy(),
            sizes,
            focals[t],
            (np.float32(SHARE), REACH, np.float32(BEHIND)),
            front > 0,
            np.float32(1 + front),
            low[t],
            high[t],
            index[t].numpy(),
            depth[t].numpy(),
            offset[t].numpy(),
        )

    each_camera(one_camera, len(index))
    return Hits(index, depth, offset)


@kernel
def spread(winners, depths, offsets, footprint, focal, splat, choosing, slack, low, high, index, depth, offset):
    """One camera; `splat` is its share, reach and behind. The first three have reach cells around the grid; the last
    three are the grid, changed in place."""
    h, w = index.shape
    share, reach, behind_share = splat
    side, half = 2 * reach + 1, np.float32(0.5)
    banded = len(low) > 0
    nearest = depths if banded else _nearest_around(depths, reach)
    z, u, v, points = (
        np.empty(side * side, np.float32),
        np.empty(side * side, np.float32),
        np.empty(side * side, np.float32),
        np.empty(side * side, np.int64),
    )
    for r in range(h):
        for c in range(w):
            behind = behind_share * depth[r, c]
            if not (low[r, c] if banded else nearest[r, c]) < behind:  # nothing can lie between
                continue
            found, surface = 0, np.float32(np.inf)
            for i in range(side):
                for j in range(side):
                    d = depths[r + i, c + j]
                    if not d < behind or (banded and not (d >= low[r, c] and d <= high[r, c])):
                        continue
                    aside = offsets[0, r + i, c + j] + np.float32(j - reach)
                    below = offsets[1, r + i, c + j] + np.float32(i - reach)
                    point = winners[r + i, c + j]
                    size = share * footprint[point] / d
                    if abs(aside) <= size * focal[0] and abs(below) <= size * focal[1]:
                        z[found], u[found], v[found], points[found] = d, aside, below, point
                        surface = min(surface, d)
                        found += 1
            best = np.float32(np.inf)
            for k in range(found):
                rank = u[k] * u[k] + v[k] * v[k] if choosing else z[k]
                if z[k] <= surface * slack and (rank < best or (rank == best and points[k] < index[r, c])):
                    best, index[r, c], depth[r, c] = rank, points[k], z[k]
                    offset[0, r, c], offset[1, r, c] = min(max(u[k], -half), half), min(max(v[k], -half), half)


@kernel
def _nearest_around(depth, reach):
    """The least depth within reach cells of each cell of the inner grid: along rows, then along columns."""
    h, w = depth.shape[0] - 2 * reach, depth.shape[1] - 2 * reach
    along = depth[:, :w].copy()
    for step in range(1, 2 * reach + 1):
        along = np.minimum(along, depth[:, step : w + step])
    nearest = along[:h].copy()
    for step in range(1, 2 * reach + 1):
        nearest = np.minimum(nearest, along[step : h + step])
    return nearest
