"""nerfstudio's transforms.json: camera-to-world 4x4 in OpenGL camera axes (y up, z backward), pixel intrinsics with the
centre of the first pixel at (0.5, 0.5), for all frames or per frame.
https://docs.nerf.studio/quickstart/data_conventions.html
"""

import json
import math
from collections.abc import Sequence

import torch

from mirage.errors import InputError
from mirage.formats.posefile import OPENGL_FROM_OPENCV, PoseFile, check_bottom_row, check_count, stacked
from mirage.formats.source import numbers
from mirage.geometry.camera import Camera

PINHOLES = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE")
DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")


def parse(document: dict[str, object], *, source: str) -> PoseFile:
    """Poses in the order of their images' names (files list them in any order)."""
    frames = document.get("frames")
    if not isinstance(frames, list):
        raise InputError(f"{source} has no list 'frames'; expected nerfstudio's transforms.json")
    check_count(len(frames), source=source)
    rows = []
    for index, frame in enumerate(frames):
        where = f"{source}: frame {index}"
        if not isinstance(frame, dict):
            raise InputError(f"{where} is a {type(frame).__name__}; expected an object with 'transform_matrix'")
        intrinsics = _intrinsics(document | frame, where=where)
        rows.append((str(frame.get("file_path", "")), _pose(frame, where=where), intrinsics))
    rows.sort(key=lambda row: row[0])
    poses = stacked([pose for _, pose, _ in rows])
    check_bottom_row(poses, source=source)
    intrinsics = torch.tensor([values for _, _, values in rows], dtype=torch.float64)
    return PoseFile(source, poses, "c2w", intrinsics, axes="opengl")


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


def _pose(frame: dict[str, object], *, where: str) -> list[float]:
    matrix = frame.get("transform_matrix")
    if (
        not isinstance(matrix, list)
        or len(matrix) not in (3, 4)
        or any(not isinstance(row, list) or len(row) != 4 for row in matrix)
    ):
        raise InputError(f"{where} has no 4x4 'transform_matrix'")
    values = numbers([value for row in matrix for value in row], where=where)
    return values if len(matrix) == 4 else [*values, 0.0, 0.0, 0.0, 1.0]


def _intrinsics(values: dict[str, object], *, where: str) -> list[float]:
    """fx fy cx cy of the unit square from fl_x.. or camera_angle_x, with w and h."""
    model = values.get("camera_model", "OPENCV")
    if model not in PINHOLES:
        raise InputError(f"{where} has the camera model {str(model)[:40]!r}; accepted: {', '.join(PINHOLES)}")
    if any(numbers([values[key]], where=where)[0] for key in DISTORTION if key in values):
        raise InputError(f"{where} has lens distortion; only undistorted images are accepted")
    missing = [key for key in ("w", "h") if key not in values]
    if missing or not {"fl_x", "camera_angle_x"} & values.keys():
        raise InputError(f"{where} lacks intrinsics; expected w, h and fl_x, fl_y, cx, cy (or camera_angle_x)")
    width, height = numbers([values["w"], values["h"]], where=where)
    if width < 1 or height < 1:
        raise InputError(f"{where} has an image of {width:g} x {height:g}; expected at least 1 x 1")
    if "fl_x" in values:
        fx = numbers([values["fl_x"]], where=where)[0]
    else:
        angle = numbers([values["camera_angle_x"]], where=where)[0]
        if not 0 < angle < math.pi:
            raise InputError(f"{where} has camera_angle_x {angle:g}; expected radians between 0 and pi")
        fx = width / 2 / math.tan(angle / 2)
    fy = numbers([values.get("fl_y", fx)], where=where)[0]
    cx, cy = numbers([values.get("cx", width / 2), values.get("cy", height / 2)], where=where)
    return [fx / width, fy / height, cx / width, cy / height]
