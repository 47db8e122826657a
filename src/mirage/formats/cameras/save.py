"""Camera paths to files. `F`: frames. What goes in is always ours: c2w, OpenCV axes, intrinsics of the unit square;
each writer's module says what comes out.

    save_cameras("model", camera, format="colmap", size=(480, 640))     # a folder that COLMAP and its friends read
    save_cameras("path.json", camera, size=(480, 640))                  # nerfstudio, by the suffix
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.files import check_writable, making, replacing
from mirage.formats.cameras.writers import WRITERS, colmap
from mirage.formats.cameras.writers.writer import CameraWriter, Written
from mirage.formats.ply import Points
from mirage.geometry.camera import Camera, CameraLike
from mirage.kinds import checked

Format = Literal[
    "re10k",
    "tum",
    "kitti",
    "euroc",
    "log",
    "colmap",
    "colmap_bin",
    "nerfstudio",
    "instant-ngp",
    "camera_path",
    "3dgs",
    "llff",
    "open3d",
    "motionctrl",
    "recammaster",
    "worldplay",
    "npz",
    "lyra",
    "da3",
    "vggt",
]
BY_SUFFIX: dict[str, Format] = {
    "": "colmap",
    ".txt": "re10k",
    ".tum": "tum",
    ".csv": "euroc",
    ".log": "log",
    ".json": "nerfstudio",
    ".npz": "npz",
    ".npy": "llff",
}
FPS = 16.0  # what the time stamps count by, where nobody has said when a frame was
OBLONG = 0.02  # how far from square pixels go unremarked

_log = logging.getLogger(__name__)


@checked
def save_cameras(
    path: str | os.PathLike[str],
    camera: CameraLike,
    *,
    format: Format | None = None,
    size: tuple[int, int] | None = None,
    names: Sequence[str] | None = None,
    numbers: Sequence[int] | None = None,
    times: Tensor | None = None,
    points: Points | None = None,
) -> tuple[str, ...]:
    """Write a trajectory [F], whole or not at all, and return what it loses by that, a sentence each (also logged).

    `format` goes by the suffix of `path` unless given. `size` (H, W) of the images: for formats that speak of pixels.
    `numbers` [F]: which frame of the video each camera is (0, 1, .. unless given); from them come the `names` of the
    images (frame_00000.png) and the `times` [F] in seconds (at 16 frames a second), where those are not given.
    `points`: the world, which COLMAP and LLFF have a place for. A folder that holds somebody's COLMAP model is refused.
    """
    path, camera = Path(path), Camera.of(camera, what="the camera path")
    writer = writer_of(path, format)
    written = _written(camera, size, names, numbers, times, points)
    if writer.pixels and size is None:
        raise InputError(f"{writer.title} has its intrinsics in pixels; expected the images' size (H, W)")
    lost = tuple(_lost(writer, written))
    for sentence in lost:
        _log.warning("%s: %s", path, sentence)
    content = writer.write(written)
    if isinstance(content, bytes):
        with replacing(path) as beside:
            beside.write_bytes(content)
    else:
        _write_folder(path, content, writer)
    return lost


def writer_of(path: Path, format: Format | None = None) -> CameraWriter:
    """The writer of a format, or of what the suffix of `path` says; a folder's format does not go into a file."""
    if format is None:
        suffix = "" if path.is_dir() else path.suffix.lower()
        if suffix not in BY_SUFFIX:
            known = ", ".join(f"{suffix or 'a folder'} ({name})" for suffix, name in BY_SUFFIX.items())
            raise InputError(f"{path} does not say a camera format by its suffix; expected one of {known}, or a format")
        format = BY_SUFFIX[suffix]
    if format not in WRITERS:
        raise InputError(f"unknown camera format {format!r}; accepted: {', '.join(WRITERS)}")
    writer = WRITERS[format]
    if writer.suffix is None and path.suffix.lower() in BY_SUFFIX and path.suffix and not path.is_dir():
        raise InputError(f"{path} is the name of a file; {writer.title} is a folder, so expected a folder's name")
    return writer


def _written(
    camera: Camera,
    size: tuple[int, int] | None,
    names: Sequence[str] | None,
    numbers: Sequence[int] | None,
    times: Tensor | None,
    points: Points | None,
) -> Written:
    if len(camera.shape) != 1 or len(camera) == 0:
        raise InputError(f"a camera file holds a path [F] of at least one pose, got shape {list(camera.shape)}")
    numbers = range(len(camera)) if numbers is None else numbers
    names = names or [f"frame_{number:05d}.png" for number in numbers]
    seconds = [number / FPS for number in numbers] if times is None else times.tolist()
    for what, values in (("image names", names), ("times", seconds)):
        if len(values) != len(camera):
            raise InputError(f"got {len(values)} {what} for {len(camera)} poses; expected one each")
    if len(set(names)) != len(names) or any("\0" in name or "\n" in name for name in names):
        raise InputError("two images have the same name, or one has a line break in it; expected a name for each")
    if size is not None and min(size) < 1:
        raise InputError(f"got the image size {size}; expected (H, W), two positive numbers of pixels")
    return Written(camera.to("cpu").to(torch.float64), tuple(seconds), tuple(names), size, points)


def _lost(writer: CameraWriter, path: Written) -> list[str]:
    said = []
    if not writer.lens:
        said.append(f"{writer.title} has no place for intrinsics; they are left out")
    if lost := writer.loses(path):
        said.append(f"{writer.title} has no place for {lost}")
    if writer.pixels and abs(path.oblong - 1) > OBLONG:
        (height, width), (fx, fy) = path.pixels, path.camera.intrinsics[0, :2].tolist()
        said.append(
            f"images of {width} x {height} are of another aspect than these cameras' ({fy / fx:.3f} : 1): their pixels "
            f"would be oblong; {round(height * fy / fx)} x {height} would be square"
        )
    return said


def check_folder(folder: Path, writer: CameraWriter) -> None:
    """Refuse a folder where somebody's COLMAP model lies: a reader would take a part of it for ours. Our own text model
    is written again."""
    if not folder.is_dir():
        check_writable(folder)
        if folder.exists():
            raise InputError(f"cannot make the folder {folder}: a file of that name exists")
        return
    there = model_in(folder)
    ours = writer is colmap.TEXT and all(file.suffix == ".txt" and colmap.is_ours(file.read_bytes()) for file in there)
    if there and not ours:
        names = ", ".join(file.name for file in there)
        raise InputError(
            f"the folder {folder} already holds a COLMAP model ({names}), which readers would mix with this one; "
            "expected a new folder"
        )


def model_in(folder: Path) -> list[Path]:
    """The files of a COLMAP model that are in a folder."""
    named = (folder / f"{name}{suffix}" for name in colmap.FILES for suffix in (".txt", ".bin"))
    return [file for file in named if file.exists()]


def _write_folder(folder: Path, files: dict[str, bytes], writer: CameraWriter) -> None:
    check_folder(folder, writer)
    if not folder.is_dir():
        with making(folder) as beside:
            for name, content in files.items():
                (beside / name).write_bytes(content)
        return
    for name, content in files.items():
        with replacing(folder / name) as beside:
            beside.write_bytes(content)
