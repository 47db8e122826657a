"""What every camera file holds, whatever its format: matrices, what they mean, and perhaps intrinsics. `F`: frames.

A format's module reads its file into a `PoseFile` and says there, once, what the format's convention is; `camera` turns
it into ours (c2w, OpenCV axes, unit-square intrinsics) and refuses what no camera can be.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.geometry.camera import Camera, check_cameras
from mirage.geometry.pose import invert

Convention = Literal["c2w", "w2c"]
MAX_FRAMES = 100_000
FARTHEST = 1e9  # world units; beyond it float32 has no metres left
FOCAL_RANGE = (0.01, 50.0)  # in image widths or heights: 178 degrees to 1 degree of view

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PoseFile:
    """`matrices` [F,4,4] float64 as the file has them; `intrinsics` [F,4] or [4] of the unit square, None if the file
    has none; `axes` of the camera frame: OpenCV (y down, z forward) or OpenGL (y up, z backward)."""

    source: str
    matrices: Tensor
    convention: Convention
    intrinsics: Tensor | None
    axes: Literal["opencv", "opengl"] = "opencv"

    def camera(self, *, convention: Convention | None = None, intrinsics: Tensor | None = None) -> Camera:
        """The trajectory [F], float64. `convention` overrules the file's; `intrinsics` [4] serve where it has none."""
        if self.intrinsics is None and intrinsics is None:
            _log.warning("%s has no intrinsics: assuming 65 degrees across at 4:3", self.source)
            intrinsics = Camera.looking().intrinsics
        chosen = self.intrinsics if self.intrinsics is not None else intrinsics
        assert chosen is not None
        given = check_cameras(Camera(self.matrices, chosen.double()), source=self.source)
        _check_ranges(given, source=self.source)
        c2w = invert(given.c2w) if (convention or self.convention) == "w2c" else given.c2w
        if self.axes == "opengl":
            c2w = c2w @ OPENGL_FROM_OPENCV
        return Camera(c2w, given.intrinsics)


# Right-multiplied to a c2w matrix it exchanges the two kinds of camera axes; it is its own inverse.
OPENGL_FROM_OPENCV = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))


def stacked(rows: Sequence[Sequence[float]]) -> Tensor:
    """Rows of 12 (3x4) or 16 (4x4) numbers, row-major -> [F,4,4] float64."""
    values = torch.tensor(rows, dtype=torch.float64)
    if values.shape[1] == 12:
        last = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64).expand(len(values), 4)
        values = torch.cat([values, last], dim=1)
    return values.unflatten(1, (4, 4))


def check_bottom_row(matrices: Tensor, *, source: str) -> None:
    """A 4x4 pose ends in 0 0 0 1; anything else is a transposed or projective matrix."""
    wrong = (matrices[:, 3] - matrices.new_tensor([0, 0, 0, 1])).abs().amax(-1) > 1e-6
    if wrong.any():
        frame = int(wrong.nonzero()[0])
        row = " ".join(f"{value:g}" for value in matrices[frame, 3].tolist())
        raise InputError(f"{source}: frame {frame} has the last row {row}; a pose matrix ends in 0 0 0 1")


def check_count(frames: int, *, source: str) -> None:
    """At least one frame and at most `MAX_FRAMES`."""
    if frames == 0:
        raise InputError(f"{source} has no poses; expected at least one")
    if frames > MAX_FRAMES:
        raise InputError(f"{source} has {frames} poses; at most {MAX_FRAMES} are accepted")


def _check_ranges(camera: Camera, *, source: str) -> None:
    focal, low, high = camera.intrinsics[:, :2], *FOCAL_RANGE
    wrong = (focal < low) | (focal > high)
    if wrong.any():
        raise InputError(
            f"{source}: a focal length of {focal[wrong][0]:g} image sides is outside {low:g}..{high:g}; "
            "normalised intrinsics are fractions of width and height, not pixels"
        )
    off = camera.intrinsics[:, 2:].abs().amax()
    if off > 10:
        raise InputError(
            f"{source}: a principal point {off:g} image sides away is outside -10..10; "
            "normalised intrinsics are fractions of width and height, not pixels"
        )
    far = camera.center.abs().amax()
    if far > FARTHEST:
        raise InputError(f"{source}: a camera at {far:g} units is farther than the {FARTHEST:g} that are accepted")
