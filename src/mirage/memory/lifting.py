"""Cells as points: where a latent lies in its cell, and where that is in the world.

`T` latent frames, `C` latent channels, `h w` latent grid, `k` cells. A camera "as the grid has it" has its principal
point half a cell on where `MemoryPolicy.lift` says that a latent lies in the corner of its cell.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mirage.geometry.camera import Camera
from mirage.geometry.grid import cell_centers
from mirage.memory.policy import Lift


def gridded(camera: Camera, grid: tuple[int, int], lift: Lift) -> Camera:
    """The camera as the grid has it."""
    if lift == "center":
        return camera
    half = camera.intrinsics.new_tensor([0, 0, 0.5 / grid[1], 0.5 / grid[0]])
    return camera.with_intrinsics(camera.intrinsics + half)


def from_the_middle(offset: Tensor, mask: Tensor) -> Tensor:
    """Offsets [T,2,h,w] from where the corner convention has a cell, as seen from the cell's true middle."""
    return (offset - 0.5).masked_fill(~mask[:, None], 0.0)


def lifted(feature: Tensor, z: Tensor, camera: Camera, first: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Every cell of T frames as a point: position, feature, frame and footprint, each [T*h*w, ...]. feature: so, as it
    is kept; z [T,h,w]; camera [T] as the grid has it; first: the number of the first frame."""
    h, w = z.shape[-2:]
    position = camera.unproject(cell_centers((h, w), device=z.device).expand(*z.shape, 2), z)
    focal = (camera.intrinsics[:, :2] * z.new_tensor([w, h])).amin(-1)
    frame = first + torch.arange(len(z), dtype=torch.int32, device=z.device)
    footprint = (z / focal[:, None, None]).flatten()
    return position.flatten(0, 2), feature, frame.repeat_interleave(h * w), footprint


@dataclass(frozen=True, eq=False)
class Cells:
    """Latent frames to be written: latents [T,C,h,w], z [T,h,w], the cameras [T] as the grid has them, and the number
    of the first. Only the cells that enter are lifted and laid out as points."""

    latents: Tensor
    z: Tensor
    camera: Camera
    first: int

    @cached_property
    def footprint(self) -> Tensor:
        """[T,h*w], in world units."""
        h, w = self.z.shape[-2:]
        focal = (self.camera.intrinsics[:, :2] * self.z.new_tensor([w, h])).amin(-1)  # cells per unit of slope
        return self.z.flatten(1) / focal[:, None]

    def rows(self, t: int, cells: Tensor) -> tuple[Tensor, Tensor, int, Tensor]:
        """Of `cells` [k] of frame t, as `Points.append` takes them: position [k,3], feature [k,C], frame, footprint
        [k]."""
        h, w = self.z.shape[-2:]
        uv = cell_centers((h, w), device=cells.device).flatten(0, 1).index_select(0, cells)
        z = self.z[t].flatten().index_select(0, cells)
        feature = self.latents[t].flatten(1).T.index_select(0, cells)
        return self.camera[t].unproject(uv, z), feature, self.first + t, self.footprint[t].index_select(0, cells)
