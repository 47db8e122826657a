"""What may be done to a camera path before it is walked. `F` frames, `K` key frames; every function takes a path, a
`Camera` [F], and returns another.

    path, stamps = Edits(first=10, last=90, level=True, smooth=4.0, frames=97, by="length").apply(path, stamps)

`Edits` is the list of wishes in the order in which they are done; the functions below it are one wish each. Stamps are
seconds, float64 [F], or None where nobody knows them; frames are then evenly spaced.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.pose import interpolate, make_pose, orthonormalised, quaternion, rotation_from_quaternion

By = Literal["time", "length"]
_TILT = math.sin(math.radians(30))  # how far people tilt a camera, as against rolling it
_DENSE = 16  # samples of a curve per piece, when it is to be walked at constant speed
_WIDEST = 1000.0


@dataclass(frozen=True)
class Edits:
    """In this order: frames `first` to `last` (both count, None: to the end); the way `scale` times as long; `level`;
    `smooth` (frames, None: not); `frames` of them (None: as many), spaced evenly `by` time or length, on a `curve`
    through the poses or straight from each to the next; `reverse`; `loop` (there and back)."""

    first: int = 0
    last: int | None = None
    scale: float = 1.0
    level: bool = False
    smooth: float | None = None
    frames: int | None = None
    by: By = "time"
    curve: bool = False
    reverse: bool = False
    loop: bool = False

    def __post_init__(self) -> None:
        if self.by not in ("time", "length"):
            raise InputError(f"got frames spaced by {self.by!r}; accepted: 'time', 'length'")
        if self.curve and self.frames is None:
            raise InputError("a curve through key frames needs the number of frames to make; got none")

    @property
    def keeps_frames(self) -> bool:
        """Whether every frame that is left is one of the file, in its order: it may keep its name."""
        return not (self.frames is not None or self.reverse or self.loop)

    def apply(self, path: Camera, stamps: Tensor | None = None) -> tuple[Camera, Tensor | None]:
        """The path [F'] and its stamps [F']; stamps that nobody knew stay unknown."""
        last = len(path) - 1 if self.last is None else self.last
        path = part(path, self.first, last)
        stamps = None if stamps is None else stamps[self.first : last + 1]
        if self.scale != 1:
            path = scaled(path, self.scale)
        if self.level:
            path = level(path)
        if self.smooth is not None:
            path = smooth(path, self.smooth)
        if self.frames is not None:
            at = stamps if self.by == "time" else lengths(path)
            path = _curved(path, self.frames, stamps, self.by) if self.curve else resampled(path, self.frames, at=at)
            stamps = None if stamps is None else _evenly(stamps, self.frames)
        if self.reverse:
            path, stamps = reverse(path), None if stamps is None else stamps[0] + stamps[-1] - stamps.flip(0)
        if self.loop:
            path = there_and_back(path)
            stamps = None if stamps is None else torch.cat([stamps, 2 * stamps[-1] - stamps.flip(0)[1:]])
        return path, stamps


def part(path: Camera, first: int, last: int) -> Camera:
    """Frames `first` to `last`; both are in it, and the first frame of a path is 0."""
    if not 0 <= first <= last < len(path):
        raise InputError(f"got frames {first} to {last} of a path of {len(path)}; expected 0 <= first <= last < count")
    return path[first : last + 1]


def scaled(path: Camera, factor: float) -> Camera:
    """Every way `factor` times as long, seen from the first camera; directions stay. For a path whose unit is not the
    world's."""
    if not (math.isfinite(factor) and factor > 0):
        raise InputError(f"got the scale {factor}; expected a number above 0")
    center = path.center[:1] + (path.center - path.center[:1]) * factor
    return Camera(make_pose(path.c2w[:, :3, :3], center), path.intrinsics)


def level(path: Camera, *, up: Tensor | None = None) -> Camera:
    """The same positions and viewing directions without roll: every horizon lies flat. `up` [3]: the world's vertical,
    else `vertical(path)`. A camera that looks straight up or down has no horizon and keeps its roll."""
    up = vertical(path) if up is None else torch.nn.functional.normalize(up.to(path.c2w), dim=0)
    ahead = path.c2w[:, :3, 2]
    right = torch.linalg.cross(-up.expand_as(ahead), ahead)
    length = torch.linalg.vector_norm(right, dim=-1, keepdim=True)
    right = torch.where(length > 1e-3, right / length.clamp_min(1e-3), path.c2w[:, :3, 0])
    down = torch.linalg.cross(ahead, right)
    return Camera(make_pose(torch.stack([right, down, ahead], dim=-1), path.center), path.intrinsics)


