"""Record3D (iPhone): metadata.json of an export, its folder, or the .r3d archive itself. https://record3d.app

`poses` [qx qy qz qw tx ty tz], camera-to-world, OpenGL axes (ARKit's); `K` 9 numbers by columns in pixels of `w` x `h`,
or `perFrameIntrinsicCoeffs` [fx fy cx cy]; `frameTimestamps` in seconds.
"""

from typing import Any

import torch

from mirage.errors import InputError
from mirage.formats.cameras.content import ACCEPTS, CameraFormat, Content, parsed
from mirage.formats.cameras.pixels import sides, unit_square
from mirage.formats.cameras.poses import Poses, check_count
from mirage.formats.cameras.quaternions import reordered, unit_quaternion
from mirage.formats.cameras.record import CameraOptions
from mirage.formats.source import Npz, numbers, read_text
from mirage.geometry.pose import make_pose, rotation_from_quaternion


def sniff(content: Content) -> bool:
    """Poses and K."""
    return isinstance(content.document, dict) and {"poses", "K"} <= content.keys


def sniff_folder(content: Content) -> bool:
    """metadata.json with an rgb or rgbd folder."""
    folder = content.path
    return (folder / "metadata.json").is_file() and any(
        (folder / name).is_dir() for name in ("rgb", "rgbd", "EXR_RGBD")
    )


def sniff_archive(content: Content) -> bool:
    """The member "metadata" of an .r3d."""
    return "metadata" in content.arrays and any(name.startswith("rgbd/") for name in content.arrays)


def read(content: Content, options: CameraOptions) -> Poses:
    """Poses in the order of the frames."""
    return _poses(content.document, options, source=content.source)


def read_folder(content: Content, options: CameraOptions) -> Poses:
    """The folder's metadata.json."""
    file = content.path / "metadata.json"
    return _poses(parsed(read_text(file, accepts=ACCEPTS), source=str(file)), options, source=str(file))


def read_archive(content: Content, options: CameraOptions) -> Poses:
    """The archive's metadata."""
    assert isinstance(content.arrays, Npz)
    text = content.arrays.raw("metadata").decode("utf-8", errors="replace")
    return _poses(parsed(text, source=content.source), options, source=content.source)


def _poses(document: Any, options: CameraOptions, *, source: str) -> Poses:
    if not isinstance(document, dict) or not isinstance(document.get("poses"), list):
        raise InputError(f"{source} has no list 'poses'; expected Record3D's metadata.json")
    check_count(len(document["poses"]), source=source)
    rows = []
    for index, row in enumerate(document["poses"]):
        where = f"{source}: pose {index}"
        if not isinstance(row, list) or len(row) != 7:
            raise InputError(f"{where} has no 7 numbers; expected qx qy qz qw tx ty tz")
        rows.append(numbers(row, where=where))
        unit_quaternion(rows[-1][:4], where=where)
    values = torch.tensor(rows, dtype=torch.float64)
    order = options.quaternion or "xyzw"
    pixels, size, said = _intrinsics(document, len(rows), options, source=source)
    times = document.get("frameTimestamps")
    stamps = None
    if isinstance(times, list) and len(times) == len(rows):
        stamps = torch.tensor(numbers(times, where=f"{source}: frameTimestamps"), dtype=torch.float64)
        stamps = stamps if bool((stamps.diff() > 0).all()) else None
    return Poses(
        make_pose(rotation_from_quaternion(reordered(values[:, :4], order)), values[:, 4:]),
        "c2w",
        pixels,
        axes="opengl",
        units="pixels",
        pixel_centers="half",
        quaternion=order,
        confidence="stated",
        times=stamps,
        size=size,
        warnings=tuple(said),
    )


def _intrinsics(
    document: dict[str, Any], frames: int, options: CameraOptions, *, source: str
) -> tuple[torch.Tensor | None, tuple[int, int] | None, list[str]]:
    size = options.size
    if size is None and {"w", "h"} <= document.keys():
        size = sides(document, "h", "w", where=source)
    K, each = document.get("K"), document.get("perFrameIntrinsicCoeffs")
    if isinstance(each, list) and len(each) == frames and all(isinstance(row, list) and len(row) >= 4 for row in each):
        rows = [numbers(row[:4], where=f"{source}: perFrameIntrinsicCoeffs") for row in each]
    elif isinstance(K, list) and len(K) == 9:
        values = numbers(K, where=f"{source}: K")
        by_rows = values[6] == 0 and values[7] == 0
        rows = [[values[0], values[4], *(values[2:6:3] if by_rows else values[6:8])]]
    else:
        return None, size, []
    pixels = torch.tensor(rows, dtype=torch.float64)
    said = []
    if size is None:
        size = round(2 * float(pixels[0, 3])) or 1, round(2 * float(pixels[0, 2])) or 1
        said.append(f"it has no size: taken as {size[1]} x {size[0]}, twice the principal point")
    unit, odd = unit_square(pixels, size, source=source, swappable=options.size is None)
    return unit if len(unit) > 1 or frames == 1 else unit[0], size, said + odd


FORMAT = CameraFormat("record3d", "Record3D metadata.json", "json", sniff, read)
FOLDER = CameraFormat("record3d-folder", "Record3D folder", "folder", sniff_folder, read_folder)
ARCHIVE = CameraFormat("r3d", "Record3D archive", "arrays", sniff_archive, read_archive)
