"""The next room: two ways of coming to see it, which faces are its walls, and how they look in another colour.

Rooms stand in a row along x; a door is a gap in the wall between two of them (see scene.py). `F` frames, `K` faces.
"""

import colorsys
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.geometry import pose
from mirage.geometry.camera import Camera
from mirage.scenes.render import ROWS
from mirage.scenes.words import COLOURS

if TYPE_CHECKING:
    from mirage.scenes.scene import Scene

_EYE, _DOWN = -1.5, 0.09  # metres; how far the eyes look down over a metre ahead
_ASIDE, _FREE = 0.7, 1.15  # metres before the wall, from where a door lies out of view; kept free around a door


def has_door(scene: "Scene") -> bool:
    """Whether there is a next room: never on a street."""
    return len(scene.areas) > 1


def through_door(scene: "Scene", frames: int = 65) -> Camera:
    """Straight from the first room into the second, from before the door to behind it: `Camera [frames]`."""
    wall, z = _door(scene)
    x = torch.linspace(wall - _FREE, wall + _FREE, frames)
    return _looking(scene, torch.stack([x, torch.full_like(x, z)], 1), torch.full((frames,), math.pi / 2))


def turn_to_door(scene: "Scene", frames: int = 65, *, degrees: float = 84.0) -> Camera:
    """On the spot, beside the door in the first room: from a view along the wall, which does not show the door, to one
    into the second room: `Camera [frames]`."""
    wall, z = _door(scene)
    room = scene.areas[0]
    side = 0.0 if room[3] - z > z - room[1] else math.pi  # along the longer part of the wall
    turn = math.radians(degrees) * torch.linspace(0, 1, frames) * (1 if side == 0.0 else -1)
    return _looking(scene, torch.tensor([[wall - _ASIDE, z]]).expand(frames, 2), side + turn)


def walls_of_next_room(scene: "Scene") -> Tensor:
    """Face ids [K], as `View.surface` has them, of the second room's walls; pictures and furniture are not walls."""
    _door(scene)
    x0, z0, x1, z1 = scene.areas[1]
    faces = []
    for axis, low, high in ((0, x0, x1), (2, z0, z1)):
        # A room's wall at its low end is a box that ends there, so the face is that box's high one, and the reverse.
        for at, side in ((low, 1), (high, 0)):
            on = (scene.boxes[:, side, axis] - at).abs() < 1e-4
            tall = scene.boxes[:, 0, 1] < -2.5
            faces.append(6 * torch.nonzero(on & tall)[:, 0] + 2 * axis + side)
    return torch.cat(faces)


def repainted(scene: "Scene", faces: Tensor, colour: str) -> "Scene":
    """The same scene with these faces [K] in one flat colour of the vocabulary, without its usual jitter."""
    if colour not in COLOURS:
        raise InputError(f"a colour is one of {', '.join(COLOURS)}, got {colour!r}")
    rgb = torch.tensor(colorsys.hsv_to_rgb(*COLOURS[colour]))
    material = scene.material.clone()
    material[ROWS.index("r0") : ROWS.index("b2") + 1, faces] = torch.cat([rgb, torch.zeros(6)])[:, None].to(material)
    return replace(scene, material=material)


def _door(scene: "Scene") -> tuple[float, float]:
    """The wall's x, as seen from the first room, and the door's middle z."""
    if not has_door(scene):
        raise InputError(f"scene {scene.seed} has no door; {scene.caption!r}")
    rooms = (len(scene.areas) + 1) // 2  # the doors' floors follow those of the rooms
    _, left, _, right = scene.areas[rooms]
    return scene.areas[0][2], (left + right) / 2


def _looking(scene: "Scene", position: Tensor, yaw: Tensor) -> Camera:
    """Cameras [F] at position [F,2] (x, z), along yaw [F] and a little down."""
    center = torch.stack([position[:, 0], torch.full_like(yaw, _EYE), position[:, 1]], 1)
    ahead = torch.stack([yaw.sin(), torch.full_like(yaw, _DOWN), yaw.cos()], 1)
    return Camera(pose.look_at(center, center + ahead), torch.tensor(scene.intrinsics))
