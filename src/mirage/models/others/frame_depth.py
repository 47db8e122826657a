"""Depth Anything V2 (metric) and DepthPro of transformers, as estimators that read frames.

`T` frames, `H W` pixels. Frames are prepared here, for the processors of transformers need torchvision: resized to what
the network takes, without a crop, and normalised. The camera is known, so a focal length is never guessed.
"""

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DepthAnythingForDepthEstimation, DepthProForDepthEstimation

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap

DEPTH_ANYTHING = "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf"
DEPTH_PRO = "apple/DepthPro-hf"
SHORT_SIDE = 518  # pixels that Depth Anything was trained at
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Pictures(Protocol):
    """What is looked at: `frames` [T,3,H,W] in [0, 1] and their `camera` [T]; `mirage.depth.protocol.Views` is one."""

    @property
    def frames(self) -> Tensor: ...

    @property
    def camera(self) -> Camera: ...


class DepthAnythingDepth:
    """Metric z-depth [T,H',W'] of each frame alone, H' W' multiples of the patch with the short side near 518."""

    def __init__(self, model: DepthAnythingForDepthEstimation) -> None:
        its: Any = model.config
        if its.depth_estimation_type != "metric":
            raise InputError(
                f"Depth Anything of type {its.depth_estimation_type!r}: its depth has no scale; accepted: a metric one"
            )
        self.model, self.patch, self.farthest = model.eval(), its.patch_size, float(its.max_depth)

    @classmethod
    def load(cls, name: str = DEPTH_ANYTHING, *, device: torch.device | str = "cpu") -> "DepthAnythingDepth":
        """From a hub id or folder; safetensors only."""
        return cls(_loaded(DepthAnythingForDepthEstimation, name).to(device))

    @torch.no_grad()
    def __call__(self, views: Pictures, /) -> DepthMap:
        frames = views.frames
        h, w = frames.shape[-2:]
        scale = SHORT_SIDE / min(h, w)
        size = tuple(max(round(n * scale / self.patch), 1) * self.patch for n in (h, w))
        mean, deviation = (torch.tensor(values)[:, None, None].to(self.model.device) for values in IMAGENET)
        z = []
        for frame in frames:  # one at a time: a chunk at once would need a chunk's memory
            seen = F.interpolate(frame[None].to(self.model.device), size, mode="bicubic", antialias=True)
            found: Any = self.model(pixel_values=((seen.clamp(0, 1) - mean) / deviation).to(self.model.dtype))
            z.append(found.predicted_depth[0].float())
        depth = torch.stack(z)
        return DepthMap(depth, depth < 0.99 * self.farthest)  # the end of its range is "far away", the sky most of all


class DepthProDepth:
    """Metric z-depth [T,S,S] of each frame alone, stretched to the square that the network takes."""

    def __init__(self, model: DepthProForDepthEstimation) -> None:
        its: Any = model.config
        self.model, self.side = model.eval(), round(its.patch_size / min(its.scaled_images_ratios))

    @classmethod
    def load(cls, name: str = DEPTH_PRO, *, device: torch.device | str = "cpu") -> "DepthProDepth":
        """From a hub id or folder; safetensors only."""
        return cls(_loaded(DepthProForDepthEstimation, name).to(device))

    @torch.no_grad()
    def __call__(self, views: Pictures, /) -> DepthMap:
        frames, camera = views.frames, views.camera
        focal = camera.intrinsics.expand(len(frames), 4)[:, 0].to(self.model.device)
        z = []
        for frame, fx in zip(frames, focal, strict=True):
            seen = F.interpolate(frame[None].to(self.model.device) * 2 - 1, (self.side, self.side), mode="bilinear",
                                 antialias=True)  # fmt: skip
            found: Any = self.model(pixel_values=seen.to(self.model.dtype))
            # the network says inverse depth for a focal length of one picture width
            z.append(fx / found.predicted_depth[0].float().clamp(1e-4, 1e4))
        depth = torch.stack(z)
        return DepthMap(depth, depth < 1e3 * focal[:, None, None])


def _loaded(kind: Any, name: str) -> Any:
    try:
        return kind.from_pretrained(name, use_safetensors=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise InputError(f"depth model {name!r} does not load: {' '.join(str(error).split())[:300]}") from error
