"""TUM RGB-D trajectories, written. `F`: frames. https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats"""

import torch

from mirage.geometry.camera import Camera
from mirage.geometry.pose import quaternion


def text(camera: Camera) -> str:
    """The trajectory [F] as TUM text at 16 frames per second. Intrinsics have no place in it and are left out."""
    c2w = camera.c2w.double()
    w, xyz = quaternion(c2w[:, :3, :3])
    rows = torch.cat([c2w[:, :3, 3], xyz, w[:, None]], dim=1).tolist()
    lines = ["# timestamp tx ty tz qx qy qz qw (camera-to-world, OpenCV axes)"]
    lines += [" ".join([f"{frame / 16:.4f}", *map(repr, row)]) for frame, row in enumerate(rows)]
    return "\n".join(lines) + "\n"
