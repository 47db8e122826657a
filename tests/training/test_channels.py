"""Channels that die: nothing is asked of them, and the others stay what they were."""

from dataclasses import replace

import pytest
import torch
from mirage.training.channels import forget_in_denoiser, forget_in_depth_head, hear_words
from mirage.training.run import assembled, bundled

from mirage.models.autoencode import encode
from mirage.models.fold import fold_time
from mirage.models.tiny import tiny_world
from mirage.models.transformer import predict
from mirage.scenes import sample_clip, training_seed
from mirage.training.autoencoder import (
    AutoencoderConfig,
    AutoencoderTask,
    dead_channels,
    measure_latents,
    statistics,
)
from mirage.training.clips import clip_path, clip_paths, draw_stills, load_clip, render_clips
from mirage.training.denoiser import Chunks, DenoiserConfig
from mirage.training.latents import encode_clip, load_latent_clip
from mirage.training.loop import averaged_weights

DEAD = [1, 6]


def world_of(**choices):
    return tiny_world(
        channels=8, dim_mult=(1, 2, 2), temporal_downsample=(True, True), stride=8, patch_size=(1, 4, 4),
        prediction="sample", detail_channels=8, detail_blocks=1, **choices,
    )  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    render_clips(folder, count=3, size=(64, 96), frames=17)
    return folder


@pytest.fixture
def vae(clips):
    """An autoencoder two of whose channels say nothing."""
    vae = fold_time(world_of().vae)
    with torch.no_grad():
        vae.quant_conv.weight[DEAD] *= 1e-5
    z = torch.cat([encode(vae, load_clip(path).rgb.float().transpose(0, 1)[None] / 127.5 - 1).detach()
                   for path in clip_paths(clips)])  # fmt: skip
    mean, std = z.mean(dim=(0, 2, 3, 4)), z.std(dim=(0, 2, 3, 4))
    vae.register_to_config(latents_mean=mean.tolist(), latents_std=std.tolist())
    assert dead_channels(std) == DEAD
    return vae


