"""The z-buffer for processors: `zbuffer_torch` of zbuffer.py, to the bit, compiled by numba.

Per camera and page, two phases: a projection that the compiler turns into vector instructions, then a scalar loop over
what fell onto the grid. Pages are visited in the order of their ids, so a strict "less than" leaves ties to the lower
id. Cameras are independent and run on as many threads as torch may use.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from mirage.geometry.jit import kernel
from mirage.memory.points import PAGE, Cloud
from mirage.memory.projection.hits import Hits, frustum

_TOGETHER = 16
"""Pages that are projected at once: few enough to stay in the nearest cache."""


def zbuffer_numba(
    cloud: Cloud,
    matrix: Tensor,
    size: tuple[int, int],
    visible: Tensor,
    front: float,
    within: tuple[Tensor, Tensor] | None,
    near: float,
) -> Hits:
    """See `zbuffer_torch`."""
    h, w = size
    index = torch.full((len(matrix), h, w), -1, dtype=torch.int64)
    depth = torch.full((len(matrix), h, w), torch.inf, dtype=torch.float32)
    offset = torch.zeros(len(matrix), 2, h, w, dtype=torch.float32)
    x, y, z = cloud.x.numpy(), cloud.y.numpy(), cloud.z.numpy()
    matrices, seen = matrix.numpy(), visible.numpy()
    if within is None:
        low, high = np.empty((len(matrix), 0), np.float32), np.empty((len(matrix), 0), np.float32)
    else:
        low, high = (bound.float().flatten(1).contiguous().numpy() for bound in within)

    def one_camera(t: int) -> None:
        _camera(
            x,
            y,
            z,
            np.flatnonzero(seen[t]),
            PAGE,
            matrices[t],
            np.uint32(h),
            np.uint32(w),
            np.float32(near),
            front > 0,
            np.float32(1 + front),
            low[t],
            high[t],
            index[t].view(-1).numpy(),
            depth[t].view(-1).numpy(),
            offset[t].view(2, -1).numpy(),
        )

    each_camera(one_camera, len(matrix))
    return Hits(index, depth, offset)


def visible_numba(cloud: Cloud, matrix: Tensor, size: tuple[int, int], near: float) -> Tensor:
    """See `visible_pages`: a pass over the boxes for each camera and plane, in vector instructions."""
    seen = torch.empty(len(matrix), len(cloud.low), dtype=torch.bool)
    planes = frustum(matrix, size, near).view(5, len(matrix), 4)
    boxes = widened(cloud.low.numpy(), cloud.high.numpy())
    each_camera(lambda t: boxes_inside(boxes, planes[:, t].contiguous().numpy(), seen[t].numpy()), len(matrix))
    return seen


def each_camera(work: Callable[[int], None], cameras: int) -> None:
    """Run `work` for every camera, on as many threads as torch may use; each writes to its own place."""
    threads = min(torch.get_num_threads(), cameras)
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(cameras)))
    else:
        for t in range(cameras):
            work(t)


@kernel
def widened(low, high):
    """Boxes [M,3] a little larger, as x, y, z of their low and of their high corner [6,M]."""
    boxes, slack = np.empty((6, len(low)), np.float32), np.float32(1e-5)
    for axis in range(3):
        for page in range(len(low)):
            wide = slack * max(abs(low[page, axis]), abs(high[page, axis]))
            boxes[axis, page], boxes[3 + axis, page] = low[page, axis] - wide, high[page, axis] + wide
    return boxes


@kernel
def boxes_inside(boxes, planes, seen):
    """Which boxes [6,M] have a corner before all five planes."""
    nothing = np.float32(0)
    seen[:] = True
    for k in range(5):
        a, b, c = planes[k, 0], planes[k, 1], planes[k, 2]
        x = boxes[3] if a > nothing else boxes[0]  # the corner that lies furthest inside
        y = boxes[4] if b > nothing else boxes[1]
        z = boxes[5] if c > nothing else boxes[2]
        shift = planes[k, 3] + np.float32(1e-5) * abs(planes[k, 3])
        for page in range(len(seen)):
            seen[page] &= not (shift + a * x[page] + b * y[page] + c * z[page] < nothing)


@kernel
def _camera(x, y, z, pages, rows, matrix, h, w, near, choosing, slack, low, high, index, depth, offset):
    """One camera, pages of `rows` points. Fills `index` (-1 before) and `depth` (inf before), both [h*w], and `offset`
    [2,h*w] (0 before).

    Every number has its type said once: a float compared with an integer would become a double, and slow.
    """
    cells, ahead = np.empty(rows, np.int32), np.empty(rows, np.float32)
    column, row = np.empty(rows, np.float32), np.empty(rows, np.float32)
    banded = len(low) > 0
    if slack == np.float32(np.inf):
        nearest_to_centre(x, y, z, pages, rows, matrix, h, w, near, low, high, index, depth, offset)
        return
    # if choosing: what lies on the front surface as far as it is known, to be chosen from when it is
    room = len(pages) * rows if choosing else 0
    kept, points = np.empty(room, np.uint32), np.empty(room, np.int64)
    depths, offs = np.empty(room, np.float32), np.empty(room, np.float32)
    half, found = np.float32(0.5), 0
    for page in pages:
        _project(
            x, y, z, page * rows, matrix, np.float32(h), np.float32(w), np.int32(w), near, column, row, ahead, cells
        )
        for i in range(rows):
            if cells[i] < 0:
                continue
            cell, d = np.uint32(cells[i]), ahead[i]
            if banded and not (d >= low[cell] and d <= high[cell]):
                continue
            if choosing:
                aside, below = column[i] - np.floor(column[i]) - half, row[i] - np.floor(row[i]) - half
                off = aside * aside + below * below
                if d <= depth[cell] * slack:
                    depth[cell] = min(depth[cell], d)
                    kept[found], points[found], depths[found], offs[found] = cell, page * rows + i, d, off
                    found += 1
            elif d < depth[cell]:
                depth[cell], index[cell] = d, page * rows + i
    if choosing:
        _choose(kept[:found], points[:found], depths[:found], offs[:found], slack, index, depth)
    _measure(x, y, z, matrix, w, index, offset)


@kernel
def nearest_to_centre(x, y, z, pages, rows, matrix, h, w, near, low, high, index, depth, offset):
    """With everything on the front nothing has to wait for it, and most points are farther from their cell's centre
    than one before them: that is asked first, for it needs the fewest numbers. Pages that follow each other are looked
    at together."""
    cells, off = np.empty(_TOGETHER * rows, np.int32), np.empty(_TOGETHER * rows, np.float32)
    best, banded = np.full(len(index), np.inf, np.float32), len(low) > 0
    one, half, p = np.float32(1), np.float32(0.5), 0
    while p < len(pages):
        q = p + 1
        while q < len(pages) and q - p < _TOGETHER and pages[q] == pages[p] + (q - p):
            q += 1
        start, count = pages[p] * rows, (q - p) * rows
        p = q
        _off_centre(x, y, z, start, matrix, np.float32(h), np.float32(w), np.int32(w), near, off[:count], cells[:count])
        for i in range(np.uint32(count)):
            cell = np.uint32(cells[i])
            if off[i] < best[cell]:
                k = start + i
                d = x[k] * matrix[2, 0] + y[k] * matrix[2, 1] + z[k] * matrix[2, 2] + matrix[2, 3]
                if banded and not (d >= low[cell] and d <= high[cell]):
                    continue
                inverse = one / d
                u = (x[k] * matrix[0, 0] + y[k] * matrix[0, 1] + z[k] * matrix[0, 2] + matrix[0, 3]) * inverse
                v = (x[k] * matrix[1, 0] + y[k] * matrix[1, 1] + z[k] * matrix[1, 2] + matrix[1, 3]) * inverse
                best[cell], index[cell], depth[cell] = off[i], k, d
                offset[0, cell], offset[1, cell] = u - np.floor(u) - half, v - np.floor(v) - half


@kernel
def _off_centre(x, y, z, start, matrix, h, w, stride, near, off, cells):
    """The cell of every point from start on and its squared distance from the cell's centre; off the grid cell 0 and
    inf."""
    m00, m01, m02, m03 = matrix[0, 0], matrix[0, 1], matrix[0, 2], matrix[0, 3]
    m10, m11, m12, m13 = matrix[1, 0], matrix[1, 1], matrix[1, 2], matrix[1, 3]
    m20, m21, m22, m23 = matrix[2, 0], matrix[2, 1], matrix[2, 2], matrix[2, 3]
    rows = len(cells)
    px, py, pz = x[start : start + rows], y[start : start + rows], z[start : start + rows]
    zero, one, half, nowhere = np.float32(0), np.float32(1), np.float32(0.5), np.float32(np.inf)
    for i in range(rows):
        d = px[i] * m20 + py[i] * m21 + pz[i] * m22 + m23
        inverse = one / d
        u = (px[i] * m00 + py[i] * m01 + pz[i] * m02 + m03) * inverse
        v = (px[i] * m10 + py[i] * m11 + pz[i] * m12 + m13) * inverse
        inside = (d > near) & (u >= zero) & (u < w) & (v >= zero) & (v < h)
        column, row = np.int32(u), np.int32(v)
        aside, below = u - np.float32(column) - half, v - np.float32(row) - half
        off[i] = aside * aside + below * below if inside else nowhere
        cells[i] = row * stride + column if inside else np.int32(0)


@kernel
def _project(x, y, z, start, matrix, h, w, stride, near, column, row, ahead, cells):
    """One page: column, row and z of every point, and its cell, -1 off the grid."""
    m00, m01, m02, m03 = matrix[0, 0], matrix[0, 1], matrix[0, 2], matrix[0, 3]
    m10, m11, m12, m13 = matrix[1, 0], matrix[1, 1], matrix[1, 2], matrix[1, 3]
    m20, m21, m22, m23 = matrix[2, 0], matrix[2, 1], matrix[2, 2], matrix[2, 3]
    rows = len(cells)
    px, py, pz = x[start : start + rows], y[start : start + rows], z[start : start + rows]
    zero, one = np.float32(0), np.float32(1)
    for i in range(rows):
        d = px[i] * m20 + py[i] * m21 + pz[i] * m22 + m23
        inverse = one / d
        u = (px[i] * m00 + py[i] * m01 + pz[i] * m02 + m03) * inverse
        v = (px[i] * m10 + py[i] * m11 + pz[i] * m12 + m13) * inverse
        inside = (d > near) & (u >= zero) & (u < w) & (v >= zero) & (v < h)
        column[i], row[i], ahead[i] = u, v, d
        cells[i] = np.int32(v) * stride + np.int32(u) if inside else np.int32(-1)


@kernel
def _choose(cells, points, depths, offs, slack, index, depth):
    """Of the points on each cell's front surface, the one nearest to the cell's centre."""
    surface, best = depth.copy(), np.full(len(depth), np.inf, np.float32)
    for i in range(len(cells)):
        cell = cells[i]
        if depths[i] <= surface[cell] * slack and offs[i] < best[cell]:
            best[cell], index[cell], depth[cell] = offs[i], points[i], depths[i]


@kernel
def _measure(x, y, z, matrix, w, index, offset):
    """Where each winner fell from its cell's centre."""
    one, half = np.float32(1), np.float32(0.5)
    for cell in range(len(index)):
        i = index[cell]
        if i >= 0:
            inverse = one / (x[i] * matrix[2, 0] + y[i] * matrix[2, 1] + z[i] * matrix[2, 2] + matrix[2, 3])
            u = (x[i] * matrix[0, 0] + y[i] * matrix[0, 1] + z[i] * matrix[0, 2] + matrix[0, 3]) * inverse
            v = (x[i] * matrix[1, 0] + y[i] * matrix[1, 1] + z[i] * matrix[1, 2] + matrix[1, 3]) * inverse
            offset[0, cell] = u - np.float32(cell % w) - half
            offset[1, cell] = v - np.float32(cell // w) - half
