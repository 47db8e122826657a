"""MotionCtrl camera JSON: a list of frames, each 12 numbers = row-major 3x4 relative world-to-camera, w2c_i inv(w2c_0),
OpenCV axes, no intrinsics. https://github.com/TencentARC/MotionCtrl
"""

import json

import torch

from mirage.errors import InputError
from mirage.formats.posefile import PoseFile, check_count, stacked
from mirage.formats.source import numbers
from mirage.geometry.camera import Camera


def parse(document: list[object], *, source: str) -> PoseFile:
    """Poses relative to the first frame."""
    check_count(len(document), source=source)
    rows = []
    for frame, row in enumerate(document):
        if not isinstance(row, list) or len(row) != 12:
            got = f"{len(row)} values" if isinstance(row, list) else type(row).__name__
            raise InputError(f"{source}: frame {frame} has {got}; MotionCtrl has 12 numbers (3x4) per frame")
        rows.append(numbers(row, where=f"{source}: frame {frame}"))
    return PoseFile(source, stacked(rows), "w2c", None)


def text(camera: Camera) -> str:
    """The trajectory [F] relative to its first frame. Intrinsics have no place in it and are left out."""
    relative = camera.to(torch.float64).relative_to(camera.to(torch.float64)[0])
    return json.dumps(relative.w2c[:, :3].flatten(1).tolist(), indent=1) + "\n"
