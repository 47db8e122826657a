"""What a camera file says, in words as a person would: `examined(record)`. `F`: poses.

    81 poses, 4.1 s at 20 fps; ends 0.4 right, 0.16 down and 1.6 forward of where it begins, turned 32 degrees right;
    level; 0.02 a frame

Angles in degrees, lengths in the file's units. Everything is relative to the first camera: right, down and forward are
its.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mirage.formats.cameras.readers import formats
from mirage.formats.cameras.record import CameraRecord
from mirage.geometry.camera import Camera
from mirage.geometry.pose import invert, rotation_angle

AXES = {
    "opencv": "opencv axes (right, down, forward)",
    "opengl": "opengl axes (right, up, back)",
    "ned": "ned axes (forward, right, down)",
    "ros": "ros axes (forward, left, up)",
    "unreal": "unreal axes (forward, right, up: left-handed)",
}
SURE = {
    "stated": "that is certain",
    "usual": "as is usual for it",
    "ambiguous": "which is a guess, because the file could mean something else",
}
LOOSE = ("tum", "kitti", "euroc", "log")  # formats of many tools, whose axes are not always theirs
JUMP, TURN = 8.0, 20.0  # times the usual step; degrees between two poses
LEVEL, ROLL = 2.0, 10.0  # degrees
FAR, FINE, STRIDE = 500.0, 0.01, 3.0  # extents and a step, in metres, that no walk has
WIDE, NARROW = 120.0, 15.0  # degrees of view
UNEVEN = 1.5  # longest gap between stamps over the shortest
TALL = 2.6  # width over height of an image, or height over width


@dataclass(frozen=True)
class Examination:
    """`lines` for a person, `warnings` a sentence each, `summary` for a machine."""

    lines: tuple[str, ...]
    warnings: tuple[str, ...]
    summary: dict[str, Any]


def examined(record: CameraRecord) -> Examination:
    """The whole doctor's report of a file."""
    path = record.camera.relative_to(record.camera[0])
    ends = _ends(path)
    roll = _roll(path)
    steps = torch.linalg.vector_norm(path.center.diff(dim=0), dim=-1)
    warnings = (*record.warnings, *_remarks(record, path, steps, roll))
    wide, high = _view(record.camera)
    lines = (_convention(record), _sees(record, wide, high), _walks(record, path, steps, ends, roll))
    rotation = path.c2w[:, :3, :3]
    turns = rotation_angle(rotation[:-1].mT @ rotation[1:])
    summary = {
        "format": record.format,
        "frames": len(path),
        "pose": record.pose,
        "axes": record.axes,
        "intrinsics": record.intrinsics,
        "pixel_centers": record.pixel_centers,
        "quaternion": record.quaternion,
        "confidence": record.confidence,
        "ends": ends,
        "roll": roll,
        "fov": [wide, high],
        "size": list(record.size) if record.size else None,
        "lens": record.lens,
        "seconds": float(record.times[-1] - record.times[0]) if record.times is not None else None,
        "length": float(steps.sum()),
        "straight": float(path.center[-1].norm()),
        "turned": float(turns.sum()),
        "turn": float(rotation_angle(rotation[-1])),
        "largest_step": float(steps.max()) if len(steps) else 0.0,
        "largest_turn": float(turns.max()) if len(turns) else 0.0,
        "warnings": list(warnings),
    }
    return Examination(lines, warnings, summary)


# -- in words -------------------------------------------------------------------------------------------------------


def _convention(record: CameraRecord) -> str:
    parts = [{"c2w": "camera-to-world", "w2c": "world-to-camera"}[record.pose], AXES[record.axes]]
    if record.quaternion is not None:
        parts.append(f"quaternions {record.quaternion}")
    if record.intrinsics is None:
        parts.append("no intrinsics")
    elif record.intrinsics == "normalized":
        parts.append("intrinsics as fractions of the image")
    else:
        where = {"half": "(0.5, 0.5)", "integer": "(0, 0)", None: "nowhere told"}[record.pixel_centers]
        parts.append(f"intrinsics in pixels, the first pixel's centre at {where}")
    title = next(format.title for format in formats() if format.name == record.format)
    return f"{title}: {', '.join(parts)}; {SURE[record.confidence]}"


