"""Which reading of a camera file its own pictures agree with: w2c or c2w, and which axes. `F` frames, `M` matches.

    fits = agreement({"c2w, opencv": one, "w2c, opencv": other}, lambda frame: load_image(paths[frame]))
    best = decided(fits)                     # "c2w, opencv", or None where the pictures cannot tell

What two pictures show of the same place lies on a line in each that the two cameras decide (the epipolar line), and in
front of both. Features are matched between frames near each other, matches that no pair of cameras could explain are
thrown away (RANSAC, which knows nothing of the file), and each reading is asked how many of the rest it explains.
"""

import importlib.util
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.pose import invert
from mirage.optional import install

SIDE = 480  # pixels of a picture's longer side, in which features are found and errors are measured
PAIRS = 10  # pairs of frames that are looked at
CLOSE = 2.0  # pixels from its epipolar line within which a match agrees
MORE = 1.5  # the best reading explains so many times as many matches as any other,
NEARER = 2.0  # or lies so many times as near to them,
NEAR = 0.5  # if it lies within so many pixels of half of them
ENOUGH = 0.5  # share of the matches that a reading explains, to be one at all
MATCHES = 20  # of a pair, below which it says nothing


@dataclass(frozen=True)
class Fit:
    """How well a reading explains `matches` matches: the share within `CLOSE` pixels of its line and in front of both
    cameras, and the median distance from the line, in pixels of a picture `SIDE` wide."""

    share: float
    error: float
    matches: int


def agreement(readings: Mapping[str, Camera], picture: Callable[[int], Tensor]) -> dict[str, Fit]:
    """By reading, of the same frames [F] each, how it fits the pictures; best first.

    `picture(frame)`: [3,H,W] in [0, 1]. Raises `InputError` where too few features match to say anything.
    """
    counts = {len(camera) for camera in readings.values()}
    if len(counts) != 1 or not readings:
        raise InputError(f"readings of one file have as many frames each; got {sorted(counts)}")
    frames = counts.pop()
    if importlib.util.find_spec("skimage") is None:
        raise InputError(f"comparing a path with its pictures needs scikit-image: {install('skimage')}")
    known: dict[int, _Features] = {}
    found = []
    for first, second in pairs(frames):
        for frame in (first, second):
            if frame not in known:
                known[frame] = _Features.of(picture(frame))
        uv = _matched(known[first], known[second])
        if uv is not None:
            found.append((first, second, uv, known[first].size))
    if not found:
        raise InputError(
            f"the pictures of {frames} frames have too little in common to judge a reading by: no pair has {MATCHES} "
            "matching features that any two cameras could explain"
        )
    fits = {}
    for name, camera in readings.items():
        camera = camera.to(torch.float64)
        told = [explained(camera[a], camera[b], uv, size) for a, b, uv, size in found]
        errors, good = (torch.cat(column) for column in zip(*told, strict=True))
        fits[name] = Fit(float(good.double().mean()), float(errors.median()), len(errors))
    return dict(sorted(fits.items(), key=lambda fit: -fit[1].share))


def decided(fits: Mapping[str, Fit]) -> str | None:
    """The reading that explains the pictures, if one does so clearly: it explains at least `ENOUGH` of the matches, and
    either `MORE` times as many as any other or, itself `NEAR`, from `NEARER` times less far. None is a tie, or a file
    that does not belong to these pictures."""
    (best, first), *rest = fits.items()

    def beaten(other: Fit) -> bool:
        nearer = first.error <= NEAR and other.error >= NEARER * first.error
        return first.share >= MORE * other.share or (nearer and first.share >= other.share)

    return best if first.share >= ENOUGH and all(beaten(other) for _, other in rest) else None


