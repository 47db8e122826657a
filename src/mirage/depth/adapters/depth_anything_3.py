"""Depth Anything 3 (github.com/ByteDance-Seed/Depth-Anything-3, installed by the user) as a `DepthEstimator`.

It sees the frames of a chunk together, with their known cameras where it can take them: it brings its depth to their
scale by evo's Umeyama, which refuses places on one line, and its metric and mono networks take no cameras at all.
Without them its depth has a scale of its own, which a walk locks to what it remembers in any case. Tested with the
class of depth-anything-3 0.1.1 and random weights where that is installed, else with a stand-in; not with its weights.
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
STRAIGHT = 0.01  # a path whose places leave a line by less than this share of its length is one


class DepthAnything3Depth:
    """model: a loaded `DepthAnything3`. canonical: its depth is that of a camera of 300 pixels of focal length. posed:
    its network takes cameras."""

    def __init__(self, model: Any, *, canonical: bool = False, posed: bool = True) -> None:
        self.model, self.canonical, self.posed = model, canonical, posed

    @classmethod
    def load(cls, name: str = DEFAULT, *, device: torch.device | str = "cpu") -> "DepthAnything3Depth":
        """From a hub id or folder."""
        with optional("depth_anything_3", wanted="the depth model da3"):
            from depth_anything_3.api import DepthAnything3  # pyright: ignore[reportMissingImports]
        model = DepthAnything3.from_pretrained(name).to(device)
        network = getattr(model.model, "da3", model.model)  # nested networks have a metric one beside it
        return cls(model, canonical="metric" in model.model_name, posed=network.cam_enc is not None)

    def __call__(self, views: Views, /) -> DepthMap:
        frames, camera = views.frames, views.camera
        size = (frames.shape[-2], frames.shape[-1])
        camera = camera.to("cpu")
        given: dict[str, Any] = {}
        if self.posed and _spread(camera):
            given = {
                "extrinsics": camera.w2c.float().numpy(),
                "intrinsics": camera.pixel_matrix(size).float().expand(len(frames), 3, 3).numpy(),
            }
        pictures = [to_bytes(frame.cpu()) for frame in frames]
        # its other ways to the patch size crop; a resize shows the whole frame, and the focal length goes with it
        try:
            found = self.model.inference(pictures, process_res_method="upper_bound_resize", **given)
        except Exception as error:
            if not given or type(error).__name__ != "GeometryException":
                raise
            given = {}  # the places that it found itself lie on a line
            found = self.model.inference(pictures, process_res_method="upper_bound_resize")
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


def _spread(camera: Camera) -> bool:
    """Whether the places of three or more cameras span a plane."""
    if len(camera) < 3:
        return False
    along, aside, _ = torch.linalg.svdvals((camera.center - camera.center.mean(0)).double()).tolist()
    return aside > STRAIGHT * along
