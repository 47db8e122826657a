"""Where somebody walks to: keys and mouse become poses ahead of the walk, and poses become the next chunk.

    generated         running            ahead
    ----------------|------------------|-----------> tip
                    the model makes     pressed since then: at most one chunk

Keys are a state in metres and degrees per second, a mouse is degrees that add up. The tip runs ahead of what is made
by one chunk at most, so a released key stops the walk at the next chunk. A pose is a video frame, `F` of them.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch

from mirage.chunks import TIME_STRIDE
from mirage.errors import check_number
from mirage.formats.keys import SPEED, TURN
from mirage.geometry.camera import Camera
from mirage.geometry.motion import Motion

FPS = 16
METRES, DEGREES = SPEED * FPS, TURN * FPS
"""Per second, of a key that is held."""
FASTEST = 6.0  # degrees per frame, of a mouse: what is left turns the frames after
EAGER = 16  # frames ahead that are worth a chunk while somebody still walks


class Walk:
    """From `start` [] on. `most`: frames of a chunk."""

    def __init__(self, start: Camera, most: int) -> None:
        self.most = most
        self.keys, self.mouse = Motion(), Motion()
        self.reset(start)

    def reset(self, start: Camera) -> None:
        """Stand here; what was ahead is forgotten, and so is the mouse. Keys that are held stay so."""
        self.tip, self.mouse, self._ahead = start, Motion(), list[Camera]()

    def press(self, keys: Motion) -> None:
        """What is held from now on, a second's worth. A key that begins a movement counts for a frame at least, however
        soon it is let go."""
        begins = keys and not self.moving
        self.keys = keys
        if begins:
            self.advance()

    @property
    def moving(self) -> bool:
        """Whether there is something to do in the next frame."""
        return bool(self.keys or self.mouse)

    @property
    def ahead(self) -> int:
        """Frames that wait for a chunk."""
        return len(self._ahead)

    def advance(self, frames: int = 1) -> bool:
        """The tip goes on by so many frames, as far as it may; whether it did."""
        before = self.ahead
        for _ in range(min(frames, self.most - before)):
            step = self.keys * (1 / FPS)
            turn = Motion(yaw=_most(self.mouse.yaw), pitch=_most(self.mouse.pitch))
            if not (step or turn):
                break
            self.mouse = Motion(yaw=self.mouse.yaw - turn.yaw, pitch=self.mouse.pitch - turn.pitch)
            self.tip = (step + turn).along(self.tip, 1)[0]
            self._ahead.append(self.tip)
        return self.ahead > before

    @property
    def ready(self) -> bool:
        """Whether what is ahead is worth a chunk: half a chunk or so, or all that will come for now."""
        return self.ahead >= min(EAGER, self.most) or (self.ahead > 0 and not self.moving)

    def take(self) -> Camera:
        """The poses [4k] of the next chunk, from the oldest on. The last one is held where they are not 4k."""
        whole = self.ahead - self.ahead % TIME_STRIDE if self.moving else self.ahead
        count = min(max(whole, 1), self.most)
        taken, self._ahead = self._ahead[:count], self._ahead[count:]
        taken += [taken[-1]] * (-count % TIME_STRIDE)
        return Camera(torch.stack([one.c2w for one in taken]), taken[0].intrinsics)


def pressed(keys: Mapping[str, Any]) -> Motion:
    """What is held, each of forward, right, up, yaw and pitch from -1 to 1, as a motion per second; "pace": times the
    usual speed of walking."""
    pace = check_number("pace", keys.get("pace", 1.0), low=0.1, high=4.0)
    held = {item.name: check_number(item.name, keys.get(item.name, 0.0), low=-1, high=1) for item in fields(Motion)}
    speed = {"yaw": DEGREES, "pitch": DEGREES}
    return Motion(**{name: value * speed.get(name, METRES * pace) for name, value in held.items()})


def _most(degrees: float) -> float:
    return min(max(degrees, -FASTEST), FASTEST)
