"""Clips of a camera that turns inside a panorama: real photographs, every frame with its exact camera.

Nothing has parallax there, so any depth is right: each clip has one of its own, the same all around.
"""

import math
import random

import torch

from mirage.geometry import pose
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.scenes.clip import Clip
from mirage.scenes.pictures import Source, around


def turning_clip(seed: int, photographs: Source, *, frames: int, size: tuple[int, int], depth_every: int = 4) -> Clip:
    """The clip of a seed: from anywhere to anywhere, half of the time back again."""
    rng = random.Random(seed + 41)
    panorama = photographs.panorama(rng)
    assert panorama is not None
    camera = _path(rng, frames, size)
    rgb = around(panorama.float() / 255, camera, size)
    _, ahead = camera[::depth_every].rays(size)
    distance = math.exp(rng.uniform(math.log(1.5), math.log(12)))
    z = distance / ahead.norm(dim=-1)
    depth = DepthMap(z, torch.ones_like(z, dtype=torch.bool))
    moving = torch.zeros_like(depth.valid)
    return Clip((rgb * 255).round_().to(torch.uint8), depth, moving, camera, "", seed, "turning")


def _path(rng: random.Random, frames: int, size: tuple[int, int]) -> Camera:
    """On the spot, softly begun and ended, with a nod."""
    time = torch.linspace(0, 1, frames)
    if rng.random() < 0.5:
        time = 1 - (2 * time - 1).abs()
    eased = time * time * (3 - 2 * time)
    turn = rng.uniform(10, 45) * (frames - 1) / 32 * rng.choice((-1, 1))
    nod, level = rng.uniform(-8, 8), rng.uniform(-15, 15)
    yaw = pose.rotation_about("y", rng.uniform(0, 360) + turn * eased)
    pitch = pose.rotation_about("x", level + nod * torch.sin(math.pi * eased))
    c2w = pose.make_pose(yaw @ pitch, torch.zeros(frames, 3))
    return Camera.looking(horizontal_fov=rng.uniform(55, 85), aspect=size[1] / size[0], c2w=c2w)
