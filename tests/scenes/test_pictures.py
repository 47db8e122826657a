"""Photographs on surfaces: texels where they belong, means from afar, geometry left alone."""

import random

import torch

from mirage.scenes import Scene
from mirage.scenes.pictures import SIDE, Pictures, dressed, mirrored


class Plain:
    """Squares of noise, and a panorama of two halves."""

    def square(self, rng, side):
        generator = torch.Generator().manual_seed(rng.randrange(1000))
        return torch.randint(0, 256, (3, side, side), generator=generator, dtype=torch.uint8)

    def panorama(self, rng):
        sky = torch.zeros(3, 16, 32, dtype=torch.uint8)
        sky[0, :, 16:] = 255  # right of straight ahead
        return sky


def test_mirrored_runs_to_and_fro():
    at = torch.tensor([0.0, 0.25, 1.0, 1.25, 2.0, 2.5, -0.25])
    torch.testing.assert_close(mirrored(at), torch.tensor([0.0, 0.25, 1.0, 0.75, 0.0, 0.5, 0.25]))


def test_near_a_texel_is_itself_and_far_away_the_mean():
    picture = Plain().square(random.Random(0), SIDE)
    pictures = Pictures.of([torch.zeros_like(picture), picture], None)
    x, y = torch.tensor([3, 100, 255]), torch.tensor([7, 0, 200])
    number, narrow = torch.ones(3), torch.full((3,), 1e-4)
    near = pictures.seen(number, (x + 0.5) / SIDE, (y + 0.5) / SIDE, narrow, narrow)
    torch.testing.assert_close(near, picture[:, y, x].float() / 255, atol=1e-3, rtol=0)
    wide = torch.full((3,), 0.2)
    far = pictures.seen(number, torch.rand(3), torch.rand(3), wide, wide)
    assert (far - picture.float().mean((1, 2))[:, None] / 255).abs().max() < 0.1


def test_a_panorama_lies_around():
    pictures = Pictures(torch.zeros(1, 3, 1), Plain().panorama(random.Random(0)).float() / 255)
    right, left = torch.tensor([[1.0], [0.0], [1.0]]), torch.tensor([[-1.0], [0.0], [1.0]])
    assert float(pictures.above(right)[0]) == 1
    assert float(pictures.above(left)[0]) == 0


def test_a_dressed_scene_keeps_its_geometry_and_loses_its_words():
    scene = Scene.sample(3)
    other = dressed(scene, Plain(), random.Random(1))
    path = scene.path("walk", 3)
    before, after = scene.render(path, (48, 64)), other.render(path, (48, 64))
    torch.testing.assert_close(after.depth.z, before.depth.z, rtol=0, atol=0)
    assert (after.rgb - before.rgb).abs().mean() > 0.02
    assert scene.caption
    assert not other.caption
