"""Camera paths from files and to files. `F`: frames. What comes out is always ours: c2w, OpenCV axes, intrinsics of the
unit square; each format's module says what goes in.

    camera = load_cameras("clip.txt")                                   # RealEstate10K, found by its content
    save_cameras("model", camera, format="colmap", size=(480, 640))     # a folder that COLMAP and its friends read
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.files import check_writable, replacing
from mirage.formats import colmap, motionctrl, nerfstudio, npzposes, realestate10k, sevenscenes, tum
from mirage.formats.posefile import Convention, PoseFile
from mirage.formats.source import read_text, reason
from mirage.geometry.camera import Camera

Format = Literal["re10k", "npz", "tum", "motionctrl", "colmap", "nerfstudio"]
ACCEPTS = (
    "a RealEstate10K or TUM text file, an .npz with c2w or w2c, a MotionCtrl or nerfstudio .json, or a folder "
    "(COLMAP text, 7-Scenes)"
)


def load_cameras(
    path: str | os.PathLike[str],
    convention: Convention | None = None,
    *,
    intrinsics: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Camera:
    """The trajectory [F] in a file or folder, its format found by what is in it.

    `convention` overrules what the format means by its matrices, for files from tools that got it wrong, and names
    it where the file does not say. `intrinsics` [4] serve where the format has none (TUM, MotionCtrl, bare 7-Scenes);
    without them a field of view is assumed and a warning logged. Rotations are freed of the rounding of text files;
    NaN, mirrors, scales, empty or malformed files are an `InputError` that names the line or frame.
    """
    if convention not in (None, "c2w", "w2c"):
        raise InputError(f"unknown convention {convention!r}; accepted: 'c2w', 'w2c'")
    return _read(Path(path), convention).camera(convention=convention, intrinsics=intrinsics).to(dtype)


def save_cameras(
    path: str | os.PathLike[str],
    camera: Camera,
    *,
    format: Format,
    size: tuple[int, int] | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """Write a trajectory [F]. COLMAP makes a folder and like nerfstudio speaks of pixels, so both need the `size`
    (H, W) of the images, which are called `names` there (frame_00000.png onwards by default)."""
    if len(camera.shape) != 1 or len(camera) == 0:
        raise InputError(f"a camera file holds a path [F] of at least one pose, got shape {list(camera.shape)}")
    path, camera = Path(path), camera.to("cpu")
    names = names or [f"frame_{frame:05d}.png" for frame in range(len(camera))]
    if len(names) != len(camera):
        raise InputError(f"got {len(names)} image names for {len(camera)} poses; expected one each")
    if format in ("colmap", "nerfstudio") and size is None:
        raise InputError(f"{format} has its intrinsics in pixels; expected the images' size (H, W)")
    match format:
        case "re10k":
            _write_text(path, realestate10k.text(camera))
        case "tum":
            _write_text(path, tum.text(camera))
        case "motionctrl":
            _write_text(path, motionctrl.text(camera))
        case "npz":
            with replacing(path) as beside, beside.open("wb") as file:
                np.savez(file, c2w=camera.c2w.numpy(), intrinsics=camera.intrinsics.numpy())
        case "nerfstudio":
            assert size is not None
            _write_text(path, nerfstudio.text(camera, size=size, names=names))
        case "colmap":
            assert size is not None
            _write_folder(path, colmap.texts(camera, size=size, names=names))
        case _:
            raise InputError(f"unknown camera format {format!r}; accepted: {', '.join(get_args(Format))}")


def _read(path: Path, convention: Convention | None) -> PoseFile:
    source = str(path)
    if os.path.isdir(path):  # unlike Path.is_dir it takes a name the system refuses for "no"
        return _read_folder(path)
    if path.suffix.lower() == ".npz":
        return npzposes.load(path, convention)
    text = read_text(path, accepts=ACCEPTS)
    if path.suffix.lower() == ".json":
        return _read_json(text, source=source)
    lines = [words for line in text.splitlines() if (words := line.partition("#")[0].split())]
    if not lines:
        raise InputError(f"{source} is empty; expected {ACCEPTS}")
    columns = len(lines[0]) if len(lines[0]) > 1 or len(lines) == 1 else len(lines[1])
    if columns in (18, 19):
        return realestate10k.parse(text, source=source)
    if columns in (7, 8):
        return tum.parse(text, source=source)
    raise InputError(f"{source} has {columns} columns; RealEstate10K has 19 or 18, TUM 8 or 7 (accepted: {ACCEPTS})")


def _read_folder(folder: Path) -> PoseFile:
    if (folder / "images.txt").exists():
        return colmap.parse(folder)
    if (folder / "transforms.json").exists():
        file = folder / "transforms.json"
        return _read_json(read_text(file, accepts=ACCEPTS), source=str(file))
    if next(folder.glob("frame-*.pose.txt"), None):
        return sevenscenes.parse(folder)
    raise InputError(
        f"the folder {folder} has no images.txt (COLMAP), transforms.json (nerfstudio) or frame-*.pose.txt (7-Scenes)"
    )


def _read_json(text: str, *, source: str) -> PoseFile:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source} is not JSON ({reason(error)}); expected a MotionCtrl or nerfstudio file") from error
    if isinstance(document, list):
        return motionctrl.parse(document, source=source)
    if isinstance(document, dict):
        return nerfstudio.parse(document, source=source)
    raise InputError(f"{source} holds a {type(document).__name__}; expected MotionCtrl's list or nerfstudio's object")


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def _write_folder(folder: Path, texts: dict[str, str]) -> None:
    if not folder.is_dir():
        check_writable(folder)
        if folder.exists():
            raise InputError(f"cannot make the folder {folder}: a file of that name exists")
        folder.mkdir()
    for name, text in texts.items():
        _write_text(folder / name, text)
