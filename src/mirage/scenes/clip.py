"""A clip: a scene seen along a path, ready to train from. `F` frames, `D` of them with depth, `H W` pixels."""

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.scenes.builder import Difficulty
from mirage.scenes.doors import has_door, through_door, turn_to_door
from mirage.scenes.kinds import KINDS
from mirage.scenes.pictures import Source, dressed
from mirage.scenes.scene import Scene


@dataclass(frozen=True, eq=False)
class Clip:
    """`rgb` uint8 [F,3,H,W]; `depth` and `moving` [D,H,W] of every `depth_every`-th frame from 0; `camera` [F]."""

    rgb: Tensor
    depth: DepthMap
    moving: Tensor
    camera: Camera
    caption: str
    seed: int
    kind: str


def sample_clip(
    seed: int,
    *,
    frames: int = 97,
    size: tuple[int, int] = (192, 256),
    kind: str | None = None,
    difficulty: Difficulty = "standard",
    moving: bool = False,
    depth_every: int = 4,
    device: torch.device | str = "cpu",
    photographs: Source | None = None,
) -> Clip:
    """The clip of a seed: its scene, a path in it (of `kind`, or one that the seed draws), drawn on `device`. Kind
    "door": into view of the next room, where there is one. With `photographs` the scene is dressed in them."""
    scene = Scene.sample(seed, difficulty=difficulty, moving=moving)
    rng = random.Random(seed + 17)
    if photographs is not None:
        scene = dressed(scene, photographs, random.Random(seed + 29))
    if kind == "door" and has_door(scene):
        camera = rng.choice((through_door, turn_to_door))(scene, frames)
    else:
        kind = rng.choice(KINDS) if kind in (None, "door") else kind
        camera = scene.path(kind, frames, seed=seed)
    view = scene.to(device).render(camera, size)
    rgb = (view.rgb * 255).round_().to(torch.uint8)
    some = slice(None, None, depth_every)
    return Clip(rgb, view.depth[some], view.moving[some], camera, scene.caption, seed, kind)
