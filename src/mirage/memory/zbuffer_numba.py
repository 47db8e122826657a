"""The z-buffer for processors: `zbuffer_torch` of zbuffer.py, to the bit, compiled by numba.

Per camera and page, two phases: a projection that the compiler turns into vector instructions, then a scalar loop over
what fell onto the grid. Pages are visited in the order of their ids, so a strict "less than" leaves ties to the lower
id. Cameras are independent and run on as many threads as torch may use. The compiled code is cached beside this file.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numba import njit
from torch import Tensor

from mirage.memory.points import PAGE, Cloud
from mirage.memory.zbuffer import Hits


def zbuffer_numba(cloud: Cloud, matrix: Tensor, size: tuple[int, int], visible: Tensor, front: float,
                  within: tuple[Tensor, Tensor] | None, near: float) -> Hits:
    """See `zbuffer_torch`."""
    h, w = size
    index = torch.full((len(matrix), h, w), -1, dtype=torch.int64)
    depth = torch.full((len(matrix), h, w), torch.inf, dtype=torch.float32)
    x, y, z = cloud.x.numpy(), cloud.y.numpy(), cloud.z.numpy()
    matrices, seen = matrix.numpy(), visible.numpy()
    if within is None:
        low, high = np.empty((len(matrix), 0), np.float32), np.empty((len(matrix), 0), np.float32)
    else:
        low, high = (bound.float().flatten(1).contiguous().numpy() for bound in within)

    def one_camera(t: int) -> None:
        _camera(x, y, z, np.flatnonzero(seen[t]), matrices[t], h, w, np.float32(near), np.float32(front),
                low[t], high[t], index[t].view(-1).numpy(), depth[t].view(-1).numpy())

    threads = min(torch.get_num_threads(), len(matrix))
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one_camera, range(len(matrix))))
    else:
        for t in range(len(matrix)):
            one_camera(t)
    return Hits(index, depth)


@njit(cache=True, nogil=True, error_model="numpy")
def _camera(x, y, z, pages, matrix, h, w, near, front, low, high, index, depth):
    """One camera. Fills `index` (-1 before) and `depth` (inf before), both [h*w]. `low`, `high`: [h*w] or empty."""
    column, row, ahead = np.empty(PAGE, np.float32), np.empty(PAGE, np.float32), np.empty(PAGE, np.float32)
    banded, choosing = len(low) > 0, front > 0
    # with `front`: what lies on the front surface as far as it is known, to be chosen from when it is
    room = len(pages) * PAGE if choosing else 0
    cells, points = np.empty(room, np.int32), np.empty(room, np.int32)
    depths, offs = np.empty(room, np.float32), np.empty(room, np.float32)
    slack = np.float32(1) + front
    one, half, found = np.float32(1), np.float32(0.5), 0
    for page in pages:
        _project(x, y, z, page * PAGE, matrix, column, row, ahead, one)
        for i in range(PAGE):
            u, v, d = column[i], row[i], ahead[i]
            if not (d > near and u >= 0 and u < w and v >= 0 and v < h):
                continue
            r, c = int(v), int(u)
            cell = r * w + c
            if banded and not (d >= low[cell] and d <= high[cell]):
                continue
            if d < depth[cell]:
                depth[cell] = d
                index[cell] = page * PAGE + i
            elif not (choosing and d <= depth[cell] * slack):
                continue
            if choosing:
                aside, below = u - np.float32(c) - half, v - np.float32(r) - half
                cells[found], points[found], depths[found] = cell, page * PAGE + i, d
                offs[found] = aside * aside + below * below
                found += 1
    if choosing:
        _choose(cells[:found], points[:found], depths[:found], offs[:found], slack, index, depth)


@njit(cache=True, nogil=True, error_model="numpy")
def _project(x, y, z, start, matrix, column, row, ahead, one):
    m00, m01, m02, m03 = matrix[0, 0], matrix[0, 1], matrix[0, 2], matrix[0, 3]
    m10, m11, m12, m13 = matrix[1, 0], matrix[1, 1], matrix[1, 2], matrix[1, 3]
    m20, m21, m22, m23 = matrix[2, 0], matrix[2, 1], matrix[2, 2], matrix[2, 3]
    for i in range(PAGE):
        px, py, pz = x[start + i], y[start + i], z[start + i]
        d = px * m20 + py * m21 + pz * m22 + m23
        inverse = one / d
        ahead[i] = d
        column[i] = (px * m00 + py * m01 + pz * m02 + m03) * inverse
        row[i] = (px * m10 + py * m11 + pz * m12 + m13) * inverse


@njit(cache=True, nogil=True, error_model="numpy")
def _choose(cells, points, depths, offs, slack, index, depth):
    """Of the points on each cell's front surface, the one nearest to the cell's centre."""
    surface, best = depth.copy(), np.full(len(depth), np.inf, np.float32)
    for i in range(len(cells)):
        cell = cells[i]
        if depths[i] <= surface[cell] * slack and offs[i] < best[cell]:
            best[cell], index[cell], depth[cell] = offs[i], points[i], depths[i]
