"""COLMAP text models: a folder with cameras.txt, images.txt and points3D.txt. https://colmap.github.io/format.html

Poses are world-to-camera, `qw qx qy qz tx ty tz`, OpenCV axes; intrinsics in pixels, centre of the first pixel at
(0.5, 0.5). Only pinhole models: a distorted image is undistorted by COLMAP itself (image_undistorter).
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from mirage.errors import InputError
from mirage.formats.posefile import PoseFile, check_count
from mirage.formats.source import numbers, read_text
from mirage.formats.tum import unit_quaternion
from mirage.geometry.camera import Camera
from mirage.geometry.pose import make_pose, quaternion, rotation_from_quaternion

ACCEPTS = "a COLMAP text model (cameras.txt and images.txt)"
PARAMETERS = {"SIMPLE_PINHOLE": 3, "PINHOLE": 4}

FILES = ("cameras.txt", "images.txt", "points3D.txt")
"""Of a model in text."""


def parse(folder: Path) -> PoseFile:
    """Poses in the order of the images' names (their ids have no order in time)."""
    cameras = _cameras(folder / "cameras.txt")
    file = folder / "images.txt"
    lines = [
        (number, line)
        for number, line in enumerate(read_text(file, accepts=ACCEPTS).splitlines(), start=1)
        if not line.startswith("#")
    ]
    while lines and not lines[0][1].strip():
        lines.pop(0)
    rows = []
    for number, line in lines[::2]:  # every second line lists the image's 2D points, and may be empty
        words, where = line.split(maxsplit=9), f"{file}: line {number}"
        if not words:
            continue
        if len(words) != 10:
            raise InputError(f"{where} has {len(words)} columns; COLMAP has 10 (id qw qx qy qz tx ty tz camera name)")
        values = numbers(words[1:8], where=where)
        unit_quaternion(values[:4], where=where)
        if words[8] not in cameras:
            raise InputError(f"{where} names the camera {words[8][:20]!r}; cameras.txt has {sorted(cameras)[:8]}")
        rows.append((words[9], values, cameras[words[8]]))
    check_count(len(rows), source=str(folder))
    rows.sort(key=lambda row: row[0])
    values = torch.tensor([row[1] for row in rows], dtype=torch.float64)
    rotation = rotation_from_quaternion(values[:, [1, 2, 3, 0]])
    intrinsics = torch.tensor([row[2] for row in rows], dtype=torch.float64)
    return PoseFile(str(folder), make_pose(rotation, values[:, 4:]), "w2c", intrinsics)


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
    contents = zip(FILES, (cameras, images, points), strict=True)
    return {name: "\n".join(lines) + "\n" for name, lines in contents}


def _cameras(file: Path) -> dict[str, list[float]]:
    """Unit-square intrinsics by camera id."""
    cameras = {}
    for number, line in enumerate(read_text(file, accepts=ACCEPTS).splitlines(), start=1):
        words, where = line.split(), f"{file}: line {number}"
        if not words or line.startswith("#"):
            continue
        if len(words) < 4 or words[1] not in PARAMETERS:
            raise InputError(
                f"{where} has the camera model {' '.join(words[1:2])[:40]!r}; accepted: "
                f"{', '.join(PARAMETERS)} (others: undistort first, with COLMAP's image_undistorter)"
            )
        values = numbers(words[2:], where=where)
        if len(values) != 2 + PARAMETERS[words[1]]:
            raise InputError(f"{where} has {len(values) - 2} parameters; {words[1]} has {PARAMETERS[words[1]]}")
        width, height = values[:2]
        if width < 1 or height < 1:
            raise InputError(f"{where} has an image of {width:g} x {height:g}; expected at least 1 x 1")
        fx, fy, cx, cy = values[2:] if words[1] == "PINHOLE" else [values[2], *values[2:]]
        cameras[words[0]] = [fx / width, fy / height, cx / width, cy / height]
    return cameras
