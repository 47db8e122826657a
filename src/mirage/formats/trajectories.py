"""A trajectory by whatever a person typed: a file of poses, the name of a preset, or keys. `F`: frames.

path = load_trajectory("orbit", start=camera, frames=49)
path = load_trajectory("w 31, right 10", start=camera)
path = load_trajectory("clip.txt", start=camera)          # RealEstate10K, taken relative to its first frame
"""

import logging
import os
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.formats.cameras import CameraOptions, read_cameras
from mirage.formats.cameras.poses import MAX_FRAMES, Convention
from mirage.formats.keys import KEYS, SPEED, TURN, key_path
from mirage.geometry.camera import Camera
from mirage.geometry.edits import resampled
from mirage.geometry.trajectory import PRESETS
from mirage.kinds import checked

PRESET_FRAMES = 49
_log = logging.getLogger(__name__)


@checked
def load_trajectory(
    spec: str | os.PathLike[str],
    *,
    start: Camera,
    frames: int | None = None,
    resample: bool = False,
    convention: Convention | None = None,
    reading: CameraOptions | None = None,
    speed: float = SPEED,
    turn: float = TURN,
) -> Camera:
    """The path [F] whose frame 0 is the pose of `start` (one camera).

    `frames`: this many (a preset has 49 unless told; a file or keys are cut to it, and asking for more than they have
    is refused unless `resample`, which spreads the whole path over them, evenly in time where the file has time
    stamps). A file's intrinsics are kept where it has them and are those of `start` elsewhere (`reading`: what the file
    cannot say itself): who reconciles them with an image uses `square_pixels`.
    """
    if frames is not None and not 1 <= frames <= MAX_FRAMES:
        raise InputError(f"got {frames} frames; expected 1 to {MAX_FRAMES}")
    times = None
    if os.path.exists(spec):
        path, times = _from_file(spec, start, convention, reading)
    elif str(spec) in PRESETS:
        return PRESETS[str(spec)](start, frames or PRESET_FRAMES)
    elif _like_keys(str(spec)):
        path = key_path(str(spec), start, speed=speed, turn=turn)
    else:
        raise InputError(
            f"no trajectory {str(spec)[:120]!r}: not a file, not a preset ({', '.join(PRESETS)}), "
            'not keys ("w 31, right 10")'
        )
    if frames is None:
        return path
    if resample:
        return resampled(path, frames, at=times)
    if frames > len(path):
        raise InputError(
            f"asked for {frames} frames and the path {str(spec)[:120]!r} has {len(path)}; expected at "
            "most that, or resampling"
        )
    return path[:frames]


def square_pixels(camera: Camera, size: tuple[int, int]) -> Camera:
    """The cameras as they see through an image of `size` (H, W) with square pixels: the vertical field of view and the
    principal point stay, the horizontal field of view follows the aspect. For a path that was filmed at another aspect
    than the image it is played on."""
    height, width = size
    _, fy, cx, cy = camera.intrinsics.unbind(-1)
    return camera.with_intrinsics(torch.stack([fy * height / width, fy, cx, cy], dim=-1))


def _from_file(
    path: str | os.PathLike[str], start: Camera, convention: Convention | None, reading: CameraOptions | None
) -> tuple[Camera, Tensor | None]:
    """The path [F] from `start` on, and the times [F] of its poses where the file tells them."""
    options = reading or CameraOptions()
    options = replace(options, pose=convention or options.pose, intrinsics=start.intrinsics.cpu().double())
    record = read_cameras(path, options)
    for warning in record.warnings:
        _log.warning("%s: %s", path, warning)
    camera = record.camera
    relative = camera.relative_to(camera[0])
    relative.c2w[0] = torch.eye(4, dtype=torch.float64)  # inv(p) p is the identity but for its last bits
    return relative.to(start.c2w).moved(start.c2w), record.times


def _like_keys(spec: str) -> bool:
    """Worth reading as keys, so that mistakes in them are reported: its first word is a key, and it has a number."""
    first = spec.strip().lower().split(",")[0].replace("+", " ").replace("-", " ").split()
    return bool(first) and first[0] in KEYS and any(c.isdigit() for c in spec) and not Path(spec).suffix
