"""Poses and intrinsics from the arrays of an .npz, whatever they are called. `F`: poses."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.formats.cameras.content import Content
from mirage.formats.cameras.matrices import check_poses
from mirage.formats.cameras.pixels import from_matrices, unit_square
from mirage.formats.cameras.poses import check_count
from mirage.formats.cameras.record import CameraOptions


def pose_array(content: Content, name: str) -> tuple[Tensor, Tensor | None]:
    """Matrices [F,4,4] from [F,4,4] or [F,3,4] (or one batch [1,F,...] of them), and which are lost."""
    where = f"{content.source}: {name!r}"
    poses = floats(content.arrays[name], where=where)
    if poses.ndim == 4 and len(poses) == 1:
        poses = poses[0]
    if poses.ndim != 3 or poses.shape[1:] not in ((4, 4), (3, 4)):
        raise InputError(f"{where} is {list(poses.shape)}; expected [F,4,4] or [F,3,4]")
    check_count(len(poses), source=content.source)
    if poses.shape[1] == 3:
        last = poses.new_tensor([0, 0, 0, 1]).expand(len(poses), 1, 4)
        poses = torch.cat([poses, last], dim=1)
    return poses, check_poses(poses, source=content.source)


def intrinsics(
    content: Content, options: CameraOptions, *, frames: int
) -> tuple[Tensor | None, Literal["normalized", "pixels"] | None, tuple[int, int] | None, list[str]]:
    """Of our own layout: `intrinsics` as fractions, or `K` (or 3x3 `intrinsics`) with `size`."""
    arrays, source = content.arrays, content.source
    if "intrinsics" in arrays and content.shape("intrinsics")[-2:] != (3, 3):
        values = floats(arrays["intrinsics"], where=f"{source}: 'intrinsics'")
        if values.shape not in ((4,), (frames, 4)):
            raise InputError(
                f"{source}: 'intrinsics' is {list(values.shape)}; expected [4] or [{frames},4] "
                "= fx fy cx cy as fractions (a 3x3 matrix goes in 'K', with 'size')"
            )
        return values, "normalized", options.size, []
    name = "intrinsics" if "intrinsics" in arrays else "K"
    if name not in arrays:
        return None, None, options.size, []
    size = options.size
    if size is None:
        told = arrays["size"] if "size" in arrays else np.zeros(0)
        if told.size != 2 or not (np.isfinite(told) & (told > 0) & (told < 1e6)).all():
            raise InputError(
                f"{source}: {name!r} is in pixels and needs 'size' = (H, W) beside it, two positive numbers"
            )
        height, width = (int(side) for side in told.flatten())
        size = height, width
    values, said = pixel_matrices(content, name, size, options, frames=frames)
    return values, "pixels", size, said


def pixel_matrices(
    content: Content, name: str, size: tuple[int, int], options: CameraOptions, *, frames: int
) -> tuple[Tensor, list[str]]:
    """Fractions [F,4] or [4] from matrices [F,3,3] or [3,3], or rows [F,4] or [4], in pixels of `size` (H, W)."""
    where = f"{content.source}: {name!r}"
    K = floats(content.arrays[name], where=where)
    if K.ndim == 4 and len(K) == 1:
        K = K[0]
    centers = options.pixel_centers or "half"
    if K.shape in ((4,), (frames, 4)):
        return unit_square(K, size, pixel_centers=centers, source=where, swappable=options.size is None)
    if K.shape not in ((3, 3), (frames, 3, 3)):
        raise InputError(f"{where} is {list(K.shape)}; expected [3,3] or [{frames},3,3]")
    return from_matrices(K, size, pixel_centers=centers, source=where, swappable=options.size is None)


def picture_size(content: Content, names: Sequence[str]) -> tuple[int, int] | None:
    """(H, W) from the shape of the first of some arrays of pictures or depth that is there, which is not read."""
    for name in names:
        if name in content.arrays:
            shape = content.shape(name)
            spatial = [side for side in shape[1:] if side > 4]  # channels and batches are no sides of a picture
            if len(shape) >= 3 and len(spatial) >= 2:
                return spatial[-2], spatial[-1]
    return None


def floats(array: np.ndarray, *, where: str) -> Tensor:
    """float64; booleans are refused."""
    if array.dtype.kind == "b":
        raise InputError(f"{where} holds booleans; expected numbers")
    return torch.from_numpy(array.astype(np.float64))
