"""What a reader finds in a file, and how it becomes a `CameraRecord`. `F`: poses.

A reader says once what its format means by its matrices; `finished` turns them into ours (c2w, OpenCV axes, intrinsics
of the unit square) and refuses what no camera can be.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.formats.cameras.record import Axes, CameraOptions, CameraRecord, Confidence, PixelCenters, Pose, Quaternion
from mirage.geometry.camera import FARTHEST, Camera, check_cameras
from mirage.geometry.pose import interpolate, invert

Convention = Pose
MAX_FRAMES = 100_000
FOCAL_RANGE = (0.01, 50.0)  # in image widths or heights: 178 degrees to 1 degree of view
CENTRED = 0.15  # how far from the middle, in image sides, a principal point goes unremarked


@dataclass(frozen=True, eq=False)
class Poses:
    """`matrices` [F,4,4] float64 as the file has them, meaning `pose` in camera `axes`; `intrinsics` [F,4] or [4] of
    the unit square, None if the file has none. `lost` [F]: poses that tracking lost, whatever stands in their matrices.
    `stated`: the file itself says what its numbers mean. The rest: see `CameraRecord`."""

    matrices: Tensor
    pose: Pose
    intrinsics: Tensor | None = None
    axes: Axes = "opencv"
    units: Literal["normalized", "pixels"] | None = None
    pixel_centers: PixelCenters | None = None
    quaternion: Quaternion | None = None
    confidence: Confidence = "usual"
    times: Tensor | None = None
    names: tuple[str, ...] | None = None
    size: tuple[int, int] | None = None
    lens: str | None = None
    lost: Tensor | None = None
    warnings: tuple[str, ...] = ()


def finished(poses: Poses, *, source: str, format: str, options: CameraOptions) -> CameraRecord:
    """The record of a path: lost poses left out or bridged, the person's `options` above the format's convention."""
    warnings = list(poses.warnings)
    check_count(len(poses.matrices), source=source)
    poses = _found(poses, options, warnings, source=source)
    intrinsics = poses.intrinsics if poses.intrinsics is not None else options.intrinsics
    if intrinsics is None:
        warnings.append("it has no intrinsics: assuming 65 degrees across at 4:3")
        intrinsics = Camera.looking().intrinsics
    pose, axes = options.pose or poses.pose, options.axes or poses.axes
    matrices = _right_handed(poses.matrices, pose, axes, source=source)
    given = check_cameras(Camera(matrices, intrinsics.double()), source=source)
    _check_ranges(given, source=source)
    c2w = invert(given.c2w) if pose == "w2c" else given.c2w
    turn = AXES[axes]
    if axes == "unreal":  # left-handed: its world is mirrored too
        mirror = AXES["unreal"].T
        c2w = mirror @ c2w @ turn
    elif axes != "opencv":
        c2w = c2w @ turn
    camera = Camera(c2w, given.intrinsics)
    if poses.lens is not None:
        warnings.append(
            f"the lens is distorted ({poses.lens}): for a path that does not matter, for its images it does"
        )
    warnings += _off_centre(camera, units=poses.units)
    told = options.pose is not None or options.axes is not None or options.quaternion is not None
    return CameraRecord(
        camera,
        format=format,
        pose=pose,
        axes=axes,
        intrinsics=poses.units if poses.intrinsics is not None else None,
        pixel_centers=poses.pixel_centers,
        quaternion=poses.quaternion,
        confidence="stated" if told else poses.confidence,
        times=poses.times,
        names=poses.names,
        size=poses.size,
        lens=poses.lens,
        warnings=tuple(warnings),
    )


def _rows(*rows: tuple[int, int, int]) -> Tensor:
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = torch.tensor(rows, dtype=torch.float64)
    return turn


AXES: dict[Axes, Tensor] = {
    "opencv": _rows((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "opengl": _rows((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "ned": _rows((0, 0, 1), (1, 0, 0), (0, 1, 0)),
    "ros": _rows((0, 0, 1), (-1, 0, 0), (0, -1, 0)),
    "unreal": _rows((0, 0, 1), (1, 0, 0), (0, -1, 0)),
}
"""Right-multiplied to a c2w matrix of these camera axes it gives OpenCV's: its columns are right, down and forward."""
OPENGL_FROM_OPENCV = AXES["opengl"]


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


