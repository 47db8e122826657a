"""The write gate: which cells of a frame are new to a memory, and which show something finer than it has.

    gate = Gate(policy, camera, z)                          all frames [T] of one write, looked at together
    fresh, (rows, replacing) = gate.unknown(t, points, cells, footprint)      frame t, against the points of that moment

`T` frames, `h w` latent grid, `k` cells that may enter. A cell is known if any point in it lies at its depth, in front
or hidden: so a view that is written again adds nothing even where something stands before it.
"""

import math
from functools import cached_property

import torch
from torch import Tensor

from mirage.geometry.camera import Camera
from mirage.memory.points import Points
from mirage.memory.policy import MemoryPolicy
from mirage.memory.projection.footprint import see
from mirage.memory.projection.zbuffer import backend_for

Unknown = tuple[Tensor, tuple[Tensor, Tensor]]
"""Places in `cells` of new points [f]; rows of the store [r], and the places [r] of what replaces them."""


class Gate:
    """camera [T] as the grid has it, z [T,h,w] on the points' device."""

    def __init__(self, policy: MemoryPolicy, camera: Camera, z: Tensor) -> None:
        self.policy, self.camera = policy, camera
        self.low, self.high = z * (1 - policy.tolerance), z * (1 + policy.tolerance)
        self.grid = (z.shape[-2], z.shape[-1])

    def unknown(self, t: int, points: Points, cells: Tensor, footprint: Tensor) -> Unknown:
        """Of `cells` [k] of frame t, with their `footprint` [k], what the points do not know.

        Several fine cells may see the same coarse point: the first takes its row, the others are new.
        """
        if self.policy.admit == "all" or not len(points):
            nothing = cells.new_empty(0)
            return torch.arange(len(cells), device=cells.device), (nothing, nothing)
        if backend_for(cells.device) == "numba":
            return self._compiled.unknown(t, points, cells, footprint)
        return self.unknown_torch(t, points, cells, footprint)

    def unknown_torch(self, t: int, points: Points, cells: Tensor, footprint: Tensor) -> Unknown:
        """The definition."""
        policy, one, nothing = self.policy, slice(t, t + 1), cells.new_empty(0)
        fill, within, stored = policy.splat == "footprint", (self.low[one], self.high[one]), points.rows["footprint"]
        seen = see(points.cloud, stored, self.camera[one], self.grid, front=math.inf, fill=fill, within=within)
        row = seen.index.flatten().index_select(0, cells)
        size = stored.index_select(0, row.clamp_min(0))
        coarse = ((row >= 0) & (size > policy.resolution_ratio * footprint)).nonzero()[:, 0]
        far = seen.offset.abs().amax(1).flatten().index_select(0, cells) > policy.spacing / 2
        fresh = (row < 0) | far
        if not len(coarse):
            return fresh.nonzero()[:, 0], (nothing, nothing)
        rows, group = torch.unique(row[coarse], return_inverse=True)
        first = torch.full_like(rows, len(cells)).scatter_reduce_(0, group, coarse, "amin")
        fresh[coarse] = True
        fresh[first] = False
        return fresh.nonzero()[:, 0], (rows, first)

    @cached_property
    def _compiled(self):
        from mirage.memory.projection.gate_numba import GateNumba

        return GateNumba(self.policy, self.camera, self.low, self.high)
