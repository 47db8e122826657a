"""Camera paths to files. `F`: frames. What goes in is always ours: c2w, OpenCV axes, intrinsics of the unit square; each
writer's module says what comes out.

    save_cameras("model", camera, format="colmap", size=(480, 640))     # a folder that COLMAP and its friends read
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from mirage.errors import InputError
from mirage.files import check_writable, replacing
from mirage.formats.cameras.writers import colmap, motionctrl, nerfstudio, realestate10k, tum
from mirage.geometry.camera import Camera

Format = Literal["re10k", "npz", "tum", "motionctrl", "colmap", "nerfstudio"]


def save_cameras(
    path: str | os.PathLike[str],
    camera: Camera,
    *,
    format: Format,
    size: tuple[int, int] | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """Write a trajectory [F]. COLMAP makes a folder and like nerfstudio speaks of pixels, so both need the `size`
    (H, W) of the images, which are called `names` there (frame_00000.png onwards unless told)."""
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
