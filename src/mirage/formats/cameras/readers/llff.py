"""LLFF's poses_bounds.npy: rows of 17 = a 3x5 matrix by rows and the near and far bounds. Columns of the matrix: the
camera's down, right and backward, its centre, and (height, width, focal length) in pixels.
https://github.com/Fyusion/LLFF

Camera-to-world; we call its axes opengl, because they are that (right, up, backward) with two columns exchanged.
"""

import torch

from mirage.errors import InputError
from mirage.formats.cameras.arrays import floats
from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.pixels import unit_square
from mirage.formats.cameras.poses import Poses, check_count
from mirage.formats.cameras.record import CameraOptions
from mirage.geometry.pose import make_pose


def sniff(content: Content) -> bool:
    """One array [F,17] (or [F,15], without bounds)."""
    shape = content.shape("") if "" in content.arrays else ()
    return len(shape) == 2 and shape[1] in (15, 17)


def read(content: Content, options: CameraOptions) -> Poses:
    """Poses in the order of the rows, which is that of the images' names."""
    values = floats(content.arrays[""], where=content.source)
    check_count(len(values), source=content.source)
    matrices = values[:, :15].unflatten(1, (3, 5))
    if not torch.isfinite(matrices).all():
        raise InputError(f"{content.source} has NaN or infinite numbers; every pose must be finite")
    down, right, back, center, hwf = matrices.unbind(-1)
    height, width, focal = hwf.unbind(-1)
    if not bool(((height >= 1) & (width >= 1) & (height < 1e6) & (width < 1e6)).all()):
        raise InputError(
            f"{content.source} has images of less than 1 x 1; expected height, width and focal in column 5"
        )
    size = options.size or (round(float(height[0])), round(float(width[0])))
    row = torch.stack([focal, focal, width / 2, height / 2], dim=-1)
    rows, said = [], []
    for values, own in zip(row, zip(height.tolist(), width.tolist(), strict=True), strict=True):
        unit, said = unit_square(values, (round(own[0]), round(own[1])), source=content.source)
        rows.append(unit)
    return Poses(
        make_pose(torch.stack([right, -down, back], dim=-1), center),
        "c2w",
        torch.stack(rows),
        axes="opengl",
        units="pixels",
        pixel_centers="half",
        confidence="stated",
        size=size,
        warnings=tuple(said),
    )


FORMAT = CameraFormat("llff", "LLFF poses_bounds.npy", "arrays", sniff, read)
