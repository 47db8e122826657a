"""What an agent does and sees: the spaces of the environment, and how a `Motion` and an observation come of them.

    "motion"   Box [5]: forward, right, up in metres, yaw, pitch in degrees, for one step
    "keys"     Discrete: one of the keys of `mirage.formats.keys`, held for one step

    "frame"    uint8 [H,W,3], the last video frame of the step
    "chunk"    uint8 [F,H,W,3], all of them; after a reset the first picture, F times
    "dict"     "frame"; "known" uint8 [h,w], 1 where the memory knows the view that the agent stands before; "pose"
               float32 [5], in the letters of a motion: how far from where the episode began, and where it looks

All bounds are finite. `F` video frames of a step, `H W` pixels, `h w` latent grid.
"""

import math
from typing import Any, Literal, get_args

import numpy as np
from gymnasium import spaces
from torch import Tensor

from mirage.errors import InputError
from mirage.formats.keys import KEYS
from mirage.geometry.camera import Camera
from mirage.geometry.motion import Motion
from mirage.rollout import Session

Actions = Literal["motion", "keys"]
Observations = Literal["frame", "chunk", "dict"]

FARTHEST = 1e4  # metres: positions beyond are clipped to it


def action_space(actions: Actions, *, metres: float, degrees: float) -> spaces.Space[Any]:
    """At most so far and so much in one step."""
    _one_of("actions", actions, get_args(Actions))
    if actions == "keys":
        return spaces.Discrete(len(KEYS))
    most = np.array([metres, metres, metres, degrees, degrees], np.float32)
    return spaces.Box(-most, most, dtype=np.float32)


def motion(action: Any, actions: Actions, *, metres: float, degrees: float) -> Motion:
    """What an action of that space asks for; one that is not of the space is held at its bounds."""
    if actions == "motion":
        most = np.array([metres, metres, metres, degrees, degrees])
        forward, right, up, yaw, pitch = np.clip(np.asarray(action, np.float64), -most, most).tolist()
        return Motion(forward=forward, right=right, up=up, yaw=yaw, pitch=pitch)
    right, down, forward, yaw, pitch = list(KEYS.values())[int(action)]
    walk = Motion(forward=forward, right=right, up=-down) * metres
    return walk + Motion(yaw=yaw, pitch=pitch) * degrees


def observation_space(obs: Observations, *, size: tuple[int, int], grid: tuple[int, int], frames: int) -> Any:
    """For frames of `size` (H, W), latents on `grid` (h, w) and steps of so many video frames."""
    _one_of("obs", obs, get_args(Observations))
    frame = spaces.Box(0, 255, (*size, 3), np.uint8)
    if obs == "chunk":
        return spaces.Box(0, 255, (frames, *size, 3), np.uint8)
    if obs == "frame":
        return frame
    most = np.array([FARTHEST, FARTHEST, FARTHEST, 180, 90], np.float32)
    return spaces.Dict({
        "frame": frame,
        "known": spaces.Box(0, 1, grid, np.uint8),
        "pose": spaces.Box(-most, most, dtype=np.float32),
    })  # fmt: skip


def observation(obs: Observations, frames: np.ndarray, session: Session, start: Camera) -> Any:
    """Of the video frames [F,H,W,3] of a step, at which end the session stands. `start` []: where the episode began."""
    if obs == "chunk":
        return frames
    if obs == "frame":
        return frames[-1]
    known = session.look(session.camera).mask[0]
    return {"frame": frames[-1], "known": known.cpu().numpy().astype(np.uint8), "pose": _pose(session.camera, start)}


def pixels(frames: Tensor) -> np.ndarray:
    """Frames [F,3,H,W] in [0, 1] as uint8 [F,H,W,3]."""
    return (frames.movedim(1, -1).clamp(0, 1) * 255).round().byte().cpu().numpy()


def _pose(camera: Camera, start: Camera) -> np.ndarray:
    away = (camera.center - start.center).double().tolist()
    (facing, _), (turned, tilted) = _looks(start), _looks(camera)
    forward = away[0] * math.sin(facing) + away[2] * math.cos(facing)
    right = away[0] * math.cos(facing) - away[2] * math.sin(facing)
    went = np.clip([forward, right, -away[1]], -FARTHEST, FARTHEST)
    yaw = (math.degrees(turned - facing) + 180) % 360 - 180
    return np.array([*went, yaw, math.degrees(tilted)], np.float32)


def _looks(camera: Camera) -> tuple[float, float]:
    """Yaw and pitch of a view [], radians: to the right of the world's z axis, and up from level."""
    x, y, z = camera.c2w[:3, 2].double().tolist()
    return math.atan2(x, z), math.atan2(-y, math.hypot(x, z))


def _one_of(what: str, got: object, accepted: tuple[str, ...]) -> None:
    if got not in accepted:
        raise InputError(f"{what} is {got!r}; accepted: {', '.join(accepted)}")
