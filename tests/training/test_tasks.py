"""What the recipes train, on tiny models and clips: losses fall, and training sees what inference sees."""

import shutil

import pytest
import torch
from safetensors.torch import save_file

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.memory import LatentSpatialMemory
from mirage.models.autoencode import decode, encode
from mirage.models.fold import fold_time
from mirage.models.tiny import tiny_world
from mirage.training.autoencoder import AutoencoderConfig, AutoencoderTask, shifted, start_from_images
from mirage.training.clips import clip_path, render_clips
from mirage.training.decoder import DecoderConfig, DecoderTask
from mirage.training.denoiser import DenoiserConfig, DenoiserTask, noisy_depth
from mirage.training.depth_head import DepthHeadConfig, DepthHeadTask
from mirage.training.latents import encode_clips, load_latent_clip
from mirage.training.loop import Schedule, fit
from mirage.training.optimizer import MuonAdamW
from mirage.training.recipes import RECIPES
from mirage.training.run import run
from mirage.worlds import vocabulary

SIZE = (64, 96)


@pytest.fixture(scope="module")
def world():
    return tiny_world(channels=8, dim_mult=(1, 2, 2), temporal_downsample=(True, True), stride=8, patch_size=(1, 4, 4))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    render_clips(folder, count=3, size=SIZE, frames=9)
    return folder


