"""Depth from pictures: what an estimator of somebody else looks like here.

`T` frames, `H W` their pixels, `H' W'` those of a depth map. An estimator that reads latents (the model's own depth
head) needs no picture and is called by the session as it is; one that reads pixels is wrapped in `FromFrames`, and the
session then decodes each chunk before it writes to the memory.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.grid import cell_centers


class FrameDepth(Protocol):
    """z-depth [T,H',W'] of frames [T,3,H,W] in [0, 1] seen by camera [T], at any resolution, of the whole frame: what
    an estimator cut off is invalid. `number` [T]: which video frames of the walk they are."""

    def __call__(self, frames: Tensor, camera: Camera, *, number: Tensor) -> DepthMap: ...


@dataclass(frozen=True)
class FromFrames:
    """Says that an estimator wants to see frames; see `FrameDepth`."""

    estimate: FrameDepth


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
