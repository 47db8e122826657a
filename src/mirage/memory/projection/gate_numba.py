"""The write gate for processors: `Gate.unknown_torch` of mirage.memory.gate, to the bit, by compiled kernels.

What does not depend on the points is made once for all frames of a write; a frame then asks the pages in its view and
nothing else. `T` frames, `h w` latent grid, `k` cells.
"""

import numpy as np
import torch
from torch import Tensor

from mirage.geometry.camera import Camera
from mirage.memory.points import PAGE, Points
from mirage.memory.policy import MemoryPolicy
from mirage.memory.projection.footprint import replicated
from mirage.memory.projection.footprint_numba import spread_one
from mirage.memory.projection.hits import frustum
from mirage.memory.projection.jit import kernel
from mirage.memory.projection.splat import REACH
from mirage.memory.projection.zbuffer import NEAR, projection
from mirage.memory.projection.zbuffer_numba import nearest_to_centre, pages_inside


class GateNumba:
    """camera [T] as the grid has it; `low`, `high` [T,h,w]: the depths that are the same surface."""

    def __init__(self, policy: MemoryPolicy, camera: Camera, low: Tensor, high: Tensor) -> None:
        self.policy, self.fill = policy, policy.splat == "footprint"
        count, h, w = low.shape
        margin = REACH if self.fill else 0
        self.size = (h + 2 * margin, w + 2 * margin)
        matrix = projection(camera, (h, w), margin)
        self.matrix = matrix.numpy()
        self.planes = frustum(matrix, self.size, NEAR).view(5, count, 4).transpose(0, 1).contiguous().numpy()
        self.focal = (camera.intrinsics[:, :2].abs() * camera.intrinsics.new_tensor([w, h])).float().numpy()
        self.low, self.high = low.numpy(), high.numpy()
        edged = (replicated(low), replicated(high)) if self.fill else (low, high)
        self.edged = [bound.flatten(1).contiguous().numpy() for bound in edged]
        self.index = np.empty(self.size, np.int64)
        self.depth, self.offset = np.empty(self.size, np.float32), np.empty((2, *self.size), np.float32)

    def unknown(self, t: int, points: Points, cells: Tensor, footprint: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """See `Gate.unknown_torch`."""
        cloud, stored = points.cloud, points.rows["footprint"].numpy()
        pages = pages_inside(cloud, self.planes[t])
        self.index.fill(-1)
        self.depth.fill(np.inf)
        self.offset.fill(0)
        seen = self.index, self.depth, self.offset
        low, high = (bound[t] for bound in self.edged)
        nearest_to_centre(cloud, pages, PAGE, self.matrix[t], self.size, NEAR, (low, high), seen)
        if self.fill:
            seen = spread_one(seen, stored, self.focal[t], (self.low[t], self.high[t]))
        fresh, rows, first = _decide(
            seen[0].ravel(),
            seen[2].reshape(2, -1),
            stored,
            cells.numpy(),
            footprint.numpy(),
            np.float32(self.policy.resolution_ratio),
            np.float32(self.policy.spacing / 2),
        )
        return torch.from_numpy(fresh), (torch.from_numpy(rows), torch.from_numpy(first))


@kernel
def _decide(index, offset, stored, cells, footprint, ratio, spacing):
    """Places of new points, rows that are replaced, and the places of what replaces them."""
    fresh, coarse, row_of = (
        np.empty(len(cells), np.int64),
        np.empty(len(cells), np.int64),
        np.empty(len(cells), np.int64),
    )
    found, several = 0, 0
    for k in range(len(cells)):
        row = index[cells[k]]
        if row >= 0 and stored[row] > ratio * footprint[k]:
            coarse[several], row_of[several] = k, row
            several += 1
        elif row < 0 or max(abs(offset[0, cells[k]]), abs(offset[1, cells[k]])) > spacing:
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