@pytest.fixture(scope="module")
def latents(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("latents")
    encode_clips(world, folder, count=3, size=SIZE, frames=17)
    return folder


def test_clips_are_not_made_twice(clips):
    before = {path: path.stat().st_mtime_ns for path in clips.iterdir()}
    render_clips(clips, count=3, size=SIZE, frames=9)
    assert before == {path: path.stat().st_mtime_ns for path in clips.iterdir()}


def test_a_latent_clip_holds_what_the_model_encodes(world, latents):
    clip = load_latent_clip(clip_path(latents, 0))
    assert clip.latents.shape == clip.images.shape == (5, 8, 8, 12)
    assert clip.camera.shape == (5,)
    assert clip.depth.shape == (5, 8, 12)
    torch.testing.assert_close(clip.latents[0], clip.images[0], atol=2e-2, rtol=1e-2)  # kept in half precision
    assert set(clip.caption.replace(",", "").replace(";", "").split()) <= {*vocabulary()}


def test_folded_convolutions_are_the_same_sum():
    vae = tiny_world(seed=2).vae
    video = torch.rand(2, 3, 9, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        plain = encode(vae, video)
        shown = decode(vae, plain)
        fold_time(vae)
        torch.testing.assert_close(encode(vae, video), plain, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(decode(vae, plain), shown, atol=1e-4, rtol=1e-4)


def test_training_encodes_what_inference_encodes(world):
    video = torch.rand(9, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        batch = encode(world.vae, (video * 2 - 1).transpose(0, 1)[None])[0].transpose(0, 1)
        torch.testing.assert_close(batch, world.encode(video), atol=1e-5, rtol=1e-4)


def test_from_images_two_frames_merge_into_the_later_one():
    vae = tiny_world(seed=1, dim_mult=(1, 2, 2), temporal_downsample=(True, True), stride=8).vae
    start_from_images(vae)
    still = torch.rand(1, 3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        shown = decode(vae, encode(vae, still.expand(-1, -1, 9, -1, -1)))
    torch.testing.assert_close(shown[:, :, 5], shown[:, :, 8], atol=1e-5, rtol=1e-4)  # four equal frames per latent
    for name, part in vae.named_modules():
        if isinstance(part, torch.nn.Conv3d) and part.kernel_size[0] == 3:
            assert not part.weight[:, :, :-1].any(), name


def test_shifting_is_bilinear():
    ramp = torch.arange(12.0).view(1, 1, 3, 4)
    torch.testing.assert_close(shifted(ramp, 0.25, 0.5), ramp[..., :-1, :-1] + 0.25 * 4 + 0.5)


@pytest.mark.parametrize("mix", [(1, 32, 2), (5, 32, 1)])
def test_the_autoencoder_learns(clips, mix):
    vae = fold_time(tiny_world(channels=8, dim_mult=(1, 2, 2), temporal_downsample=(True, True), stride=8).vae)
    start_from_images(vae)
    task = AutoencoderTask(vae, AutoencoderConfig(clips, mix=(mix,), held_out=1))
    optimizer = MuonAdamW(vae.named_parameters(), muon_lr=0.01, adamw_lr=1e-3)
    losses = []
    for _ in range(12):  # the same batch each time
        loss, _ = task.loss(0, torch.Generator().manual_seed(1))
        losses.append(loss.item())
        vae.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]
    assert set(task.evaluate()) >= {"image_psnr", "half_cell_error"}


def test_the_decoder_learns_while_latents_stay(clips, tmp_path):
    vae = fold_time(tiny_world(channels=8, dim_mult=(1, 2, 2), temporal_downsample=(True, True), stride=8).vae)
    task = DecoderTask(vae, DecoderConfig(clips, window=5, held_out=1))
    clip = torch.rand(1, 3, 9, *SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    before, quality = encode(vae, clip), task.evaluate()
    fit(task, Schedule(steps=12, warmup=1, muon_lr=0.01, average=0.5), tmp_path)
    assert torch.equal(encode(vae, clip), before)
    after = task.evaluate()
    assert after["clip_psnr"] > quality["clip_psnr"] + 0.5
    assert after["half_cell_error"] == quality["half_cell_error"]


def test_the_decoders_windows_lie_anywhere_in_the_picture(clips):
    vae = tiny_world(channels=8, dim_mult=(1, 2, 2), temporal_downsample=(True, True), stride=8).vae
    whole = DecoderTask(vae, DecoderConfig(clips, window=99, noise=0.0, held_out=1))
    assert whole._span(8, torch.Generator()) == (0, 8)
    small = DecoderTask(vae, DecoderConfig(clips, window=5, noise=0.0, held_out=1))
    assert {small._span(8, torch.Generator().manual_seed(s)) for s in range(40)} == {(i, i + 5) for i in range(4)}


def test_the_denoiser_learns_and_every_part_gets_a_gradient(world, latents, tmp_path):
    task = DenoiserTask(world, DenoiserConfig(latents, batch=2, frames=3, held_out=1, no_memory=0.0))
    fit(task, Schedule(steps=2, warmup=1), tmp_path)  # projections leave zero, so the next gradient reaches everything
    loss, _ = task.loss(5, torch.Generator().manual_seed(0))
    loss.backward()
    silent = [name for name, p in task.module.named_parameters() if p.grad is None or not p.grad.any()]
    assert not [name for name in silent if "text" not in name]
    before = task.evaluate()["loss_memory"]
    fit(task, Schedule(steps=30, warmup=2, muon_lr=0.01, average=0.8), tmp_path)
    assert task.evaluate()["loss_memory"] < before


def test_a_training_sample_is_the_readout_of_inference(world, latents):
    task = DenoiserTask(world, DenoiserConfig(latents, frames=3, held_out=1))
    clip = load_latent_clip(task.train[0])
    condition, x0 = task._sample(clip, 1, 1, torch.Generator().manual_seed(3), augment=False)
    starts = [s for s in range(3) if torch.equal(x0.transpose(0, 1), clip.latents[s : s + 3])]
    assert len(starts) == 1
    start = starts[0]
    memory = LatentSpatialMemory(world.channels)
    memory.write(clip.latents[: start + 1], clip.depth[: start + 1], clip.camera[: start + 1])
    readout = memory.read(clip.camera[start : start + 3], (8, 12))
    assert torch.equal(condition.memory[0].transpose(0, 1), readout.latents)
    assert torch.equal(condition.mask[0, 0].bool(), readout.mask)
    assert torch.equal(condition.first[0, :, 0], clip.latents[start])


def test_noisy_depth_is_off_by_about_as_much_as_told():
    depth = DepthMap(torch.full((200, 8, 8), 3.0))
    noisy = noisy_depth(depth, 0.05, torch.Generator().manual_seed(0))
    assert torch.equal(noisy.valid, depth.valid)
    assert 0.03 < (noisy.z / 3).log().std() < 0.08


def test_the_depth_head_learns(world, latents, tmp_path):
    task = DepthHeadTask(world.depth_head, DepthHeadConfig(latents, batch=8, held_out=1))
    before = task.evaluate()["absrel"]
    fit(task, Schedule(steps=40, warmup=2, muon_lr=0.01, average=0.8), tmp_path)
    assert task.evaluate()["absrel"] < before


def test_half_of_what_the_depth_head_sees_is_views(world, latents, tmp_path):
    shutil.copytree(latents, tmp_path / "views")
    task = DepthHeadTask(world, DepthHeadConfig(latents, tmp_path / "views", held_out=1))
    assert [len(source) for source in task.sources] == [len(task.train), len(task.train) + 1]


def test_a_sample_may_have_another_memory_and_the_models_own_depth(world, latents):
    task = DenoiserTask(world, DenoiserConfig(latents, frames=3, held_out=1, no_memory=0.4, pixels=0.5, own_depth=0.5))
    kinds = {type(task._memory(True, torch.Generator().manual_seed(seed))).__name__ for seed in range(40)}
    assert kinds == {"LatentSpatialMemory", "RGBPointMemory", "NoneType"}
    for step in range(4):
        assert torch.isfinite(task.loss(step, torch.Generator().manual_seed(step))[0])


def test_recipes_say_what_must_be_run_first(tmp_path):
    with pytest.raises(InputError, match="no recipe 'mini'; accepted: mini_clips"):
        run("mini", tmp_path)
    with pytest.raises(InputError, match="has no checkpoint"):
        run("mini_latents", tmp_path)
    with pytest.raises(InputError, match="holds no clips"):
        run("mini_images", tmp_path)
    with pytest.raises(InputError, match="has no steps"):
        run("mini_clips", tmp_path, steps=3)
    assert all(recipe(tmp_path) == recipe(tmp_path) for recipe in RECIPES.values())


def test_a_clip_of_another_kind_is_not_taken_for_latents(tmp_path):
    save_file({"rgb": torch.zeros(1)}, clip_path(tmp_path, 0))
    with pytest.raises(InputError, match="is no latent clip"):
        load_latent_clip(clip_path(tmp_path, 0))


def test_cameras_of_a_clip_are_those_of_its_latents(latents):
    clip = load_latent_clip(clip_path(latents, 1))
    assert isinstance(clip.camera, Camera)
    assert torch.isfinite(clip.camera.c2w).all()
