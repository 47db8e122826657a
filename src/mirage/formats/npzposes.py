"""Camera paths in an .npz, with the convention in the name of the array:

    c2w or w2c     [F,4,4] or [F,3,4]   (or `poses` / `extrinsics`, if the caller says which convention they follow)
    intrinsics     [F,4] or [4]         fx fy cx cy as fractions of width and height
    or K, size     [F,3,3] or [3,3]     pixels (centre of the first pixel at 0.5, 0.5), with `size` = (H, W)

OpenCV axes. Without intrinsics the caller's are used.
"""

import os

import numpy as np
import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.formats.posefile import Convention, PoseFile, check_bottom_row, check_count
from mirage.formats.source import read_npz
from mirage.geometry.camera import Camera

ACCEPTS = "an .npz with c2w or w2c [F,4,4] and intrinsics [F,4] (normalised) or K [3,3] with size (H, W)"


def load(path: str | os.PathLike[str], convention: Convention | None) -> PoseFile:
    """Poses and intrinsics; a convention that contradicts the array's name is refused."""
    source = str(path)
    arrays = read_npz(path, accepts=ACCEPTS)
    names = [name for name in ("c2w", "w2c", "poses", "extrinsics") if name in arrays]
    if len(names) != 1:
        raise InputError(f"{source} has the arrays {sorted(arrays)[:12]}; expected {ACCEPTS}")
    name = names[0]
    if name in ("poses", "extrinsics") and convention is None:
        raise InputError(f"{source}: {name!r} does not say its convention; name it c2w or w2c, or say convention=...")
    if name in ("c2w", "w2c") and convention not in (None, name):
        raise InputError(f"{source}: the array is named {name!r} and convention={convention!r} contradicts it")
    poses = _floats(arrays[name], where=f"{source}: {name!r}")
    if poses.ndim != 3 or poses.shape[1:] not in ((4, 4), (3, 4)):
        raise InputError(f"{source}: {name!r} is {list(poses.shape)}; expected [F,4,4] or [F,3,4]")
    check_count(len(poses), source=source)
    if poses.shape[1] == 3:
        last = poses.new_tensor([0, 0, 0, 1]).expand(len(poses), 1, 4)
        poses = torch.cat([poses, last], dim=1)
    meaning: Convention = "w2c" if "w2c" in (name, convention) else "c2w"
    if torch.isfinite(poses).all():
        check_bottom_row(poses, source=source)
    return PoseFile(source, poses, meaning, _intrinsics(arrays, len(poses), source=source))


def _intrinsics(arrays: dict[str, np.ndarray], frames: int, *, source: str) -> Tensor | None:
    if "intrinsics" in arrays:
        values = _floats(arrays["intrinsics"], where=f"{source}: 'intrinsics'")
        if values.shape not in ((4,), (frames, 4)):
            raise InputError(
                f"{source}: 'intrinsics' is {list(values.shape)}; expected [4] or [{frames},4] "
                "= fx fy cx cy as fractions (a 3x3 matrix goes in 'K', with 'size')"
            )
        return values
    if "K" not in arrays:
        return None
    if "size" not in arrays or arrays["size"].size != 2 or not (arrays["size"] > 0).all():
        raise InputError(f"{source}: 'K' is in pixels and needs 'size' = (H, W) beside it, two positive numbers")
    K = _floats(arrays["K"], where=f"{source}: 'K'")
    if K.shape not in ((3, 3), (frames, 3, 3)):
        raise InputError(f"{source}: 'K' is {list(K.shape)}; expected [3,3] or [{frames},3,3]")
    height, width = (int(side) for side in arrays["size"].flatten())
    eye = torch.eye(4, dtype=torch.float64).expand(*K.shape[:-2], 4, 4)
    try:
        return Camera.from_pixels(eye, K, (height, width)).intrinsics
    except InputError as error:  # skew
        raise InputError(f"{source}: {error}") from error


def _floats(array: np.ndarray, *, where: str) -> Tensor:
    if array.dtype.kind == "b":
        raise InputError(f"{where} holds booleans; expected numbers")
    return torch.from_numpy(array.astype(np.float64))