def _sees(record: CameraRecord, wide: float, high: float) -> str:
    size = f" of {record.size[1]} x {record.size[0]} images" if record.size else ""
    same = bool(torch.allclose(record.camera.intrinsics, record.camera.intrinsics[:1], atol=1e-6))
    return f"field of view {wide:.3g} x {high:.3g} degrees{size}" + ("" if same else " at first; it changes on the way")


def _walks(record: CameraRecord, path: Camera, steps: Tensor, ends: dict[str, float], roll: float) -> str:
    count = f"{len(path)} pose{'s' if len(path) > 1 else ''}"
    moved = [
        f"{abs(ends[axis]):.3g} {positive if ends[axis] > 0 else negative}"
        for axis, positive, negative in (
            ("right", "right", "left"),
            ("down", "down", "up"),
            ("forward", "forward", "back"),
        )
        if abs(ends[axis]) > 0.01 * max(float(path.center[-1].norm()), 0.02 * float(steps.sum()), 1e-9)
    ]
    place = f"ends {_listed(moved)} of where it begins" if moved else "ends where it begins"
    if len(path) > 1 and float(steps.sum()) < 1e-9:
        place = "stays where it is"
    turned = [
        f"{abs(value):.3g} degrees {positive if value > 0 else negative}"
        for value, positive, negative in ((ends["turned"], "right", "left"), (ends["tilted"], "up", "down"))
        if abs(value) >= 0.5
    ]
    parts = [count + _lasts(record)]
    if len(path) > 1:
        words = f"{place}, turned {_listed(turned)}" if turned else f"{place}, not turned"
        parts += [
            words,
            "level" if roll < LEVEL else f"rolls up to {roll:.3g} degrees",
            f"{_median(steps):.2g} a frame",
        ]
    return "; ".join(parts)


def _lasts(record: CameraRecord) -> str:
    times = record.times
    if times is None or len(times) < 2:
        return ""
    gaps = times.diff()
    if float(gaps.max()) > UNEVEN * float(gaps.min()):
        return f", {float(times[-1] - times[0]):.3g} s, unevenly spaced"
    rate = 1 / _median(gaps)
    return f", {len(times) / rate:.2g} s at {rate:.3g} fps"


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


# -- in numbers -----------------------------------------------------------------------------------------------------


def _ends(path: Camera) -> dict[str, float]:
    """Where the last camera stands and looks in the first one's frame; turned to the right and tilted up are
    positive."""
    right, down, forward = path.center[-1].tolist()
    x, y, z = path.c2w[-1, :3, 2].tolist()
    turned, tilted = math.degrees(math.atan2(x, z)), math.degrees(math.asin(max(-1.0, min(1.0, -y))))
    return {"right": right, "down": down, "forward": forward, "turned": turned, "tilted": tilted}


def _roll(path: Camera) -> float:
    """The largest tilt of the image's horizon, about the vertical that suits the whole path best.

    That vertical is the direction to which the cameras' right axes are all square; where they are all alike, the mean
    of the cameras' own verticals.
    """
    right, down = path.c2w[:, :3, 0], path.c2w[:, :3, 1]
    mean = torch.nn.functional.normalize(down.sum(0), dim=0)
    spread, directions = torch.linalg.eigh(right.mT @ right / len(right))
    vertical = directions[:, 0]
    if float(spread[1]) < 1e-3 or float((vertical @ mean).abs()) < 0.5:
        vertical = mean
    return float(torch.rad2deg(torch.asin((right @ vertical).clamp(-1, 1))).abs().max())


def _view(camera: Camera) -> tuple[float, float]:
    """Degrees of the first camera, across and high."""
    fx, fy, cx, cy = camera.intrinsics[0].tolist()
    across = math.atan(cx / fx) + math.atan((1 - cx) / fx)
    return math.degrees(across), math.degrees(math.atan(cy / fy) + math.atan((1 - cy) / fy))


def _median(values: Tensor) -> float:
    return float(values.median()) if len(values) else 0.0


# -- what is odd ----------------------------------------------------------------------------------------------------


