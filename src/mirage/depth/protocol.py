"""Who says how far things are: one protocol, for estimators that read latents and for those that look at frames.

`T` latent frames, `C` latent channels, `h w` latent grid, `H W` pixels, `H' W'` the grid of a depth map. The model's
own depth head reads latents, so the memory needs no decoder; other people's networks look at frames, and only then is a
chunk decoded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.grid import cell_centers
from mirage.kinds import Brief


@dataclass(frozen=True, eq=False, repr=False)
class Views(Brief):
    """What depth is asked of: T views of a walk.

    latents  [T,C,h,w], normalised
    camera   [T]
    number   [T], which video frame of the walk each latent ends at; 0 is the given image
    first    whether latent 0 starts the stream and so stands for one video frame; every other one stands for four
    decode   () -> the frames of those numbers, [T,3,H,W] in [0, 1]
    """

    latents: Tensor
    camera: Camera
    number: Tensor
    first: bool
    decode: Callable[[], Tensor]

    @property
    def frames(self) -> Tensor:
        """[T,3,H,W] in [0, 1]; decoded when first asked for, which costs what decoding costs."""
        return self._decoded

    @cached_property
    def _decoded(self) -> Tensor:
        return self.decode()

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the latents."""
        return self.latents.shape[-2], self.latents.shape[-1]


class DepthEstimator(Protocol):
    """z-depth [T,H',W'] of the views' whole frames, on any grid; what an estimator cut off or cannot tell is invalid.

    Its scale is its own: a session locks it to what the memory already knows.
    """

    def __call__(self, views: Views, /) -> DepthMap: ...


def estimated(estimator: DepthEstimator, views: Views) -> DepthMap:
    """Depth [T,h,w] on the latents' grid, where the latents are."""
    depth = DepthMap.of(estimator(views), what="what a depth estimator gave")
    if depth.z.ndim != 3 or len(depth) != len(views.latents):
        raise InputError(f"a depth estimator gave {list(depth.shape)}; accepted: [{len(views.latents)},H,W]")
    depth = depth.to(views.latents.device)
    return depth if depth.shape[-2:] == views.grid else depth.resized(views.grid)


def uncropped(depth: DepthMap, seen: Tensor, camera: Camera) -> DepthMap:
    """Depth [T,H',W'] of the part of each frame that an estimator looked at -> of the whole frame.

    seen [T,4]: intrinsics (fx fy cx cy) of the part, normalised to its own unit square; camera [T]: of the whole frame.
    A crop makes the focal length a larger share of the picture; so the two tell where the part lies:

        whole  |----left----[  part  ]-----|      fx = fx' * share        cx = left + cx' * share
    """
    whole = camera.intrinsics.to(depth.z).expand(len(depth), 4)
    share = whole[:, :2] / seen.to(depth.z)[:, :2]
    left = whole[:, 2:] - seen.to(depth.z)[:, 2:] * share
    if not torch.isfinite(share).all() or (share <= 0).any() or (share > 1.05).any():
        raise InputError(
            f"an estimator's intrinsics {seen[0].tolist()} are of no part of the camera's {whole[0].tolist()}"
        )
    height, width = depth.shape[-2:]
    size = (round(height / share[0, 1].item()), round(width / share[0, 0].item()))
    uv = (cell_centers(size).to(depth.z) - left[:, None, None]) / share[:, None, None]
    inside = ((uv >= 0) & (uv < 1)).all(-1)
    column = (uv[..., 0] * width).long().clamp(0, width - 1)
    row = (uv[..., 1] * height).long().clamp(0, height - 1)
    frame = torch.arange(len(depth), device=depth.z.device)[:, None, None]
    return DepthMap(depth.z[frame, row, column], depth.valid[frame, row, column] & inside)
