"""A motion in metres and degrees, as keys, mice and agents make one, and the poses that it leads through.

    turned = Motion(forward=0.5, yaw=20).along(session.camera, 8)      # Camera [8], the last one where it ends
    session.step(turned)

Walking is level, as on a floor: `forward` goes where the view turns but not where it tilts, `up` along the world's
vertical, which is that of the camera that the world began with. `F` video frames.
"""

import math
from dataclasses import dataclass, fields

import torch

from mirage.errors import InputError, check_number
from mirage.geometry.camera import Camera
from mirage.geometry.pose import make_pose, rotation_about

STEEPEST = 85.0  # degrees: the view tilts no farther up or down


@dataclass(frozen=True, kw_only=True)
class Motion:
    """forward, right, up in world units (metres); yaw in degrees to the right, pitch in degrees up. Finite."""

    forward: float = 0.0
    right: float = 0.0
    up: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0

    def __post_init__(self) -> None:
        for item in fields(self):
            object.__setattr__(self, item.name, check_number(f"motion {item.name}", getattr(self, item.name)))

    def __bool__(self) -> bool:
        """Whether anything moves."""
        return any(getattr(self, item.name) for item in fields(self))

    def __add__(self, other: "Motion") -> "Motion":
        return Motion(**{item.name: getattr(self, item.name) + getattr(other, item.name) for item in fields(self)})

    def __mul__(self, times: float) -> "Motion":
        return Motion(**{item.name: getattr(self, item.name) * times for item in fields(self)})

    def along(self, start: Camera, frames: int) -> Camera:
        """The next poses [F] from where `start` [] stands, each a `frames`-th of the motion further.

        The view tilts at most 85 degrees up or down; one that is tilted more already tilts no further.
        """
        if start.shape:
            raise InputError(f"a motion starts from one camera, got a batch {list(start.shape)}")
        check_number("frames of a motion", frames, kind=int, low=1)
        share = torch.arange(1, frames + 1, dtype=torch.float64) / frames
        rotation, center = start.c2w[:3, :3].double().cpu(), start.center.double().cpu()
        ahead = rotation[:, 2]
        facing = math.degrees(math.atan2(ahead[0], ahead[2]))
        tilt = math.degrees(math.asin(-float(ahead[1].clamp(-1, 1))))
        low, high = min(-STEEPEST, tilt), max(STEEPEST, tilt)
        turn = rotation_about("y", share * self.yaw, dtype=torch.float64)
        rise = rotation_about("x", (tilt + share * self.pitch).clamp(low, high) - tilt, dtype=torch.float64)
        middle = rotation_about("y", facing + (share - 0.5 / frames) * self.yaw, dtype=torch.float64)
        step = torch.tensor([self.right, -self.up, self.forward], dtype=torch.float64) / frames
        path = center + torch.cumsum(middle @ step, dim=0)
        return Camera(make_pose(turn @ rotation @ rise, path).to(start.c2w), start.intrinsics)
