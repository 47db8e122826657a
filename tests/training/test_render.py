"""Clips are made once, by number, and hold what inference would encode."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.pose import rotation_angle
from mirage.models.codec import encode_images
from mirage.scenes import sample_clip, training_seed, vocabulary
from mirage.training.clips import clip_path, clip_paths, load_latents, load_pixels, save_latents
from mirage.training.render import encode_clips, render_clips
from toys import SIZE


def test_clips_are_not_made_twice(clips):
    before = {path: path.stat().st_mtime_ns for path in clips.iterdir()}
    render_clips(clips, count=3, size=SIZE, frames=17)
    assert before == {path: path.stat().st_mtime_ns for path in clips.iterdir()}


def test_a_latent_clip_holds_what_the_model_encodes(model, clips, latents):
    clip = load_latents(clip_path(latents, 0))
    assert clip.latents.shape == clip.images.shape == (5, 8, 8, 12)
    assert clip.camera.shape == (5,)
    assert clip.depth.shape == (5, 8, 12)
    torch.testing.assert_close(clip.latents[0], clip.images[0], atol=2e-2, rtol=1e-2)  # kept in half precision
    assert clip.cameras_between.shape == (5, 3)
    path = load_pixels(clip_path(clips, 0)).camera
    assert torch.equal(clip.cameras_between.c2w[1:].flatten(0, 1), path.c2w[[n for n in range(1, 17) if n % 4]])
    assert torch.equal(clip.cameras_between.c2w[0], path.c2w[[0, 0, 0]])
    assert set(clip.caption.replace(",", "").replace(";", "").split()) <= {*vocabulary()}


def test_a_latent_clip_that_does_not_say_where_the_camera_was_between_moves_smoothly(latents, tmp_path):
    clip = load_latents(clip_path(latents, 0))
    save_latents(clip_path(tmp_path, 0), replace(clip, between=None))
    again = load_latents(clip_path(tmp_path, 0))
    assert again.cameras_between.shape == clip.cameras_between.shape
    far = (again.cameras_between.center - clip.cameras_between.center).norm(dim=-1).max()
    assert far < 0.1 * (clip.camera.center[1:] - clip.camera.center[:-1]).norm(dim=-1).max()
    assert rotation_angle(again.cameras_between.c2w[..., :3, :3].mT @ clip.cameras_between.c2w[..., :3, :3]).max() < 0.5


def test_a_latent_clip_keeps_a_zoom_between_its_latents(latents, tmp_path):
    clip = load_latents(clip_path(latents, 0))
    path = clip.cameras_between
    zoom = torch.linspace(1, 2, path.c2w[..., 0, 0].numel()).view(*path.shape, 1)
    zoomed = Camera(path.c2w, path.intrinsics * zoom)
    save_latents(clip_path(tmp_path, 0), replace(clip, between=zoomed))
    assert torch.equal(load_latents(clip_path(tmp_path, 0)).cameras_between.intrinsics, zoomed.intrinsics)


def test_hurried_clips_are_of_the_same_length_and_faster(tmp_path):
    for kind in (None, "hurried"):
        render_clips(tmp_path / str(kind), count=6, size=(16, 24), frames=9, kind=kind)
    paths = [[load_pixels(path).camera for path in clip_paths(tmp_path / str(kind))] for kind in (None, "hurried")]
    assert all(len(path) == 9 for of in paths for path in of)
    depths = [load_pixels(path).depth.shape for path in clip_paths(tmp_path / "hurried")]
    assert depths == [(3, 16, 24)] * 6

    def speed(path):
        c2w = path.c2w[:, :3, :3]
        turned = rotation_angle(c2w[:-1].mT @ c2w[1:]).mean() / 100
        return float(turned + (path.center[1:] - path.center[:-1]).norm(dim=-1).mean())

    slow, fast = (sum(map(speed, of)) for of in paths)
    assert fast > 1.5 * slow


def test_a_clip_of_doors_comes_into_the_next_room():
    kinds = {sample_clip(training_seed(n), frames=5, size=(16, 24), kind="door").kind for n in range(12)}
    assert "door" in kinds
    assert len(kinds) > 1  # on a street there is none


def test_clips_are_as_many_as_the_minutes_allow(tmp_path):
    render_clips(tmp_path, count=3, size=SIZE, frames=9, minutes=1e-9)
    assert len(list(tmp_path.glob("clip-*"))) < 3
    render_clips(tmp_path, count=3, size=SIZE, frames=9, minutes=60)
    assert len(list(tmp_path.glob("clip-*"))) == 3


def test_images_are_encoded_together_as_one_by_one(model):
    frames = torch.rand(5, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    one_by_one = torch.cat([model.encode(frame[None]) for frame in frames])
    torch.testing.assert_close(encode_images(model.vae, frames), one_by_one, atol=1e-5, rtol=1e-4)


def test_a_clip_of_another_kind_is_not_taken_for_latents(tmp_path):
    save_file({"rgb": torch.zeros(1)}, clip_path(tmp_path, 0))
    with pytest.raises(InputError, match="is no latent clip"):
        load_latents(clip_path(tmp_path, 0))


def test_cameras_of_a_clip_are_those_of_its_latents(latents):
    clip = load_latents(clip_path(latents, 1))
    assert isinstance(clip.camera, Camera)
    assert torch.isfinite(clip.camera.c2w).all()


def test_what_is_read_is_what_was_drawn_and_latents_are_of_it(model, clips, tmp_path):
    clip, drawn = load_pixels(clip_path(clips, 1)), sample_clip(training_seed(1), frames=17, size=SIZE)
    assert torch.equal(clip.rgb, drawn.rgb)
    assert torch.equal(clip.camera.c2w, drawn.camera.c2w)
    assert torch.equal(clip.depth.valid, drawn.depth.valid)
    assert clip.caption == drawn.caption
    encode_clips(model, clips, tmp_path, count=1, first=1)
    held = load_latents(clip_path(tmp_path, 1))
    torch.testing.assert_close(held.latents, model.encode(drawn.rgb.float() / 255), atol=2e-3, rtol=2e-3)
    assert torch.equal(held.camera.c2w, drawn.camera[::4].c2w)
    assert held.caption == drawn.caption
