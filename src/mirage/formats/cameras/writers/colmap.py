"""COLMAP models: a folder with cameras, images, points3D, and since COLMAP 3.12 rigs and frames, as .txt or .bin.
`F`: frames, `N`: points. https://colmap.github.io/format.html

Poses world-to-camera, `qw qx qy qz tx ty tz`, OpenCV axes; pixels, centre of the first at (0.5, 0.5). rigs and frames
are always written, because where they lie COLMAP takes the poses from them, and older readers pass them over.
"""

import struct

import torch

from mirage.formats.cameras.writers.writer import CameraWriter, Written
from mirage.geometry.pose import quaternion

FILES = ("cameras", "images", "points3D", "rigs", "frames")
MARK = "# written by Mirage"
"""First line of our text models, by which we know that nobody's work is lost when they are written again."""
PINHOLE, CAMERA = 1, 0  # model and sensor by number
ERROR = 0.0  # pixels; nobody has measured it


def text(path: Written) -> dict[str, bytes]:
    """The five text files; equal intrinsics share a camera, and each camera is a rig of its own."""
    height, width = path.pixels
    lenses, lens, poses = _lenses(path), _lens_of(path), _poses(path)
    cameras = ["# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"]
    rigs = ["# RIG_ID, NUM_SENSORS, REF_SENSOR_TYPE, REF_SENSOR_ID, SENSORS[]"]
    for number, values in enumerate(lenses, start=1):
        cameras.append(f"{number} PINHOLE {width} {height} {_said(values)}")
        rigs.append(f"{number} 1 CAMERA {number}")
    images = ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME", "# POINTS2D[] as (X, Y, POINT3D_ID)"]
    frames = ["# FRAME_ID, RIG_ID, RIG_FROM_WORLD[QW, QX, QY, QZ, TX, TY, TZ], NUM_DATA_IDS, DATA_IDS[]"]
    for number, (pose, which, name) in enumerate(zip(poses, lens, path.names, strict=True), start=1):
        images += [f"{number} {_said(pose)} {which} {name}", ""]
        frames.append(f"{number} {which} {_said(pose)} 1 CAMERA {which} {number}")
    points = ["# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)"]
    for number, (position, colour) in enumerate(_points(path), start=1):
        points.append(f"{number} {_said(position)} {' '.join(map(str, colour))} {ERROR}")
    files = dict(zip(FILES, (cameras, images, points, rigs, frames), strict=True))
    return {f"{name}.txt": ("\n".join([MARK, *lines]) + "\n").encode() for name, lines in files.items()}


def binary(path: Written) -> dict[str, bytes]:
    """The five binary files, little-endian."""
    height, width = path.pixels
    lenses, lens, poses = _lenses(path), _lens_of(path), _poses(path)
    cameras, rigs = [struct.pack("<Q", len(lenses))], [struct.pack("<Q", len(lenses))]
    for number, values in enumerate(lenses, start=1):
        cameras.append(struct.pack("<IiQQ4d", number, PINHOLE, width, height, *values))
        rigs.append(struct.pack("<IIiI", number, 1, CAMERA, number))
    images, frames = [struct.pack("<Q", len(path))], [struct.pack("<Q", len(path))]
    for number, (pose, which, name) in enumerate(zip(poses, lens, path.names, strict=True), start=1):
        images.append(struct.pack("<I7dI", number, *pose, which) + name.encode() + b"\0" + struct.pack("<Q", 0))
        frames.append(struct.pack("<II7dIiIQ", number, which, *pose, 1, CAMERA, which, number))
    rows = _points(path)
    points = [struct.pack("<Q", len(rows))]
    for number, (position, colour) in enumerate(rows, start=1):
        points.append(struct.pack("<Q3d3BdQ", number, *position, *colour, ERROR, 0))
    files = dict(zip(FILES, (cameras, images, points, rigs, frames), strict=True))
    return {f"{name}.bin": b"".join(parts) for name, parts in files.items()}


def is_ours(content: bytes) -> bool:
    """Whether a text file of a model is one that we wrote."""
    return content.startswith(MARK.encode())


def _lenses(path: Written) -> list[tuple[float, ...]]:
    """fx fy cx cy of each camera, in the order in which they come."""
    return list(dict.fromkeys(_pixels(path)))


def _lens_of(path: Written) -> list[int]:
    """Number of each frame's camera, from 1."""
    numbers = {values: number for number, values in enumerate(_lenses(path), start=1)}
    return [numbers[values] for values in _pixels(path)]


def _pixels(path: Written) -> list[tuple[float, ...]]:
    K = path.K
    return [tuple(row) for row in torch.stack([K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2]], dim=1).tolist()]


def _poses(path: Written) -> list[list[float]]:
    w2c = path.camera.w2c
    w, xyz = quaternion(w2c[:, :3, :3])
    return torch.cat([w[:, None], xyz, w2c[:, :3, 3]], dim=1).add(0.0).tolist()  # no -0.0


def _points(path: Written) -> list[tuple[list[float], list[int]]]:
    """Positions and colours (grey where nobody knows them)."""
    points = path.points
    if points is None:
        return []
    colours = torch.full((len(points), 3), 128) if points.colours is None else points.colours
    return list(zip(points.positions.double().tolist(), colours.int().tolist(), strict=True))


def _said(values: tuple[float, ...] | list[float]) -> str:
    return " ".join(map(repr, values))


TEXT = CameraWriter("colmap", "COLMAP text model", None, text, pixels=True)
BINARY = CameraWriter("colmap_bin", "COLMAP binary model", None, binary, pixels=True)
