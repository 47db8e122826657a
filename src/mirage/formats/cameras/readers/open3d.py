"""Open3D's camera trajectories, and Tanks and Temples'. https://www.open3d.org/docs/release/python_api/open3d.io.html

    .json    PinholeCameraTrajectory (or one PinholeCameraParameters): `extrinsic` world-to-camera, 16 numbers by
             columns; `intrinsic_matrix` 9 numbers by columns, in pixels, centre of the first pixel at (0, 0)
    .log     per frame a line of three whole numbers, then 4x4 camera-to-world by rows; no intrinsics

OpenCV axes.
"""

from typing import Any

import torch

from mirage.errors import InputError
from mirage.formats.cameras import tables
from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.pixels import from_matrices, sides
from mirage.formats.cameras.poses import Poses, check_bottom_row, check_count
from mirage.formats.cameras.record import CameraOptions
from mirage.formats.source import numbers


def sniff_json(content: Content) -> bool:
    """By its class name."""
    document = content.document
    return isinstance(document, dict) and str(document.get("class_name", "")).startswith("PinholeCamera")


def read_json(content: Content, options: CameraOptions) -> Poses:
    """Poses in the order of the list."""
    document, source = content.document, content.source
    entries = document.get("parameters", [document])
    if not isinstance(entries, list):
        raise InputError(f"{source} has no list 'parameters'; expected Open3D's PinholeCameraTrajectory")
    check_count(len(entries), source=source)
    centers = options.pixel_centers or "integer"
    poses, rows, warnings = [], [], []
    size = None
    for index, entry in enumerate(entries):
        where = f"{source}: camera {index}"
        intrinsic = entry.get("intrinsic") if isinstance(entry, dict) else None
        if not isinstance(intrinsic, dict) or not {"width", "height"} <= intrinsic.keys():
            raise InputError(f"{where} has no 'intrinsic' with width and height")
        poses.append(_columns(entry.get("extrinsic"), 4, where=f"{where}: 'extrinsic'"))
        size = options.size or sides(intrinsic, "height", "width", where=where)
        K = _columns(intrinsic.get("intrinsic_matrix"), 3, where=f"{where}: 'intrinsic_matrix'")
        values, said = from_matrices(K, size, pixel_centers=centers, source=where)
        rows.append(values)
        warnings += [words for words in said if words not in warnings]
    matrices = torch.stack(poses)
    check_bottom_row(matrices, source=source)
    return Poses(
        matrices,
        "w2c",
        torch.stack(rows),
        units="pixels",
        pixel_centers=centers,
        confidence="stated",
        size=size,
        warnings=tuple(warnings),
    )


def sniff_log(content: Content) -> bool:
    """Three whole numbers, then four lines of four."""
    return [len(row) for row in content.rows[:5]] == [3, 4, 4, 4, 4] and all(map(tables.numeric, content.rows[:5]))


def read_log(content: Content, options: CameraOptions) -> Poses:
    """Poses in the order of the file."""
    source = content.source
    rows: list[list[float]] = []
    for index, (number, words) in enumerate(tables.lines(content)):
        expected = 4 if index % 5 else 3
        if len(words) != expected:
            raise InputError(
                f"{source}: line {number} has {len(words)} columns; a trajectory log has three whole numbers, then "
                "four lines of four"
            )
        if index % 5:
            rows.append(numbers(words, where=f"{source}: line {number}"))
    if len(rows) % 4:
        raise InputError(f"{source} is cut: its last pose has {len(rows) % 4} of four lines")
    check_count(len(rows) // 4, source=source)
    matrices = torch.tensor(rows, dtype=torch.float64).unflatten(0, (-1, 4))
    check_bottom_row(matrices, source=source)
    return Poses(matrices, "c2w")


def _columns(value: Any, side: int, *, where: str) -> torch.Tensor:
    if not isinstance(value, list) or len(value) != side * side:
        raise InputError(f"{where} is no list of {side * side} numbers; expected a {side}x{side} matrix by columns")
    return torch.tensor(numbers(value, where=where), dtype=torch.float64).view(side, side).T


JSON = CameraFormat("open3d", "Open3D trajectory json", "json", sniff_json, read_json)
LOG = CameraFormat("log", "Open3D or Tanks and Temples log", "text", sniff_log, read_log)