def pairs(frames: int) -> list[tuple[int, int]]:
    """Frames to compare: half of them neighbours, half of them a sixteenth of the path apart, spread over it."""
    if frames < 2:
        raise InputError("one frame says nothing of its pose; expected at least two")
    chosen = []
    for gap in sorted({1, max(1, frames // 16)}):
        last = frames - 1 - gap
        chosen += [(at, at + gap) for at in _spread(last, PAIRS // 2)]
    return sorted(set(chosen))


def explained(one: Camera, other: Camera, uv: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Matches [M,2,2] (of one camera, of the other; unit square) -> how far each is from its epipolar line [M], in
    pixels of a picture of `size` (H, W) (Sampson's distance), and whether it agrees [M]."""
    relative = invert(other.c2w) @ one.c2w
    rotation, move = relative[:3, :3], relative[:3, 3]
    focal = _focal(one, size)
    x, y = (_rays(camera, points) for camera, points in ((one, uv[:, 0]), (other, uv[:, 1])))
    turned = x @ rotation.T
    apart = torch.linalg.cross(y, turned)
    parallax = torch.linalg.vector_norm(apart, dim=1) / (y.norm(dim=1) * turned.norm(dim=1)) * focal
    length = float(move.norm())
    if length < 1e-9 * max(1.0, float(one.center.norm())):  # a turn on the spot: every match is where the turn puts it
        return parallax, parallax < CLOSE
    essential = _skew(move / length) @ rotation
    line, back = x @ essential.T, y @ essential
    error = (y * line).sum(1).abs() / torch.linalg.vector_norm(torch.cat([line[:, :2], back[:, :2]], dim=1), dim=1)
    error = error.nan_to_num(0.0) * focal
    # depths: z y = depth * turned + move; what hardly moves is too far away for its depth to have a sign
    square = apart.square().sum(1).clamp_min(1e-30)
    pushed = torch.linalg.cross(y, move.expand_as(y))
    depth = -(pushed * apart).sum(1) / square
    beyond = -(torch.linalg.cross(turned, move.expand_as(y)) * apart).sum(1) / square
    ahead = ((depth > 0) & (beyond > 0)) | (parallax < CLOSE / 2)
    return error, (error < CLOSE) & ahead


@dataclass(frozen=True)
class _Features:
    """Corners of a picture (x, y in pixels) and what they look like."""

    corners: np.ndarray
    looks: np.ndarray
    size: tuple[int, int]

    @classmethod
    def of(cls, picture: Tensor) -> "_Features":
        from skimage.feature import SIFT
        from skimage.transform import resize

        grey = (picture.double() * torch.tensor([0.2125, 0.7154, 0.0721], dtype=torch.float64)[:, None, None]).sum(0)
        height, width = grey.shape
        scale = min(1.0, SIDE / max(height, width))
        size = round(height * scale), round(width * scale)
        finder = SIFT(upsampling=1, n_octaves=4)
        try:
            finder.detect_and_extract(resize(grey.numpy(), size, anti_aliasing=scale < 1))
        except RuntimeError:  # its word for a picture without features
            return cls(np.zeros((0, 2)), np.zeros((0, 128), np.uint8), size)
        positions, looks = finder.positions, finder.descriptors
        assert positions is not None
        assert looks is not None
        return cls(positions[:, ::-1], looks, size)


def _matched(one: _Features, other: _Features) -> Tensor | None:
    """Matches [M,2,2] in the unit square that some pair of cameras explains; None where there are too few."""
    from skimage.feature import match_descriptors
    from skimage.measure import ransac
    from skimage.transform import FundamentalMatrixTransform

    if min(len(one.corners), len(other.corners)) < MATCHES:
        return None
    which = match_descriptors(one.looks, other.looks, max_ratio=0.8)
    a, b = one.corners[which[:, 0]], other.corners[which[:, 1]]
    if len(a) < MATCHES:
        return None
    _, kept = ransac(
        (a, b),
        FundamentalMatrixTransform,
        min_samples=8,
        residual_threshold=1.0,
        max_trials=300,
        rng=np.random.default_rng(0),
    )
    if kept is None or kept.sum() < MATCHES:
        return None
    sides = [np.array([size[1], size[0]]) for size in (one.size, other.size)]
    uv = np.stack([(points[kept] + 0.5) / side for points, side in zip((a, b), sides, strict=True)], axis=1)
    return torch.from_numpy(uv)


def _rays(camera: Camera, uv: Tensor) -> Tensor:
    xy = (uv - camera.intrinsics[2:]) / camera.intrinsics[:2]
    return torch.cat([xy, torch.ones_like(xy[:, :1])], dim=1)


def _focal(camera: Camera, size: tuple[int, int]) -> float:
    """In pixels of a picture of `size`, the mean of both directions."""
    height, width = size
    return math.sqrt(float(camera.intrinsics[0]) * width * float(camera.intrinsics[1]) * height)


def _skew(vector: Tensor) -> Tensor:
    x, y, z = vector.tolist()
    return torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=vector.dtype)


def _spread(last: int, count: int) -> list[int]:
    return sorted(set(torch.linspace(0, last, min(count, last + 1)).round().long().tolist()))