@torch.no_grad()
def test_dead_channels_are_normalised_to_nothing_and_the_others_as_before(vae, clips):
    was_mean, was_std = statistics(vae)
    living = [channel for channel in range(8) if channel not in DEAD]
    before = fold_time(world_of().vae)
    before.load_state_dict(vae.state_dict())
    before.register_to_config(latents_mean=was_mean.tolist(), latents_std=was_std.tolist())
    vae.quant_conv.bias += 0.5
    mean, std = (torch.tensor(values) for values in measure_latents(vae, clips, before=before))
    assert torch.equal(mean[living], was_mean[living])
    assert torch.equal(std[living], was_std[living])
    assert (std[DEAD] == 1).all()
    video = torch.rand(1, 3, 9, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    z = (encode(vae, video) - mean[:, None, None, None]) / std[:, None, None, None]
    assert z[:, DEAD].abs().max() < 0.01


def test_living_channels_are_held_while_others_learn(vae, clips, tmp_path):
    before = fold_time(world_of().vae)
    before.load_state_dict(vae.state_dict())
    before.register_to_config(**{name: vae.config[name] for name in ("latents_mean", "latents_std")})
    draw_stills(tmp_path / "stills", count=1, each=2, size=(64, 96))
    config = AutoencoderConfig(clips, mix=((1, 16, 2), (5, 16, 1)), held_out=1, pinned=0.1, stills=tmp_path / "stills",
                               bf16=True)  # fmt: skip
    task = AutoencoderTask(vae, config, before)
    for number in range(4):
        generator = torch.Generator().manual_seed(number)
        loss, numbers = task.loss(task.maker(number, generator), generator)
        assert torch.isfinite(loss)
        assert numbers["pinned"] < 0.01  # nothing has moved yet: what is left is bfloat16's rounding
    with torch.no_grad():
        vae.quant_conv.bias[0] += 3 * float(statistics(before)[1][0])
    generator = torch.Generator().manual_seed(0)
    assert task.loss(task.maker(0, generator), generator)[1]["pinned"] > 1
    assert all(p.grad is None for p in before.parameters())


@torch.no_grad()
def test_a_denoiser_forgets_what_it_took_from_channels_and_keeps_the_rest(clips, tmp_path):
    model = world_of()
    for part in (model.transformer, model.memory_branch):
        for p in part.parameters():
            p.normal_(0, 0.1, generator=torch.Generator().manual_seed(p.numel()))
    render_clips(tmp_path, count=2, size=(64, 96), frames=17, kept=lambda clip: encode_clip(model, clip))
    chunks = Chunks(DenoiserConfig(tmp_path, frames=3, no_memory=0.0), clip_paths(tmp_path), 8)
    seen = chunks.sample(chunks.paths[0], 0, 0, torch.Generator().manual_seed(0), augment=False)
    condition = replace(seen.condition, text=torch.zeros(1, 4, 32))
    silent = condition.memory.clone()
    silent[:, DEAD] = 0
    latents = torch.randn(seen.target.shape, generator=torch.Generator().manual_seed(1))
    latents[:, DEAD] = 0
    timestep = torch.full((1, 3), 500.0)

    def told(memory, latents):
        return predict(model.transformer, model.memory_branch, latents, timestep, replace(condition, memory=memory))

    forget_in_denoiser(model, DEAD)
    once = told(silent, latents)
    loud = latents.clone()
    loud[:, DEAD] = 5.0
    heard = told(silent, loud)
    living = [channel for channel in range(8) if channel not in DEAD]
    torch.testing.assert_close(heard, once)
    # of those channels it says their mean, drawn half of the way to the readout in a known cell's centre
    torch.testing.assert_close(once[:, DEAD].abs().amax(), torch.zeros(()))
    forget_in_denoiser(model, DEAD)
    torch.testing.assert_close(told(silent, latents)[:, living], once[:, living])


@torch.no_grad()
def test_a_depth_head_forgets_channels():
    head = world_of().depth_head
    forget_in_depth_head(head, DEAD)
    latents, rays = torch.randn(2, 8, 8, 12), torch.zeros(2, 2, 8, 12)
    other = latents.clone()
    other[:, DEAD] = 7
    single = torch.tensor([True, False])
    torch.testing.assert_close(head(latents, rays, single), head(other, rays, single))


@torch.no_grad()
def test_words_are_heard_at_full_strength_through_a_fresh_embedding():
    model = world_of()
    out = model.transformer.blocks[0].attn2.to_out[0].weight.clone()
    hear_words(model, generator=torch.Generator().manual_seed(0))
    text = torch.randn(1, 50, 32, generator=torch.Generator().manual_seed(1))
    assert 0.2 < model.transformer.condition_embedder.text_embedder(text).std() < 2
    torch.testing.assert_close(model.transformer.blocks[0].attn2.to_out[0].weight, 0.2 * out)


def test_clips_are_encoded_as_if_they_were_rendered(clips, tmp_path):
    model = world_of()
    for source, folder in ((None, "rendered"), (clips, "taken")):
        render_clips(tmp_path / folder, count=2, size=(64, 96), frames=17, source=source,
                     kept=lambda clip: encode_clip(model, clip))  # fmt: skip
    for i in range(2):
        one, other = (load_latent_clip(clip_path(tmp_path / folder, i)) for folder in ("rendered", "taken"))
        assert one.caption == other.caption
        torch.testing.assert_close(one.latents, other.latents)
        torch.testing.assert_close(one.camera.c2w, other.camera.c2w)
        assert torch.equal(one.depth.valid, other.depth.valid)
        torch.testing.assert_close(one.depth.z[one.depth.valid], other.depth.z[one.depth.valid], rtol=2e-3, atol=1e-3)
    clip, drawn = load_clip(clip_path(clips, 0)), sample_clip(training_seed(0), frames=17, size=(64, 96))
    assert torch.equal(clip.rgb, drawn.rgb)
    assert clip.caption == drawn.caption


def test_a_home_begins_where_the_bundled_model_is(tmp_path):
    bundled(tmp_path)
    model = assembled(tmp_path)
    weights = averaged_weights(tmp_path / "mini_denoiser")
    state = dict(model.transformer.named_parameters())
    assert all(torch.equal(state[name.removeprefix("transformer.")], value)
               for name, value in weights.items() if name.startswith("transformer."))  # fmt: skip
    assert max(statistics(model.vae)[1].tolist()) > 1
