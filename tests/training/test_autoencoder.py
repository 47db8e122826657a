"""The autoencoder learns; its latents warp; what is dead is normalised to nothing."""

from dataclasses import replace

import pytest
import torch

from mirage.errors import InputError
from mirage.models.autoencode import decode, encode
from mirage.models.fold import fold_time
from mirage.models.grouped import GroupedAutoencoder
from mirage.models.tiny import GroupedSizes, MiniConfig, build_world, tiny_world
from mirage.training.autoencoder import (
    AutoencoderConfig,
    AutoencoderTask,
    dead_channels,
    measure_latents,
    shifted,
    start_from_images,
    steepness_error,
)
from mirage.training.clips import clip_paths, load_pixels
from mirage.training.optimizer import MuonAdamW
from mirage.training.parts import leave
from mirage.training.render import draw_stills
from mirage.training.runs import Decoder
from mirage.training.schedule import Schedule
from toys import SIZE, at, batch_of, small_model


def test_folded_convolutions_are_the_same_sum():
    vae = tiny_world(seed=2).vae
    video = torch.rand(2, 3, 9, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        plain = encode(vae, video)
        shown = decode(vae, plain)
        fold_time(vae)
        torch.testing.assert_close(encode(vae, video), plain, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(decode(vae, plain), shown, atol=1e-4, rtol=1e-4)


def test_training_encodes_what_inference_encodes(model):
    video = torch.rand(9, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        batch = encode(model.vae, (video * 2 - 1).transpose(0, 1)[None])[0].transpose(0, 1)
        torch.testing.assert_close(batch, model.encode(video), atol=1e-5, rtol=1e-4)


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


def test_without_equivariance_no_latent_is_moved(clips, monkeypatch):
    vae = fold_time(small_model().vae)
    config = AutoencoderConfig(clips, mix=((1, 32, 2),), held_out=1)

    def losses(equivariance):
        task = AutoencoderTask(vae, replace(config, equivariance=equivariance))
        return torch.stack([at(task, step).detach() for step in range(6)])

    usual, never = losses(0.01), losses(0.0)
    monkeypatch.setattr("mirage.training.autoencoder.shifted", lambda z, down, right: z[..., :-1, :-1] + 9)
    assert torch.equal(losses(0.0), never)
    assert not torch.equal(losses(0.01), usual)


@pytest.mark.parametrize("mix", [(1, 32, 2), (5, 32, 1)])
def test_the_autoencoder_learns(clips, mix):
    vae = fold_time(small_model().vae)
    start_from_images(vae)
    task = AutoencoderTask(vae, AutoencoderConfig(clips, mix=(mix,), held_out=1))
    optimizer = MuonAdamW(vae.named_parameters(), muon_lr=0.01, adamw_lr=1e-3)
    losses = []
    for _ in range(12):  # the same batch each time
        loss = at(task, 0)
        losses.append(loss.item())
        vae.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]
    assert set(task.evaluate()) >= {"image_psnr", "half_cell_error"}


@torch.no_grad()
def test_dead_channels_are_normalised_to_nothing(clips):
    vae, dead = fold_time(small_model().vae), [1, 6]
    vae.quant_conv.weight[dead] *= 1e-5
    z = torch.cat([encode(vae, load_pixels(path).rgb.float().transpose(0, 1)[None] / 127.5 - 1)
                   for path in clip_paths(clips)])  # fmt: skip
    assert dead_channels(z.std(dim=(0, 2, 3, 4))) == dead
    mean, std = (torch.tensor(values) for values in measure_latents(vae, clips))
    assert (std[dead] == 1).all()
    living = [channel for channel in range(8) if channel not in dead]
    torch.testing.assert_close(std[living], z.std(dim=(0, 2, 3, 4))[living], rtol=1e-3, atol=1e-5)
    video = torch.rand(1, 3, 9, *SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    z = (encode(vae, video) - mean[:, None, None, None]) / std[:, None, None, None]
    assert z[:, dead].abs().max() < 0.01


def test_half_of_the_steps_on_images_see_stills(clips, tmp_path):
    draw_stills(tmp_path / "stills", count=2, each=3, size=SIZE)
    config = AutoencoderConfig(clips, mix=((1, 32, 2),), held_out=1, stills=tmp_path / "stills", bf16=True)
    task = AutoencoderTask(fold_time(small_model().vae), config)
    real = {path: load_pixels(path).rgb for path in task.maker.paths}

    def of_scenes(number):
        crop = batch_of(task.maker, number).rgb[0, :, 0, 4:8, 4:8]
        windows = torch.cat([rgb.unfold(2, 4, 1).unfold(3, 4, 1).flatten(2, 3) for rgb in real.values()])
        one = windows.movedim(2, 1)  # [F, places, 3, 4, 4]
        return bool(((one == crop) | (one.flip(-1) == crop)).flatten(2).all(2).any())

    seen = [of_scenes(number) for number in range(12)]
    assert 1 < sum(seen) < 11
    assert torch.isfinite(at(task, 0))


def test_steepness_error_counts_what_is_too_smooth_and_what_is_too_rough_and_not_where_its_edges_are():
    image = torch.rand(2, 3, 5, 32, 32, generator=torch.Generator().manual_seed(3))
    assert steepness_error(image, image) == 0
    grown = [float(steepness_error(share * image, image)) for share in (1.5, 1.0, 0.5, 0.0)]
    assert grown[0] > 0.1
    assert 0 < grown[2] < grown[3]
    stripes = (torch.arange(32) // 2 % 2).float().expand(2, 3, 5, 32, 32)
    assert steepness_error(1 - stripes, stripes) == 0


def test_a_decoder_alone_learns_for_the_latents_that_are(clips, tmp_path):
    """Of another depth than the one it begins from, whose encoder and whose latents' scale it leaves as they are."""
    sizes = MiniConfig(grouped=GroupedSizes(16, 8, 3, 1), channels=6, layers=1, branch_layers=(0,), size=SIZE)
    whole = build_world(sizes, words=("a",)).vae
    whole.register_to_config(latents_mean=[0.1] * 6, latents_std=[0.7] * 6)
    leave(whole, tmp_path / "whole" / "vae")
    config = AutoencoderConfig(clips, mix=((1, 32, 2),), held_out=1, steepness=0.1)
    light = replace(sizes, grouped=GroupedSizes(16, 8, 3, 1, decoder_body=2))
    run = Decoder(tmp_path / "whole", config, Schedule(steps=2, warmup=1), sizes=light)
    run.check()
    run.work(tmp_path / "light")
    made = GroupedAutoencoder.from_pretrained(tmp_path / "light" / "vae")
    assert (len(made.decoder.body), made.config["latents_std"]) == (2, [0.7] * 6)
    before, after = dict(whole.named_parameters()), dict(made.named_parameters())
    assert all(torch.equal(after[name], before[name]) == name.startswith("encoder.") for name in after)
    other = replace(sizes, grouped=GroupedSizes(24, 8, 3, 1))
    with pytest.raises(InputError, match=r"the encoder of .* is of other sizes"):
        replace(run, sizes=other).work(tmp_path / "other")
