"""MapAnything (github.com/facebookresearch/map-anything, installed by the user) as a `DepthEstimator`.

It sees the frames of a chunk together, with their known cameras. Tested with a stand-in of the interface that its
repository documents (`MapAnything.from_pretrained`, `infer`, `preprocess_inputs`), not with its weights.
"""

from collections.abc import Callable
from typing import Any

import torch

from mirage.depth.protocol import Views, uncropped
from mirage.formats.image import to_bytes
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.optional import optional

DEFAULT = "facebook/map-anything-apache"


class MapAnythingDepth:
    """model: a loaded `MapAnything`; preprocess: its `preprocess_inputs`, which crops and resizes as it likes and says
    so in the intrinsics that it gives back."""

    def __init__(self, model: Any, preprocess: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        self.model, self.preprocess = model, preprocess

    @classmethod
    def load(cls, name: str = DEFAULT, *, device: torch.device | str = "cpu") -> "MapAnythingDepth":
        """From a hub id or folder."""
        with optional("mapanything", wanted="the depth model mapanything"):
            from mapanything.models import MapAnything  # pyright: ignore[reportMissingImports]
            from mapanything.utils.image import preprocess_inputs  # pyright: ignore[reportMissingImports]
        return cls(MapAnything.from_pretrained(name).to(device), preprocess_inputs)

    def __call__(self, views: Views, /) -> DepthMap:
        frames, camera = views.frames, views.camera
        camera = camera.to("cpu")
        k = camera.pixel_matrix((frames.shape[-2], frames.shape[-1])).float().expand(len(frames), 3, 3)
        seen = [{"img": torch.from_numpy(to_bytes(frame.cpu())), "intrinsics": k[t],
                  "camera_poses": camera.c2w[t].float(), "is_metric_scale": torch.tensor([False])}
                 for t, frame in enumerate(frames)]  # fmt: skip
        looked = self.preprocess(seen)
        found = self.model.infer(looked, apply_mask=True)
        z = torch.cat([view["depth_z"].float().cpu()[..., 0] for view in found])
        mask = torch.cat([view["mask"].cpu()[..., 0] for view in found]).bool()
        k = torch.cat([view["intrinsics"].reshape(1, 3, 3).float().cpu() for view in looked])
        seen = Camera.from_pixels(camera.c2w, k, (z.shape[-2], z.shape[-1])).intrinsics
        return uncropped(DepthMap(z, mask), seen, camera)
