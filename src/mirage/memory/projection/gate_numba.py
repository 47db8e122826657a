"""The write gate for processors: what `Gate.first` of mirage.memory.gate says, to the bit, by one compiled loop over
frames.

What does not depend on the points is made once for all frames of a write; a frame then asks the pages in its view and
nothing else. `T` frames, `h w` latent grid, `k` cells.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mirage.geometry.camera import Camera
from mirage.geometry.jit import kernel
from mirage.memory.points import PAGE, Points
from mirage.memory.policy import MemoryPolicy
from mirage.memory.projection.footprint_numba import spread
from mirage.memory.projection.hits import frustum
from mirage.memory.projection.splat import BEHIND, REACH, SHARE
from mirage.memory.projection.zbuffer import NEAR, projection
from mirage.memory.projection.zbuffer_numba import boxes_inside, nearest_to_centre, widened


class GateNumba:
    """Takes what `Gate` takes."""

    def __init__(
        self, policy: MemoryPolicy, camera: Camera, z: Tensor, cells: Sequence[Tensor], footprint: Tensor
    ) -> None:
        count, h, w = z.shape
        reach = REACH if policy.splat == "footprint" else 0
        size = (h + 2 * reach, w + 2 * reach)
        matrix = projection(camera, (h, w), reach)
        planes = frustum(matrix, size, NEAR).view(5, count, 4).transpose(0, 1).contiguous()
        focal = (camera.intrinsics[:, :2].abs() * camera.intrinsics.new_tensor([w, h])).float()
        self._views = matrix.numpy(), planes.numpy(), focal.numpy(), np.float32(NEAR)
        self._bands = z.contiguous().numpy(), np.float32(1 - policy.tolerance), np.float32(1 + policy.tolerance)
        ends = np.cumsum([0] + [len(each) for each in cells])
        self._cells = torch.cat(list(cells)).numpy(), ends, footprint.numpy()
        self._splat = np.float32(SHARE), reach, np.float32(BEHIND)
        self._rule = np.float32(policy.resolution_ratio), np.float32(policy.spacing / 2)

    def first(self, t: int, stop: int, points: Points) -> tuple[int, tuple[Tensor, tuple[Tensor, Tensor]]]:
        """See `Gate.first`."""
        cloud = points.cloud
        store = (*(axis.numpy() for axis in (cloud.x, cloud.y, cloud.z)), points.rows["footprint"].numpy())
        boxes = cloud.low.numpy(), cloud.high.numpy()
        t, fresh, rows, first = _first(
            t, stop, store, boxes, PAGE, self._views, self._bands, self._cells, self._splat, self._rule
        )
        return t, (torch.from_numpy(fresh), (torch.from_numpy(rows), torch.from_numpy(first)))


@kernel
def _decide(index, offset, stored, cells, footprint, ratio, spacing):
    """Places of new points, rows that are replaced, and the places of what replaces them; `footprint` by cell."""
    fresh, coarse, row_of = (
        np.empty(len(cells), np.int64),
        np.empty(len(cells), np.int64),
        np.empty(len(cells), np.int64),
    )
    found, several, w = 0, 0, index.shape[1]
    for k in range(len(cells)):
        r, c = cells[k] // w, cells[k] % w
        row = index[r, c]
        if row >= 0 and stored[row] > ratio * footprint[cells[k]]:
            coarse[several], row_of[several] = k, row
            several += 1
        elif row < 0 or max(abs(offset[0, r, c]), abs(offset[1, r, c])) > spacing:
            fresh[found] = k
            found += 1
    if several == 0:
        return fresh[:found], row_of[:0], coarse[:0]
    order = np.argsort(row_of[:several], kind="mergesort")  # stable: the first place of each row comes first
    rows, first = np.empty(several, np.int64), np.empty(several, np.int64)
    taken = 0
    for at in order:
        if taken == 0 or rows[taken - 1] != row_of[at]:
            rows[taken], first[taken] = row_of[at], coarse[at]
            taken += 1
        else:
            fresh[found] = coarse[at]
            found += 1
    return np.sort(fresh[:found]), rows[:taken], first[:taken]


@kernel
def _edged(z, reach, share):
    """A share of z [h,w], with reach cells around it that are like those at the edge."""
    h, w = z.shape
    edged = np.empty((h + 2 * reach, w + 2 * reach), np.float32)
    for r in range(h + 2 * reach):
        for c in range(w + 2 * reach):
            edged[r, c] = share * z[min(max(r - reach, 0), h - 1), min(max(c - reach, 0), w - 1)]
    return edged


@kernel
def _first(t, stop, store, boxes, rows, views, bands, cells, splat, rule):
    """The first frame from t on that has something to write, with what `_decide` says of it."""
    x, y, z, stored = store
    matrix, planes, focal, near = views
    order, ends, footprint = cells
    reach, everything = splat[1], np.float32(np.inf)
    seen, wide = np.empty(len(boxes[0]), np.bool_), widened(*boxes)
    h, w = bands[0].shape[1:]
    H, W = h + 2 * reach, w + 2 * reach
    while t < stop:
        low, high = _edged(bands[0][t], reach, bands[1]), _edged(bands[0][t], reach, bands[2])
        index, depth = np.full((H, W), -1, np.int64), np.full((H, W), np.inf, np.float32)
        offset = np.zeros((2, H, W), np.float32)
        boxes_inside(wide, planes[t], seen)
        pages = np.flatnonzero(seen)
        flat = index.ravel(), depth.ravel(), offset.reshape(2, -1)
        nearest_to_centre(
            x, y, z, pages, rows, matrix[t], np.uint32(H), np.uint32(W), near, low.ravel(), high.ravel(), *flat
        )
        inner = index[reach : reach + h, reach : reach + w].copy()
        shift = offset[:, reach : reach + h, reach : reach + w].copy()
        if reach:
            within = low[reach : reach + h, reach : reach + w], high[reach : reach + h, reach : reach + w]
            before = depth[reach : reach + h, reach : reach + w].copy()
            spread(index, depth, offset, stored, focal[t], splat, True, everything, *within, inner, before, shift)
        fresh, replaced, by = _decide(inner, shift, stored, order[ends[t] : ends[t + 1]], footprint[t], *rule)
        if len(fresh) or len(replaced):
            return t, fresh, replaced, by
        t += 1
    return stop, order[:0], order[:0], order[:0]
