"""A scene: a few dozen textured axis-aligned boxes, lights and words, all drawn from one seed.

Scene axes are OpenCV's: x right, y down, z forward; floors lie at y = 0, eyes at about y = -1.5, lengths in metres.
Rooms are made of the boxes of their walls; a door is the gap between two of them. `N` boxes; face k = 6 * box + 2 *
axis + side (see render.py).
"""

import math
import random
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mirage.errors import InputError, short
from mirage.geometry.camera import Camera, CameraLike
from mirage.geometry.tensors import Reals
from mirage.kinds import checked
from mirage.scenes.builder import Builder, Difficulty
from mirage.scenes.path import path
from mirage.scenes.pictures import Pictures
from mirage.scenes.render import View, render


@dataclass(frozen=True, eq=False)
class Scene:
    """One scene. Seeds below `kinds.HELD_OUT` are for tests and evaluation, never for training.

    >>> scene = Scene.sample(7)
    >>> view = scene.render(scene.path("walk", 33), (192, 256))
    """

    boxes: Tensor  # [N,2,3] low and high corner
    material: Tensor  # [P,6N], rows named by render.ROWS
    group: Tensor  # [6N] kind of face (its axis, or render.FLOOR) * len(FAMILIES) + pattern family
    motion: Tensor  # [N,5] amplitude x y z in metres, period in frames, phase in turns
    motion_boxes: Tensor  # [N] bool: moves
    moves: bool  # whether any does
    standing: tuple[tuple[float, ...], ...]  # centre x z, half size x z, reach of the dark ground around
    sky: Tensor  # [3,4] horizon, zenith, cloud colours; the amount of cloud in the corner
    areas: tuple[tuple[float, float, float, float], ...]  # where one may walk: x0, z0, x1, z1
    things: tuple[tuple[float, float, float], ...]  # centres of what is worth looking at
    intrinsics: tuple[float, float, float, float]
    caption: str
    seed: int
    pictures: Pictures | None = None  # on surfaces of the family "photograph", and around

    def __repr__(self) -> str:
        return f"Scene(seed {self.seed}: {len(self.boxes)} boxes, {self.caption!r})"

    @classmethod
    @checked
    def sample(cls, seed: int, *, difficulty: Difficulty = "standard", moving: bool = False) -> "Scene":
        """The scene of a seed >= 0; `moving` adds one to three boxes that move."""
        if not 0 <= seed < 2**62:
            raise InputError(f"a scene's seed is 0 or more, got {seed}")
        if difficulty not in ("standard", "hard"):
            raise InputError(f"difficulty is standard or hard, got {difficulty!r}")
        builder = Builder(random.Random(seed * 4 + 2 * (difficulty == "hard") + moving), difficulty)
        caption = builder.street(moving) if builder.rng.random() < 0.25 else builder.rooms(moving)
        return cls(**builder.built(), caption=caption, seed=seed)

    @checked
    def shift(self, time: Reals) -> Tensor:
        """How far each box has moved from `boxes` at `time [F]` (frames): [F,N,3]."""
        if time.ndim != 1:
            raise InputError(f"time is [F], in frames, got {short(time)}")
        turn = time[:, None] / self.motion[:, 3] + self.motion[:, 4]
        return self.motion[:, :3] * torch.sin(2 * math.pi * turn)[..., None]

    @checked
    def render(self, camera: CameraLike, size: tuple[int, int], *, time: Reals | None = None) -> View:
        """Draw from `camera [F]`, or one [] as F = 1, on a grid (H, W), on the scene's device. `time [F]` in frames;
        None: 0, 1, 2, ..."""
        camera = Camera.of(camera)
        camera = camera if camera.shape else camera[None]
        if len(camera.shape) != 1 or not len(camera) or min(size) < 1 or math.prod(size) > 2**26:
            raise InputError(f"a scene is drawn from cameras [F] at H x W pixels, got {list(camera.shape)} and {size}")
        if time is not None and time.shape != camera.shape:
            raise InputError(f"a scene is drawn at as many times as cameras {list(camera.shape)}, got {short(time)}")
        return render(self, camera, size, time=time)

    @checked
    def path(self, kind: str, frames: int = 97, *, seed: int = 0) -> Camera:
        """A smooth walk `[frames]` of one of `kinds.EVERY_KIND` at eye height that touches nothing; on the CPU."""
        return path(self, kind, frames, seed=seed)

    @checked
    def to(self, device: torch.device | str) -> "Scene":
        moved = ("boxes", "material", "group", "motion", "motion_boxes", "sky")
        pictures = None if self.pictures is None else self.pictures.to(device)
        return replace(self, **{name: getattr(self, name).to(device) for name in moved}, pictures=pictures)