def vertical(path: Camera) -> Tensor:
    """Which way is up in the world of a path, [3], by its cameras alone: the direction that all their right axes are
    square to, as nobody means to roll a camera; where they all point alike, the one nearest to the cameras' mean up.
    Between the two the roll decides that is left: the more of it, the less the right axes are believed."""
    right, up = path.c2w[:, :3, 0].double(), -path.c2w[:, :3, 1].double()
    mean = torch.nn.functional.normalize(up.mean(0), dim=0)
    eye = torch.eye(3, dtype=torch.float64, device=mean.device)
    found = mean
    for _ in range(8):
        roll = (right @ found).square().mean().clamp_min(1e-9)
        spread = right.T @ right / len(right) + roll / _TILT**2 * (eye - torch.outer(mean, mean))
        found = torch.linalg.eigh(spread).eigenvectors[:, 0]
    return (found * torch.where(found @ mean < 0, -1.0, 1.0)).to(path.c2w)


def smooth(path: Camera, frames: float) -> Camera:
    """Shake taken out: Gaussian means over neighbours, standard deviation in `frames`, of positions, directions, zoom.
    The first and the last pose stay where they are, and a straight even walk stays as it is."""
    if not 0 < frames <= _WIDEST:
        raise InputError(f"got smoothing over {frames} frames; expected a number above 0 and at most {_WIDEST:g}")
    count, wide = len(path), min(len(path) - 1, math.ceil(3 * frames))
    turns = path.c2w[:, :3, :3].double()
    # focal lengths by their logarithms: no mean of zooms is negative
    steady = torch.cat([path.center, path.intrinsics[:, :2].log(), path.intrinsics[:, 2:]], dim=1).double()
    at = torch.arange(count, device=path.c2w.device)
    turned, moved, total = turns.clone(), steady.clone(), 1.0
    for offset in range(1, wide + 1):
        weight = math.exp(-0.5 * (offset / frames) ** 2)
        for neighbour in (at - offset, at + offset):
            turn, move = _mirrored(turns, steady, neighbour)
            turned, moved = turned + weight * turn, moved + weight * move
        total += 2 * weight
    moved = moved / total
    intrinsics = torch.cat([moved[:, 3:5].exp(), moved[:, 5:]], dim=1)
    return Camera(make_pose(orthonormalised(turned), moved[:, :3]).to(path.c2w), intrinsics.to(path.c2w))


def reverse(path: Camera) -> Camera:
    """From its last frame to its first."""
    return Camera(path.c2w.flip(0), path.intrinsics.flip(0))


def there_and_back(path: Camera, frames: int | None = None) -> Camera:
    """Along `path` [F] and back the same way: 2F - 1 frames, or `frames` of them; it ends as it began."""
    back = Camera(path.c2w.flip(0)[1:], path.intrinsics.flip(0)[1:])
    loop = Camera.concatenate([path, back])
    return loop if frames is None else resampled(loop, frames)


def resampled(path: Camera, frames: int, *, at: Tensor | None = None) -> Camera:
    """The same path with another number of frames; first and last stay. Where a new frame meets an old one it is
    that frame, bit for bit.

    `at` [F], never falling: where each old frame stands, seconds or `lengths(path)`; the new ones stand evenly there.
    Between neighbours rotations turn on the shortest arc and the rest goes straight.
    """
    left, fraction = _places(path, frames, at)
    start, end = path[left], path[(left + 1).clamp_max(len(path) - 1)]
    fraction = fraction.to(path.c2w)
    poses = interpolate(start.c2w, end.c2w, fraction)
    exact = fraction[:, None, None]
    poses = torch.where(exact == 0, start.c2w, torch.where(exact == 1, end.c2w, poses))
    return Camera(poses, torch.lerp(start.intrinsics, end.intrinsics, fraction[:, None]))


