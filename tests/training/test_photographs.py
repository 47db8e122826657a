"""Photographs as what training sees: drawn from those that are learnt from, moving, and turning as a camera does."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

from mirage.errors import InputError
from mirage.geometry.grid import cell_centers
from mirage.training.autoencoder import AutoencoderConfig, Cropper
from mirage.training.clips import clip_kind, clip_path, load_pixels, save_pixels
from mirage.training.photographs import Photographs, fitted
from mirage.training.turning import turning_clip
from toys import batch_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("photographs")
    (made / "panoramas").mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):  # a picture of one grey each, so that one knows it again
        Image.fromarray(np.full((120, 160, 3), 40 * number, np.uint8)).save(made / f"z{number}.png")
    for number in range(5):
        small = rng.integers(0, 256, (16, 32, 3), dtype=np.uint8)
        Image.fromarray(small).resize((256, 128), Image.Resampling.BICUBIC).save(made / "panoramas" / f"{number}.png")
    return made


def test_those_that_are_held_out_are_never_learnt_from(folder):
    photographs = Photographs(folder, held_out=3)
    generator = torch.Generator().manual_seed(0)
    seen = {int(photographs.still(64, generator).float().mean().round()) for _ in range(60)}
    assert not seen & {160, 200}
    assert photographs.test((48, 64)).float().mean((1, 2, 3)).round().tolist() == [120, 160, 200]
    with pytest.raises(InputError, match="holds 7 pictures; accepted: more than 7"):
        _ = Photographs(folder, held_out=7).paths


def test_a_panorama_that_is_held_out_is_no_picture_either(folder):
    photographs = Photographs(folder, held_out=1)
    assert [path.name for path in photographs.paths if path.parent.name == "panoramas"] == ["0.png"]
    rng = random.Random(0)
    drawn = [photographs.panorama(rng) for _ in range(20)]
    assert drawn[0] is not None
    assert all(one is drawn[0] for one in drawn)


def test_a_clip_moves_and_is_a_function_of_its_generator(folder):
    photographs = Photographs(folder, held_out=1)
    first, again = (photographs.clip(9, 64, torch.Generator().manual_seed(2)) for _ in range(2))
    assert first.shape == (3, 9, 64, 64)
    assert first.dtype == torch.uint8
    assert torch.equal(first, again)
    clips = [photographs.clip(5, 64, torch.Generator().manual_seed(seed)).float() for seed in range(12)]
    assert max(float((clip[:, 1:] - clip[:, :-1]).abs().mean()) for clip in clips) > 0.5


def test_half_of_the_crops_are_photographs_if_asked(folder):
    config = AutoencoderConfig(clips=folder, mix=((1, 32, 2), (5, 32, 2)), photographs=folder, pictured=1.0)
    maker = Cropper(config, [], 8, [], Photographs(folder, held_out=1))
    for number in range(4):
        crops = batch_of(maker, number)
        assert crops.rgb.shape[-2:] == (40, 40)
        assert crops.rgb.shape[2] in (1, 5)


def test_what_turns_is_where_its_cameras_say(folder):
    clip = turning_clip(5, Photographs(folder, held_out=1), frames=9, size=(48, 64))
    assert clip.kind == "turning"
    ahead = clip.camera[8].rays((48, 64))[1]
    uv, z = clip.camera[:1].project(ahead[None] + clip.camera.center[8])
    inside = (z[0] > 0) & ((uv[0] - 0.5).abs() < 0.45).all(-1)
    grid = uv[0][inside] * 2 - 1
    before = torch.nn.functional.grid_sample(clip.rgb[:1].float(), grid[None, None], align_corners=False)[0, :, 0]
    after = clip.rgb[8].float()[:, inside]
    assert inside.float().mean() > 0.1
    assert (before - after).abs().mean() < 6  # two interpolations of the same panorama


def test_the_walls_of_a_panorama_are_as_far_as_each_other(folder):
    clip = turning_clip(6, Photographs(folder, held_out=1), frames=5, size=(48, 64))
    points = clip.camera[::4].unproject(cell_centers((48, 64)).expand(2, 48, 64, 2), clip.depth.z)
    distance = points.norm(dim=-1)
    torch.testing.assert_close(distance, distance[:1, :1, :1].expand_as(distance), rtol=1e-4, atol=1e-4)


def test_a_clip_says_what_kind_of_walk_it_is(folder, tmp_path):
    clip = turning_clip(7, Photographs(folder, held_out=1), frames=5, size=(48, 64))
    save_pixels(clip_path(tmp_path, 0), clip)
    assert clip_kind(clip_path(tmp_path, 0)) == load_pixels(clip_path(tmp_path, 0)).kind == "turning"


def test_a_fitted_picture_is_shrunk_and_cut_about_its_middle():
    picture = torch.zeros(3, 100, 300, dtype=torch.uint8)
    picture[:, :, 150:] = 200
    small = fitted(picture, (50, 60))
    assert small.shape == (3, 50, 60)
    assert small[0, 25, 10] == 0
    assert small[0, 25, 50] == 200
