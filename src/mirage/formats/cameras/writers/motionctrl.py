"""MotionCtrl camera JSON, written. `F`: frames. https://github.com/TencentARC/MotionCtrl"""

import json

import torch

from mirage.geometry.camera import Camera


def text(camera: Camera) -> str:
    """The trajectory [F] relative to its first frame. Intrinsics have no place in it and are left out."""
    relative = camera.to(torch.float64).relative_to(camera.to(torch.float64)[0])
    return json.dumps(relative.w2c[:, :3].flatten(1).tolist(), indent=1) + "\n"
