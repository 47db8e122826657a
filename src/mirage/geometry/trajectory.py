"""Camera paths, made from one camera. `F`: frames. Every function takes the first camera and returns a `Camera` [F]
whose frame 0 is that camera; distances are in world units, angles in degrees.

`PRESETS` names the ones that a person may ask for by a word; `edits` has what may be done to a path afterwards.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mirage.errors import InputError, check_number
from mirage.geometry import pose
from mirage.geometry.camera import Camera, require_cameras
from mirage.geometry.edits import there_and_back
from mirage.kinds import checked

MOST_FRAMES = 1_000_000


@checked
def orbit(start: Camera, frames: int, *, degrees: float = 40.0, radius: float = 3.0) -> Camera:
    """Round the point `radius` ahead on a level circle, always looking at it; positive degrees go right."""
    angles = -_ramp(start, frames) * degrees
    turn = pose.rotation_about("y", angles, dtype=start.c2w.dtype).to(start.c2w)
    pivot = start.c2w.new_tensor([0.0, 0.0, radius])
    local = pose.make_pose(turn, pivot - turn @ pivot)
    return _from_local(start, local)


@checked
def dolly(
    start: Camera, frames: int, *, distance: float = 1.0, direction: tuple[float, float, float] = (0, 0, 1)
) -> Camera:
    """Straight on by `distance` along `direction` of the camera's own axes (default forward), without turning."""
    step = torch.nn.functional.normalize(start.c2w.new_tensor(direction), dim=0) * distance
    return _straight(start, _ramp(start, frames)[:, None] * step)


@checked
def pan(start: Camera, frames: int, *, degrees: float = 40.0) -> Camera:
    """Turn on the spot about the camera's own vertical; positive degrees turn right."""
    turn = pose.rotation_about("y", _ramp(start, frames) * degrees, dtype=start.c2w.dtype).to(start.c2w)
    return _from_local(start, pose.make_pose(turn, start.c2w.new_zeros(frames, 3)))


@checked
def push_in(start: Camera, frames: int, *, distance: float = 1.0) -> Camera:
    """Forward with a soft start and a soft stop (smoothstep)."""
    ease = _ramp(start, frames)
    ease = ease * ease * (3 - 2 * ease)
    return _straight(start, ease[:, None] * start.c2w.new_tensor([0.0, 0.0, distance]))


@checked
def dolly_zoom(start: Camera, frames: int, *, distance: float = 1.0, subject: float = 3.0) -> Camera:
    """Forward by `distance` while the view widens, so that what stands `subject` ahead keeps its size and all else
    changes ("Vertigo"). The one preset whose intrinsics change. A negative distance goes back and zooms in."""
    if not subject > max(distance, 0):
        raise InputError(f"a dolly zoom of {distance:g} towards a subject at {subject:g} would pass it; stay before it")
    path = dolly(start, frames, distance=distance)
    left = 1 - _ramp(start, frames) * distance / subject  # share of the way to the subject that is still ahead
    focal = path.intrinsics[:, :2] * left[:, None]
    return path.with_intrinsics(torch.cat([focal, path.intrinsics[:, 2:]], dim=1))


@checked
def figure_eight(start: Camera, frames: int, *, width: float = 0.5, radius: float = 3.0) -> Camera:
    """A lying eight, right loop first, `width` to either side and half as high as wide, always looking at the point
    `radius` ahead; it passes the start half-way and ends there."""
    angle = _ramp(start, frames) * 2 * math.pi
    right, down = width * angle.sin(), width / 2 * (2 * angle).sin()
    return _looking_ahead(start, torch.stack([right, down, torch.zeros_like(right)], dim=1), radius)


@checked
def spiral(
    start: Camera, frames: int, *, turns: float = 2.0, width: float = 0.3, distance: float = 0.5, radius: float = 3.0
) -> Camera:
    """A widening screw forward: `turns` rounds, clockwise as seen from behind, out to `width` from the axis and
    `distance` ahead, always looking at the point `radius` ahead."""
    ramp = _ramp(start, frames)
    angle = ramp * turns * 2 * math.pi
    return _looking_ahead(
        start, torch.stack([ramp * width * angle.cos(), ramp * width * angle.sin(), ramp * distance], dim=1), radius
    )


def _straight(start: Camera, center: Tensor) -> Camera:
    """Cameras at `center` [F,3], in the axes of `start`, that look where it looks."""
    eye = torch.eye(3, dtype=start.c2w.dtype, device=start.c2w.device).expand(len(center), 3, 3)
    return _from_local(start, pose.make_pose(eye, center))


def _looking_ahead(start: Camera, center: Tensor, radius: float) -> Camera:
    """Cameras at `center` [F,3], in the axes of `start`, that look at the point `radius` ahead of `start`."""
    return _from_local(start, pose.look_at(center, start.c2w.new_tensor([0.0, 0.0, radius])))


def _ramp(start: Camera, frames: int) -> Tensor:
    check_number("the frames of a path", frames, kind=int, low=1, high=MOST_FRAMES)
    if start.shape:
        raise InputError(f"a path starts from one camera, got a batch {list(start.shape)}")
    require_cameras(start, source="the start of a path")
    return torch.linspace(0, 1, frames, dtype=start.c2w.dtype, device=start.c2w.device)


def _from_local(start: Camera, local: Tensor) -> Camera:
    return Camera(start.c2w @ local, start.intrinsics.expand(len(local), 4))


def _walk_and_return(start: Camera, frames: int) -> Camera:
    half = frames // 2 + 1
    out = push_in(start, half, distance=1.0)
    turned = pan(start, half, degrees=30.0)
    path = Camera(pose.make_pose(turned.c2w[:, :3, :3], out.center), out.intrinsics)
    return there_and_back(path, frames)


def _pan_and_return(start: Camera, frames: int) -> Camera:
    return there_and_back(pan(start, frames // 2 + 1, degrees=45.0), frames)


PRESETS: dict[str, Callable[[Camera, int], Camera]] = {
    "orbit": orbit,
    "dolly": dolly,
    "pan": pan,
    "push_in": push_in,
    "there_and_back": _walk_and_return,
    "pan_and_return": _pan_and_return,
    "dolly_zoom": dolly_zoom,
    "figure_eight": figure_eight,
    "spiral": spiral,
}
