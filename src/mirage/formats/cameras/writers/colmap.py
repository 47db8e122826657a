"""COLMAP text models, written: cameras.txt, images.txt and points3D.txt. `F`: frames. https://colmap.github.io/format.html

Poses world-to-camera, `qw qx qy qz tx ty tz`, OpenCV axes; pixels, centre of the first at (0.5, 0.5).
"""

from collections.abc import Sequence

import torch

from mirage.geometry.camera import Camera
from mirage.geometry.pose import quaternion


def texts(camera: Camera, *, size: tuple[int, int], names: Sequence[str]) -> dict[str, str]:
    """The trajectory [F] as the files of a model, for images of `size` (H, W) called `names`; equal intrinsics share
    one camera."""
    height, width = size
    w2c = camera.to(torch.float64).w2c
    w, xyz = quaternion(w2c[:, :3, :3])
    poses = torch.cat([w[:, None], xyz, w2c[:, :3, 3]], dim=1).tolist()
    K = camera.to(torch.float64).pixel_matrix(size)
    pixels = [tuple(row) for row in torch.stack([K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2]], dim=1).tolist()]
    ids = {values: index for index, values in enumerate(dict.fromkeys(pixels), start=1)}
    cameras = ["# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"]
    cameras += [f"{index} PINHOLE {width} {height} " + " ".join(map(repr, values)) for values, index in ids.items()]
    images = ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME", "# POINTS2D[] as (X, Y, POINT3D_ID)"]
    for frame, (pose, values, name) in enumerate(zip(poses, pixels, names, strict=True), start=1):
        images += [f"{frame} " + " ".join(map(repr, pose)) + f" {ids[values]} {name}", ""]
    points = ["# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)"]
    contents = {"cameras.txt": cameras, "images.txt": images, "points3D.txt": points}
    return {name: "\n".join(lines) + "\n" for name, lines in contents.items()}
