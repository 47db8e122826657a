"""The key language: a walk written as the keys that make it. `F`: frames.

    "w 31, right 10"        forward for 31 frames, then turn right for 10
    "w+left 20, stay 4"     forward while turning left, then stand still

    w s   forward, back          left right   turn (arrow keys)
    a d   step left, right       up down      look up, down
    e q   rise, sink             stay         nothing

Each number counts frames that follow, so "w 31" has 32 poses: the start and 31 more. Walking is level: w goes where the
view turns but not where it tilts, as on a floor; e and q move along the vertical of the start view.
"""

import re
from dataclasses import dataclass

import torch

from mirage.errors import InputError
from mirage.formats.cameras.poses import MAX_FRAMES
from mirage.geometry.camera import Camera
from mirage.geometry.pose import make_pose, rotation_about

# Per key: steps right, down, forward (camera axes), and turns right (yaw) and up (pitch).
KEYS: dict[str, tuple[float, float, float, float, float]] = {
    "w": (0, 0, 1, 0, 0),
    "s": (0, 0, -1, 0, 0),
    "a": (-1, 0, 0, 0, 0),
    "d": (1, 0, 0, 0, 0),
    "e": (0, -1, 0, 0, 0),
    "q": (0, 1, 0, 0, 0),
    "left": (0, 0, 0, -1, 0),
    "right": (0, 0, 0, 1, 0),
    "up": (0, 0, 0, 0, 1),
    "down": (0, 0, 0, 0, -1),
    "stay": (0, 0, 0, 0, 0),
}
ACCEPTS = f'keys and frame counts such as "w 31, right 10" or "w+left 20"; keys: {" ".join(KEYS)}'
SPEED, TURN, STEEPEST = 0.05, 2.0, 85.0


@dataclass(frozen=True)
class Press:
    """Keys held together for a number of frames."""

    keys: tuple[str, ...]
    frames: int


def key_path(text: str, start: Camera, *, speed: float = SPEED, turn: float = TURN) -> Camera:
    """The walk [1 + F] from one camera: `speed` in world units per frame, `turn` in degrees per frame.

    The view tilts at most 85 degrees up or down. Intrinsics are those of `start`.
    """
    if not (speed > 0 and turn > 0 and speed < 1e6 and turn <= 180):
        raise InputError(
            f"got speed {speed} and turn {turn}; expected units per frame above 0 and degrees per frame "
            "above 0, up to 180"
        )
    moves = torch.tensor([_move(press) for press in parse_keys(text) for _ in range(press.frames)], dtype=torch.float64)
    yaw = torch.cumsum(moves[:, 3] * turn, dim=0)
    pitch, tilts = 0.0, []
    for change in (moves[:, 4] * turn).tolist():
        pitch = min(max(pitch + change, -STEEPEST), STEEPEST)
        tilts.append(pitch)
    heading = rotation_about("y", yaw, dtype=torch.float64)
    rotation = heading @ rotation_about("x", torch.tensor(tilts, dtype=torch.float64), dtype=torch.float64)
    steps = (heading @ moves[:, :3, None])[..., 0] * speed
    relative = make_pose(rotation, torch.cumsum(steps, dim=0)).to(start.c2w)
    c2w = torch.cat([start.c2w[None], start.c2w @ relative])
    return Camera(c2w, start.intrinsics)


def parse_keys(text: str) -> tuple[Press, ...]:
    """What is pressed and for how long; `InputError` for anything that is not the language."""
    presses = []
    for part in re.split(r"[,;\n]", text):
        found = re.fullmatch(r"\s*([a-z+]+)[\s-]*([0-9]{1,6})\s*", part, flags=re.IGNORECASE | re.ASCII)
        keys = tuple(found[1].lower().split("+")) if found else ()
        if not found or not all(key in KEYS for key in keys) or int(found[2]) == 0:
            raise InputError(f"{part.strip()[:40]!r} is not a key and a number of frames; expected {ACCEPTS}")
        presses.append(Press(keys, int(found[2])))
    frames = sum(press.frames for press in presses)
    if frames > MAX_FRAMES:
        raise InputError(f"the keys make {frames} frames; at most {MAX_FRAMES} are accepted")
    return tuple(presses)


def _move(press: Press) -> tuple[float, ...]:
    return tuple(sum(values) for values in zip(*(KEYS[key] for key in press.keys), strict=True))
