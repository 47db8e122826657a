"""Grids in the unit square. `h w`: a grid of any resolution; u runs right, v runs down, both in [0, 1].

Cell i of n has its centre at (i + 1/2)/n, so every resolution covers the same square and no code rescales anything.
"""

import torch
from torch import Tensor


def cell_centers(
    size: tuple[int, int], *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Centres (u, v) of an h x w grid: [h, w, 2] in the unit square."""
    h, w = size
    v = (torch.arange(h, device=device, dtype=dtype) + 0.5) / h
    u = (torch.arange(w, device=device, dtype=dtype) + 0.5) / w
    return torch.stack(torch.broadcast_tensors(u[None, :], v[:, None]), dim=-1)