def _found(poses: Poses, options: CameraOptions, warnings: list[str], *, source: str) -> Poses:
    """Without the poses that were lost, or with them bridged."""
    if poses.lost is None or not poses.lost.any():
        return poses
    there = (~poses.lost).nonzero()[:, 0]
    lost = poses.lost.nonzero()[:, 0].tolist()
    if len(there) == 0:
        raise InputError(f"{source}: all of its {len(lost)} poses are lost (not finite); expected at least one")
    which = ", ".join(poses.names[i][:60] if poses.names else str(i) for i in lost[:5]) + (
        ", ..." if len(lost) > 5 else ""
    )
    matrices, kept = poses.matrices.clone(), there
    if options.bridge_lost:
        kept = torch.arange(int(there[0]), int(there[-1]) + 1)
        for before, after in zip(there[:-1].tolist(), there[1:].tolist(), strict=True):
            if after - before > 1:
                start, end = (invert(m) if poses.pose == "w2c" else m for m in (matrices[before], matrices[after]))
                fraction = torch.arange(1, after - before, dtype=torch.float64) / (after - before)
                between = interpolate(start, end, fraction)
                matrices[before + 1 : after] = invert(between) if poses.pose == "w2c" else between
        ends = len(poses.matrices) - len(kept)
        warnings.append(
            f"tracking lost {len(lost)} of {len(poses.matrices)} poses ({which}): bridged"
            + (f", but for {ends} at the ends, which are left out" if ends else "")
        )
    else:
        warnings.append(f"tracking lost {len(lost)} of {len(poses.matrices)} poses ({which}): left out")
    intrinsics = poses.intrinsics
    chosen = kept.tolist()
    return Poses(
        **{
            **poses.__dict__,
            "matrices": matrices[kept],
            "intrinsics": intrinsics[kept] if intrinsics is not None and intrinsics.ndim == 2 else intrinsics,
            "times": poses.times[kept] if poses.times is not None else None,
            "names": tuple(poses.names[i] for i in chosen) if poses.names else None,
            "lost": None,
        }
    )


def _right_handed(matrices: Tensor, pose: Pose, axes: Axes, *, source: str) -> Tensor:
    """Mirrored matrices (determinant -1) are those of a left-handed world; only unreal axes have one."""
    finite = torch.isfinite(matrices).all((-1, -2))
    mirrored = finite & (torch.linalg.det(torch.where(finite[:, None, None], matrices, 0.0)[:, :3, :3]) < 0)
    if not mirrored.any():
        return matrices
    if axes == "unreal" and mirrored.all():
        turn = AXES["unreal"]  # `finished` mirrors the world; this world is not, so that is undone beforehand
        return turn @ matrices if pose == "c2w" else matrices @ turn.T
    frame = int(mirrored.nonzero()[0])
    raise InputError(
        f"{source}: frame {frame} is mirrored (determinant -1) and not a rotation; expected right-handed poses, or the "
        "axes said to be unreal (left-handed)"
    )


def _off_centre(camera: Camera, *, units: str | None) -> list[str]:
    off = (camera.intrinsics[:, 2:] - 0.5).abs().amax(0).tolist()
    if max(off) <= CENTRED:
        return []
    cx, cy = camera.intrinsics[0, 2:].tolist()
    said = "; are width and height swapped?" if units == "pixels" else ""
    return [f"the principal point is far from the middle, at {cx:.2f} of the width and {cy:.2f} of the height{said}"]


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
