"""nerfstudio's transforms.json, written: camera-to-world, OpenGL axes, pixels. `F`: frames.
https://docs.nerf.studio/quickstart/data_conventions.html
"""

import json
from collections.abc import Sequence

import torch

from mirage.formats.cameras.poses import OPENGL_FROM_OPENCV
from mirage.geometry.camera import Camera


def text(camera: Camera, *, size: tuple[int, int], names: Sequence[str]) -> str:
    """The trajectory [F] as transforms.json for images of `size` (H, W) called `names`."""
    height, width = size
    c2w = (camera.c2w.double() @ OPENGL_FROM_OPENCV).tolist()
    K = camera.to(torch.float64).pixel_matrix(size)
    frames = [
        {"file_path": name, "fl_x": k[0][0], "fl_y": k[1][1], "cx": k[0][2], "cy": k[1][2], "transform_matrix": pose}
        for name, k, pose in zip(names, K.tolist(), c2w, strict=True)
    ]
    return json.dumps({"camera_model": "OPENCV", "w": width, "h": height, "frames": frames}, indent=1) + "\n"
