"""Which points cameras looked through, for processors: `looked_through_torch` of visibility.py, to the bit, compiled by
numba."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mirage.geometry.jit import kernel


def looked_through_numba(points: Tensor, matrix: Tensor, limit: Tensor, since: Sequence[int]) -> Tensor:
    """See `looked_through_torch`."""
    x, y, z = (axis.contiguous().numpy() for axis in points.unbind(-1))
    through = torch.zeros(len(points), dtype=torch.bool)
    first, table = np.array(since, dtype=np.int64), limit.contiguous().numpy()
    _looked_through(x, y, z, matrix.contiguous().numpy(), table, first, through.numpy())
    return through


@kernel
def _looked_through(x, y, z, matrix, limit, since, through):
    """Points in blocks: a loop that the compiler turns into vector instructions, then one look into the table each."""
    block, (rows, columns) = 512, limit.shape[1:]
    corner, ahead = np.empty(block, np.int32), np.empty(block, np.float32)
    zero, one, half = np.float32(0), np.float32(1), np.float32(0.5)
    h, w, stride = np.float32(rows - 1), np.float32(columns - 1), np.int32(columns)
    for j in range(len(matrix)):
        m00, m01, m02, m03 = matrix[j, 0, 0], matrix[j, 0, 1], matrix[j, 0, 2], matrix[j, 0, 3]
        m10, m11, m12, m13 = matrix[j, 1, 0], matrix[j, 1, 1], matrix[j, 1, 2], matrix[j, 1, 3]
        m20, m21, m22, m23 = matrix[j, 2, 0], matrix[j, 2, 1], matrix[j, 2, 2], matrix[j, 2, 3]
        table = limit[j].ravel()
        for start in range(since[j], len(x), block):
            count = min(block, len(x) - start)
            px, py, pz = x[start : start + count], y[start : start + count], z[start : start + count]
            for i in range(count):
                d = px[i] * m20 + py[i] * m21 + pz[i] * m22 + m23
                inverse = one / d
                u = (px[i] * m00 + py[i] * m01 + pz[i] * m02 + m03) * inverse
                v = (px[i] * m10 + py[i] * m11 + pz[i] * m12 + m13) * inverse
                said = (d > zero) & (u >= zero) & (u <= w) & (v >= zero) & (v <= h)
                corner[i] = np.int32(v + half) * stride + np.int32(u + half) if said else np.int32(0)
                ahead[i] = d if said else np.float32(np.inf)  # before nothing
            for i in range(np.uint32(count)):
                if ahead[i] < table[np.uint32(corner[i])]:
                    through[start + i] = True
