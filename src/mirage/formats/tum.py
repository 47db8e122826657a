"""TUM RGB-D trajectories: `timestamp tx ty tz qx qy qz qw` per line, `#` starts a comment; camera-to-world, OpenCV
axes, no intrinsics. https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats

The same without the time stamp (7 numbers) is common in course material and is read too.
"""

import math

import torch

from mirage.errors import InputError
from mirage.formats.posefile import PoseFile, check_count
from mirage.formats.source import numbers
from mirage.geometry.camera import Camera
from mirage.geometry.pose import make_pose, quaternion, rotation_from_quaternion


def parse(text: str, *, source: str) -> PoseFile:
    """Poses; quaternions may be off unit length by the rounding of a text file (1 %), no more."""
    rows, columns = [], None
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        columns = columns or len(words)
        if columns not in (7, 8) or len(words) != columns:
            raise InputError(
                f"{source}: line {number} has {len(words)} columns; TUM has 8 (t tx ty tz qx qy qz qw), "
                "or 7 without the time stamp, on every line"
            )
        rows.append(numbers(words, where=f"{source}: line {number}")[-7:])
        unit_quaternion(rows[-1][3:], where=f"{source}: line {number}")
    check_count(len(rows), source=source)
    values = torch.tensor(rows, dtype=torch.float64)
    return PoseFile(source, make_pose(rotation_from_quaternion(values[:, 3:]), values[:, :3]), "c2w", None)


def text(camera: Camera) -> str:
    """The trajectory [F] as TUM text at 16 frames per second. Intrinsics have no place in it and are left out."""
    c2w = camera.c2w.double()
    w, xyz = quaternion(c2w[:, :3, :3])
    rows = torch.cat([c2w[:, :3, 3], xyz, w[:, None]], dim=1).tolist()
    lines = ["# timestamp tx ty tz qx qy qz qw (camera-to-world, OpenCV axes)"]
    lines += [" ".join([f"{frame / 16:.4f}", *map(repr, row)]) for frame, row in enumerate(rows)]
    return "\n".join(lines) + "\n"


def unit_quaternion(quaternion: list[float], *, where: str) -> None:
    """Refuse four numbers whose length is not 1 within 1 %."""
    length = math.hypot(*quaternion)
    if abs(length - 1) > 0.01:
        raise InputError(f"{where} has a quaternion of length {length:g}; a rotation has length 1")
