"""Cameras of radiance fields that are neither COLMAP's nor nerfstudio's. `F`: frames.

3dgs    cameras.json as 3D Gaussian Splatting leaves it and its viewers take it: `rotation` camera-to-world, `position`,
        OpenCV axes, focal lengths in pixels, the centre in the middle. https://github.com/graphdeco-inria/gaussian-splatting
llff    poses_bounds.npy [F,17]: 3x5 by rows with columns down, right, backward, position and (H, W, focal length), then
        the nearest and farthest depth. https://github.com/Fyusion/LLFF
"""

import io
import json
from pathlib import PurePath

import numpy as np
import torch

from mirage.formats.cameras.writers.writer import CameraWriter, Written, off_centre, one_focal_length

NEAR, FAR = 0.1, 100.0
"""Depths between which the world lies where no points tell."""


def gaussians(path: Written) -> bytes:
    """cameras.json."""
    height, width = path.pixels
    rotations, centers = path.camera.c2w[:, :3, :3].tolist(), path.camera.center.tolist()
    document = [
        {
            "id": number,
            "img_name": str(PurePath(name).with_suffix("")),
            "width": width,
            "height": height,
            "position": center,
            "rotation": rotation,
            "fy": k[1][1],
            "fx": k[0][0],
        }
        for number, (name, center, rotation, k) in enumerate(
            zip(path.names, centers, rotations, path.K.tolist(), strict=True)
        )
    ]
    return (json.dumps(document, indent=1) + "\n").encode()


def llff(path: Written) -> bytes:
    """poses_bounds.npy; the focal length is that of the width."""
    height, width = path.pixels
    right, down, ahead = path.camera.c2w[:, :3, :3].unbind(-1)
    frames = len(path)
    sizes = torch.tensor([height, width], dtype=torch.float64).expand(frames, 2)
    sizes = torch.cat([sizes, path.K[:, 0, :1]], dim=1)
    matrices = torch.stack([down, right, -ahead, path.camera.center, sizes], dim=-1)
    rows = torch.cat([matrices.flatten(1), _bounds(path)], dim=1)
    file = io.BytesIO()
    np.save(file, rows.numpy())
    return file.getvalue()


def _bounds(path: Written) -> torch.Tensor:
    """Nearest and farthest depth [F,2] of what a frame sees, all but a hundredth of it at either end."""
    bounds = torch.tensor([NEAR, FAR], dtype=torch.float64).repeat(len(path), 1)
    if path.points is None or len(path.points) == 0:
        return bounds
    some = path.points.positions.double()[:: max(1, len(path.points) // 50_000)]
    share = torch.tensor([0.01, 0.99], dtype=torch.float64)
    for frame in range(len(path)):
        uv, z = path.camera[frame].project(some)
        seen = z[(z > 0) & (uv >= 0).all(-1) & (uv <= 1).all(-1)]
        if len(seen):
            bounds[frame] = torch.quantile(seen, share)
    return bounds


GAUSSIANS = CameraWriter(
    "3dgs",
    "3D Gaussian Splatting cameras.json",
    ".json",
    gaussians,
    pixels=True,
    loses=off_centre,
)
LLFF = CameraWriter(
    "llff",
    "LLFF poses_bounds.npy",
    ".npy",
    llff,
    pixels=True,
    loses=one_focal_length,
)
