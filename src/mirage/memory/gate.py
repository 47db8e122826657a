"""The write gate: which cells of a frame are new to a memory, and which show something finer than it has.

    gate = Gate(policy, camera, z, cells, footprint)                  all frames [T] of one write, looked at together
    t, (fresh, (rows, replacing)) = gate.first(t, stop, points)       the next frame with something to write

`T` frames, `h w` latent grid, `k` cells that may enter. A cell is known if any point in it lies at its depth, in front
or hidden: so a view that is written again adds nothing even where something stands before it. Frames are asked one
after the other, each of the points of its moment; those that have nothing to write change no points, so whoever asks
is told of the others alone.
"""

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from mirage.geometry.camera import Camera
from mirage.memory.points import Points
from mirage.memory.policy import MemoryPolicy
from mirage.memory.projection.footprint import see
from mirage.memory.projection.zbuffer import backend_for

Unknown = tuple[Tensor, tuple[Tensor, Tensor]]
"""Places in a frame's cells of new points [f]; rows of the store [r], and the places [r] of what replaces them."""


class Gate:
    """camera [T] as the grid has it, z [T,h,w] on the points' device; which `cells` [k] of each frame may enter;
    footprint [T,h*w]."""

    def __init__(
        self, policy: MemoryPolicy, camera: Camera, z: Tensor, cells: Sequence[Tensor], footprint: Tensor
    ) -> None:
        self.policy, self.camera, self.z, self.cells, self.footprint = policy, camera, z, cells, footprint
        self.grid, self.compiled = (z.shape[-2], z.shape[-1]), backend_for(z.device) == "numba"

    def first(self, t: int, stop: int, points: Points) -> tuple[int, Unknown]:
        """Of frames t to stop the first that has cells which the points do not know, and those; `stop` where none has.

        Several fine cells may see the same coarse point: the first takes its row, the others are new.
        """
        nothing = self.cells[t].new_empty(0)
        if self.policy.admit == "unseen" and len(points) and self.compiled:
            return self._compiled.first(t, stop, points)
        while t < stop:
            if self.policy.admit == "all" or not len(points):
                fresh, replaced = torch.arange(len(self.cells[t]), device=nothing.device), (nothing, nothing)
            else:
                fresh, replaced = self._unknown(t, points)
            if len(fresh) or len(replaced[0]):
                return t, (fresh, replaced)
            t += 1
        return stop, (nothing, (nothing, nothing))

    def _unknown(self, t: int, points: Points) -> Unknown:
        """The definition, of one frame."""
        policy, cells, z = self.policy, self.cells[t], self.z[t : t + 1]
        footprint, nothing = self.footprint[t].index_select(0, cells), cells.new_empty(0)
        within = z * (1 - policy.tolerance), z * (1 + policy.tolerance)
        fill, stored = policy.splat == "footprint", points.rows["footprint"]
        seen = see(points.cloud, stored, self.camera[t : t + 1], self.grid, front=math.inf, fill=fill, within=within)
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

        return GateNumba(self.policy, self.camera, self.z, self.cells, self.footprint)
