"""Depth straight from latents, so that writing to the memory decodes no pixel.

Letters: `C` latent channels, `h w` latent grid, `*` any leading axes. Depth is z-depth, in world units.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor, nn

from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.grid import cell_centers


class LatentDepthHead(ModelMixin, ConfigMixin):
    """A small U-shaped convolutional net: each latent frame alone -> its log z-depth and whether that means anything.

    channels          C of the (normalised) latents
    hidden            width; 64 with C = 16 makes about half a million weights
    log_depth_center  what the untrained net says: exp(1) = 2.7 units away
    """

    @register_to_config
    def __init__(self, channels: int = 16, hidden: int = 64, log_depth_center: float = 1.0) -> None:
        super().__init__()
        self.center = log_depth_center
        self.stem = nn.Conv2d(channels + 3, hidden, 3, padding=1)
        self.fine = Residual(hidden)
        self.down1 = nn.Conv2d(hidden, hidden, 3, stride=2, padding=1)
        self.middle = Residual(hidden)
        self.down2 = nn.Conv2d(hidden, hidden, 3, stride=2, padding=1)
        self.coarse = nn.Sequential(Residual(hidden), Residual(hidden))
        self.middle_up = Residual(hidden)
        self.fine_up = Residual(hidden)
        self.out = nn.Sequential(nn.SiLU(), nn.Conv2d(hidden, 2, 3, padding=1))

    def forward(self, latents: Tensor, rays: Tensor, single: Tensor) -> tuple[Tensor, Tensor]:
        """latents [*,C,h,w], rays [*,2,h,w] (`cell_slopes`), single bool [*] -> log depth, validity logit; [*,h,w].

        `single`: the latent stands for one video frame (the first of a stream), not for four. The rays tell the net how
        wide the camera sees: the same picture through a lens twice as wide shows things twice as near.
        """
        lead = latents.shape[:-3]
        h, w = latents.shape[-2:]
        flag = single.to(latents)[..., None, None, None].expand(*lead, 1, h, w)
        seen = torch.cat([latents, rays.to(latents), flag], dim=-3)
        fine = self.fine(self.stem(seen.reshape(-1, *seen.shape[-3:])))
        middle = self.middle(self.down1(fine))
        coarse = self.coarse(self.down2(middle))
        middle = self.middle_up(middle + _grown(coarse, middle))
        fine = self.fine_up(fine + _grown(middle, fine))
        log_depth, valid = self.out(fine).unbind(1)
        return (log_depth + self.center).reshape(*lead, h, w), valid.reshape(*lead, h, w)

    def depth(self, latents: Tensor, camera: Camera, single: Tensor) -> DepthMap:
        """Depth [*,h,w] of latents [*,C,h,w] seen by camera [*] (or one for all); valid where the net says so."""
        rays = cell_slopes(camera, (latents.shape[-2], latents.shape[-1]))
        rays = rays.expand(*latents.shape[:-3], *rays.shape[-3:])
        log_depth, valid = self(latents, rays, single)
        return DepthMap(log_depth.float().exp(), valid > 0)


class Residual(nn.Module):
    """Two 3x3 convolutions beside the identity."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(min(8, hidden), hidden),
            nn.SiLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def cell_slopes(camera: Camera, grid: tuple[int, int]) -> Tensor:
    """Direction (x/z, y/z), in the camera's own axes, through the centre of each cell: [*,2,h,w]."""
    uv = cell_centers(grid, device=camera.intrinsics.device, dtype=camera.intrinsics.dtype)
    focal, center = camera.intrinsics[..., None, None, :2], camera.intrinsics[..., None, None, 2:]
    return rearrange((uv - center) / focal, "... h w xy -> ... xy h w")


def _grown(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="nearest")
