"""Depth Anything 3 (github.com/ByteDance-Seed/Depth-Anything-3, installed by the user) as a `DepthEstimator`.

It sees the frames of a chunk together, with their known cameras. Tested with a stand-in of the interface that its
repository documents (`DepthAnything3.from_pretrained`, `inference`), not with its weights.
"""

from typing import Any

import torch

from mirage.depth.protocol import Views, uncropped
from mirage.formats.image import to_bytes
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.optional import optional

DEFAULT = "depth-anything/DA3NESTED-GIANT-LARGE"
CANONICAL_FOCAL = 300.0  # pixels; the metric series says depth as that camera would see it


class DepthAnything3Depth:
    """model: a loaded `DepthAnything3`. canonical: its depth is that of a camera of 300 pixels of focal length."""

    def __init__(self, model: Any, *, canonical: bool = False) -> None:
        self.model, self.canonical = model, canonical

    @classmethod
    def load(cls, name: str = DEFAULT, *, device: torch.device | str = "cpu") -> "DepthAnything3Depth":
        """From a hub id or folder."""
        with optional("depth_anything_3", wanted="the depth model da3"):
            from depth_anything_3.api import DepthAnything3  # pyright: ignore[reportMissingImports]
        return cls(DepthAnything3.from_pretrained(name).to(device), canonical="METRIC" in name.upper())

    def __call__(self, views: Views, /) -> DepthMap:
        frames, camera = views.frames, views.camera
        size = (frames.shape[-2], frames.shape[-1])
        camera = camera.to("cpu")
        given: dict[str, Any] = {}
        if len(frames) > 1:  # the scale of poses needs two of them
            given = {
                "extrinsics": camera.w2c.float().numpy(),
                "intrinsics": camera.pixel_matrix(size).float().expand(len(frames), 3, 3).numpy(),
            }
        # its other ways to the patch size crop; a resize shows the whole frame, and the focal length goes with it
        found = self.model.inference(
            [to_bytes(frame.cpu()) for frame in frames], process_res_method="upper_bound_resize", **given
        )
        depth = torch.as_tensor(found.depth).float()
        height, width = depth.shape[-2:]
        seen = camera.intrinsics.expand(len(frames), 4)
        if given and found.intrinsics is not None:
            k = torch.as_tensor(found.intrinsics).float()
            seen = Camera.from_pixels(camera.c2w, k, (height, width)).intrinsics
        if self.canonical:
            focal = (seen[:, 0] * width + seen[:, 1] * height) / 2
            depth = depth * focal[:, None, None] / CANONICAL_FOCAL
        return uncropped(DepthMap(depth), seen, camera)