def through(keys: Camera, frames: int, *, at: Tensor | None = None) -> Camera:
    """A fly-through: one smooth curve through key cameras [K], never with a kink at one (a Catmull-Rom spline, of
    positions, of quaternions and of intrinsics). `at` [K], rising: when each key is passed; evenly unless given."""
    left, fraction = _places(keys, frames, at)
    if len(keys) == 1:
        return keys[left]
    stamps = torch.arange(len(keys), dtype=torch.float64) if at is None else at.double().cpu()
    if (stamps[1:] <= stamps[:-1]).any():
        raise InputError("two key frames stand at the same time; a curve passes each at a time of its own")
    w, xyz = quaternion(keys.c2w[:, :3, :3].double())
    turns = torch.cat([w[:, None], xyz], dim=1)
    flips = torch.where((turns[1:] * turns[:-1]).sum(1) < 0, -1.0, 1.0).to(turns)
    turns = turns * torch.cat([flips.new_ones(1), flips.cumprod(0)])[:, None]  # q and -q are one turn: the near one
    values = torch.cat([keys.center.double(), turns, keys.intrinsics.double()], dim=1)
    new = _hermite(values, stamps.to(values), left, fraction.to(values))
    rotation = rotation_from_quaternion(new[:, [4, 5, 6, 3]])
    return Camera(make_pose(rotation, new[:, :3]).to(keys.c2w), new[:, 7:].to(keys.c2w))


def lengths(path: Camera) -> Tensor:
    """Way walked up to each frame, in world units, float64 [F]."""
    steps = torch.linalg.vector_norm((path.center[1:] - path.center[:-1]).double(), dim=-1)
    total = torch.cat([steps.new_zeros(1), steps.cumsum(0)])
    if total[-1] == 0:
        raise InputError("the path turns but does not move, so its frames cannot be spaced by length; by time they can")
    return total


def _places(path: Camera, frames: int, at: Tensor | None) -> tuple[Tensor, Tensor]:
    """For each new frame the old one before it [frames], and how far it is from there to the next, in [0, 1]."""
    if len(path.shape) != 1 or len(path) == 0 or frames < 1:
        raise InputError(
            f"resampling needs a path of at least one pose and one frame, got {list(path.shape)} and {frames}"
        )
    at = torch.arange(len(path), dtype=torch.float64) if at is None else at.double().cpu()
    if at.shape != (len(path),) or (at[1:] < at[:-1]).any() or not at.isfinite().all():
        raise InputError(f"a path of {len(path)} frames is resampled by as many stamps that never fall; got others")
    wanted = _evenly(at, frames)
    left = (torch.searchsorted(at.contiguous(), wanted.contiguous(), right=True) - 1).clamp(0, max(len(path) - 2, 0))
    right = (left + 1).clamp_max(len(path) - 1)
    span = at[right] - at[left]
    fraction = torch.where(span > 0, (wanted - at[left]) / span.clamp_min(1e-300), 0.0)
    return left.to(path.c2w.device), fraction.clamp(0, 1).to(path.c2w.device)


def _hermite(values: Tensor, stamps: Tensor, left: Tensor, fraction: Tensor) -> Tensor:
    """Cubic pieces [frames,D] through `values` [K,D], with the slope of the parabola through each three neighbours."""
    span = stamps[1:] - stamps[:-1]
    slope = (values[1:] - values[:-1]) / span[:, None]
    before, after = span[:-1, None], span[1:, None]
    inner = (slope[:-1] * after + slope[1:] * before) / (before + after)
    slopes = torch.cat([slope[:1], inner, slope[-1:]])
    t, h = fraction[:, None], span[left][:, None]
    return (
        (1 + 2 * t) * (1 - t) ** 2 * values[left]
        + t * (1 - t) ** 2 * h * slopes[left]
        + t**2 * (3 - 2 * t) * values[left + 1]
        + t**2 * (t - 1) * h * slopes[left + 1]
    )


def _curved(path: Camera, frames: int, stamps: Tensor | None, by: By) -> Camera:
    if by == "time":
        return through(path, frames, at=stamps)
    dense = through(path, _DENSE * (len(path) - 1) + 1, at=stamps)
    return resampled(dense, frames, at=lengths(dense))


def _evenly(stamps: Tensor, frames: int) -> Tensor:
    """From the first to the last."""
    return torch.linspace(float(stamps[0]), float(stamps[-1]), frames, dtype=torch.float64)


def _mirrored(turns: Tensor, values: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Rows at places that may lie outside: there the path goes on as its mirror image through the end pose."""
    last = len(values) - 1
    end = torch.where(at < 0, 0, last)
    inside = (at >= 0) & (at <= last)
    back = torch.where(inside, at, torch.where(at < 0, -at, 2 * last - at))
    turn, move = turns[back], values[back]
    mirrored = turns[end] @ turn.transpose(-1, -2) @ turns[end]
    return (
        torch.where(inside[:, None, None], turn, mirrored),
        torch.where(inside[:, None], move, 2 * values[end] - move),
    )
