"""Training through a memory: gradients of a readout reach the latents that were written.

`T` written frames, `C` channels, `h w` latent grid. A read is a gather, so what a cell shows has the gradient 1 with
respect to the cell that its winning point came from, and 0 to all others; positions, depth and mask have none, for
which point wins is no smooth thing. The rounding of `MemoryPolicy.features` is passed straight through.
"""

from dataclasses import dataclass

from torch import Tensor

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.memory.readout import Readout


@dataclass(frozen=True, eq=False)
class Source:
    """Latents [T,C,h,w] that somebody differentiates by, written as frames `first`, `first` + 1, ... from `camera`."""

    first: int
    latents: Tensor
    camera: Camera

    @property
    def end(self) -> int:
        return self.first + len(self.latents)


def connected(latents: Tensor, readout: Readout, position: Tensor, sources: list[Source]) -> Tensor:
    """A readout's latents [T,C,h,w], the same numbers, as a function of the sources. position [N,3]: of the points."""
    if not sources:
        raise InputError("nothing in this memory was written with gradients; accepted: a read that is differentiable "
                         "after a write of latents that require grad, with grad enabled")  # fmt: skip
    rows = latents.movedim(1, -1)
    for source in sources:
        of_it = readout.mask & (readout.frame >= source.first) & (readout.frame < source.end)
        frame = (readout.frame[of_it] - source.first).long()
        h, w = source.latents.shape[-2:]
        # a point lies where the centre of its cell was lifted to, so its own camera finds the cell again
        uv, _ = source.camera[frame].project(position[readout.index[of_it]][:, None])
        row, column = (uv[:, 0, 1] * h).long().clamp(0, h - 1), (uv[:, 0, 0] * w).long().clamp(0, w - 1)
        its = source.latents[
            frame.to(source.latents.device), :, row.to(source.latents.device), column.to(source.latents.device)
        ]
        its = its.to(rows)
        rows = rows.index_put((of_it,), rows[of_it] + (its - its.detach()))
    return rows.movedim(-1, 1)