def _remarks(record: CameraRecord, path: Camera, steps: Tensor, roll: float) -> list[str]:
    said = []
    usual = _median(steps[steps > 0])
    if len(steps) > 3 and usual > 0 and float(steps.max()) > JUMP * usual:
        at = int(steps.argmax())
        said.append(f"it jumps {steps[at]:.3g} units between poses {at} and {at + 1}; the usual step is {usual:.3g}")
    turns = rotation_angle(path.c2w[:-1, :3, :3].mT @ path.c2w[1:, :3, :3])
    if len(turns) > 3 and float(turns.max()) > max(TURN, JUMP * _median(turns)):
        at = int(turns.argmax())
        said.append(f"it turns {turns[at]:.3g} degrees at once between poses {at} and {at + 1}")
    if roll > ROLL:
        said.append(f"the camera rolls up to {roll:.3g} degrees: is that meant, or are its axes others?")
    said += _scale(path, usual)
    wide, high = _view(record.camera)
    if record.intrinsics is not None and not (NARROW < wide < WIDE and NARROW < high < WIDE):
        said.append(f"a field of view of {wide:.3g} x {high:.3g} degrees is unusual: are the intrinsics of this size?")
    aspect = float(record.camera.intrinsics[0, 1] / record.camera.intrinsics[0, 0])
    if record.intrinsics is not None and not 1 / TALL < aspect < TALL:
        said.append(f"its focal lengths are those of an image {aspect:.3g} times as wide as high")
    if record.times is not None and len(record.times) > 2:
        gaps = record.times.diff()
        if float(gaps.max()) > UNEVEN * float(gaps.min()):
            said.append(
                f"its time stamps are unevenly spaced, {gaps.min():.3g} to {gaps.max():.3g} s apart: resample by time"
            )
    return said + _suspicions(record, path, steps)


def _scale(path: Camera, usual: float) -> list[str]:
    extent = float(torch.linalg.vector_norm(path.center, dim=-1).max())
    if extent > FAR or usual > STRIDE:
        return [f"it spans {extent:.3g} units in steps of {usual:.2g}, which do not look like metres: scale the path"]
    if 0 < extent < FINE:
        return [f"it spans only {extent:.2g} units, which do not look like metres: scale the path"]
    return []


def _suspicions(record: CameraRecord, path: Camera, steps: Tensor) -> list[str]:
    """Where the way it moves speaks against the way it was read; said only where the file does not state that."""
    if record.format not in LOOSE or record.confidence == "stated" or len(path) < 4 or float(steps.sum()) < 1e-9:
        return []
    rotation, center = path.c2w[:, :3, :3], path.center
    moving = steps > 1e-9
    heading = torch.nn.functional.normalize(center.diff(dim=0)[moving], dim=-1)
    own = (rotation[:-1][moving].mT @ heading[..., None])[..., 0]
    right, down, forward = own.mean(0).tolist()
    said = []
    if forward < -0.8:
        said.append(
            "it moves backwards all the way: if it should not, its axes may be opengl, or its poses the inverse"
        )
    if abs(right) > 0.8 and record.axes in ("opencv", "opengl"):
        said.append("it moves sideways all the way: if it should not, its camera axes may be ned or ros")
    if abs(down) > 0.8:
        said.append("it moves along the image's vertical all the way: if it should not, its camera axes may be others")
    if (
        float(rotation_angle(rotation[0].mT @ rotation[len(path) // 2])) > 20
        or float(rotation_angle(rotation[-1])) > 20
    ):
        said += _mirrored(rotation[:-1][moving], heading, own)
        inverse = invert(path.c2w)
        other = torch.nn.functional.normalize(inverse[:, :3, 3].diff(dim=0)[moving], dim=-1)
        steady = (inverse[:-1, :3, :3][moving].mT @ other[..., None])[..., 0].mean(0)
        if float(own.mean(0).norm()) < 0.6 and float(steady.norm()) > 0.97:
            other_pose = "w2c" if record.pose == "c2w" else "c2w"
            said.append(f"it would move far more steadily if its poses were {other_pose}")
    return said


def _mirrored(rotation: Tensor, heading: Tensor, own: Tensor) -> list[str]:
    """A path whose direction turns against its view as if one axis of the world were mirrored."""
    if float(own.mean(0).norm()) > 0.9:
        return []
    for axis, name in enumerate(("x", "y", "z")):
        mirror = torch.ones(3, dtype=heading.dtype)
        mirror[axis] = -1
        steady = (rotation.mT @ (heading * mirror)[..., None])[..., 0].mean(0)
        if float(steady.norm()) > 0.99:
            return [f"its positions turn against its view as if the {name} axis were mirrored"]
    return []
