"""Camera paths, made from one camera. `F`: frames. Every function takes the first camera and returns a `Camera` [F]
whose frame 0 is that camera; distances are in world units, angles in degrees.

`PRESETS` names the ones that a person may ask for by a word.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.geometry import pose
from mirage.geometry.camera import Camera


def orbit(start: Camera, frames: int, *, degrees: float = 40.0, radius: float = 3.0) -> Camera:
    """Round the point `radius` ahead on a level circle, always looking at it; positive degrees go right."""
    angles = -_ramp(start, frames) * degrees
    turn = pose.rotation_about("y", angles, dtype=start.c2w.dtype).to(start.c2w)
    pivot = start.c2w.new_tensor([0.0, 0.0, radius])
    local = pose.make_pose(turn, pivot - turn @ pivot)
    return _from_local(start, local)


def dolly(
    start: Camera, frames: int, *, distance: float = 1.0, direction: tuple[float, float, float] = (0, 0, 1)
) -> Camera:
    """Straight on by `distance` along `direction` of the camera's own axes (default forward), without turning."""
    step = torch.nn.functional.normalize(start.c2w.new_tensor(direction), dim=0) * distance
    eye = torch.eye(3, dtype=start.c2w.dtype, device=start.c2w.device).expand(frames, 3, 3)
    return _from_local(start, pose.make_pose(eye, _ramp(start, frames)[:, None] * step))


def pan(start: Camera, frames: int, *, degrees: float = 40.0) -> Camera:
    """Turn on the spot about the camera's own vertical; positive degrees turn right."""
    turn = pose.rotation_about("y", _ramp(start, frames) * degrees, dtype=start.c2w.dtype).to(start.c2w)
    return _from_local(start, pose.make_pose(turn, start.c2w.new_zeros(frames, 3)))


def push_in(start: Camera, frames: int, *, distance: float = 1.0) -> Camera:
    """Forward with a soft start and a soft stop (smoothstep)."""
    path = dolly(start, frames, distance=distance)
    ease = _ramp(start, frames)
    ease = ease * ease * (3 - 2 * ease)
    local = path.relative_to(start)
    forward = start.c2w.new_tensor([0.0, 0.0, distance])
    return _from_local(start, pose.make_pose(local.c2w[:, :3, :3], ease[:, None] * forward))


def there_and_back(path: Camera, frames: int | None = None) -> Camera:
    """Along `path` [F] and back the same way: 2F - 1 frames, or `frames` of them; it ends as it began.

    For a preset from one camera see `PRESETS`: it walks forward and turns a little, then returns.
    """
    back = Camera(path.c2w.flip(0)[1:], path.intrinsics.flip(0)[1:])
    loop = Camera.concatenate([path, back])
    return loop if frames is None else resampled(loop, frames)


def through(keys: Camera, frames: int) -> Camera:
    """Through key cameras [K], equal time between neighbours: slerp of rotation, linear in the rest."""
    return resampled(keys, frames)


def resampled(path: Camera, frames: int) -> Camera:
    """The same path with another number of frames; first and last stay. Where a new frame meets an old one it is
    that frame, bit for bit."""
    if len(path.shape) != 1 or len(path) == 0 or frames < 1:
        raise InputError(
            f"resampling needs a path of at least one pose and one frame, got {list(path.shape)} and {frames}"
        )
    at = torch.linspace(0, len(path) - 1, frames, dtype=torch.float64)
    left = at.floor().long().clamp_max(max(len(path) - 2, 0))
    right = (left + 1).clamp_max(len(path) - 1)
    fraction = (at - left).to(path.c2w)
    poses = torch.stack([_between(path.c2w[i], path.c2w[j], f) for i, j, f in zip(left, right, fraction, strict=True)])
    weight = fraction[:, None]
    intrinsics = torch.lerp(path.intrinsics[left], path.intrinsics[right], weight)
    return Camera(poses, intrinsics)


def _between(start: Tensor, end: Tensor, fraction: Tensor) -> Tensor:
    if fraction == 0:
        return start
    return end if fraction == 1 else pose.interpolate(start, end, fraction[None])[0]


def _ramp(start: Camera, frames: int) -> Tensor:
    if frames < 1:
        raise InputError(f"a path has at least one frame, got {frames}")
    if start.shape:
        raise InputError(f"a path starts from one camera, got a batch {list(start.shape)}")
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
}
