"""The published memory, restated from its description: the slow baseline that benchmarks compare with.

`N` points, `C` channels, `T` cameras, `h w` grid. A read transforms every point, keeps those in the view, sorts them
far to near and scatters all their features, so that the nearest, written last, stays. That last step is undefined for
equal indices on more than one thread or on a GPU, which is one of the reasons for zbuffer.py. A write concatenates.
Positions are lifted as ours are; its own half-cell error is not part of the comparison.
"""

import torch
from einops import rearrange
from torch import Tensor

from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.grid import cell_centers


class PublishedCloud:
    """Append-only float32 points: position [N,3], feature [N,C]."""

    def __init__(self, channels: int) -> None:
        self.position, self.feature = torch.empty(0, 3), torch.empty(0, channels)

    def write(self, latents: Tensor, depth: DepthMap, camera: Camera) -> None:
        """latents [T,C,h,w] at depth [T,h,w]: every valid cell becomes a point."""
        h, w = depth.shape[-2:]
        valid = depth.valid.flatten()
        position = camera.unproject(cell_centers((h, w)), depth.z).flatten(0, -2)[valid]
        feature = rearrange(latents, "t c h w -> (t h w) c").float()[valid]
        self.position = torch.cat([self.position, position])
        self.feature = torch.cat([self.feature, feature])

    def read(self, camera: Camera, grid: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """latents [T,C,h,w], mask [T,h,w], depth [T,h,w] (0 where nothing fell)."""
        views = [self._view(camera[t : t + 1], grid) for t in range(len(camera))]
        latents, mask, depth = (torch.stack(parts) for parts in zip(*views, strict=True))
        return latents, mask, depth

    def _view(self, camera: Camera, grid: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        h, w = grid
        uv, z = (part[0] for part in camera.project(self.position))
        column, row = (uv * uv.new_tensor([w, h])).floor().long().unbind(-1)
        inside = (z > 0) & (column >= 0) & (column < w) & (row >= 0) & (row < h)
        cell, z, feature = (row * w + column)[inside], z[inside], self.feature[inside]
        far_to_near = z.argsort(descending=True)
        cell, z, feature = cell[far_to_near], z[far_to_near], feature[far_to_near]
        latents, depth = feature.new_zeros(feature.shape[1], h * w), z.new_zeros(h * w)
        latents[:, cell] = feature.T
        depth[cell] = z
        return latents.view(-1, h, w), (depth > 0).view(h, w), depth.view(h, w)
