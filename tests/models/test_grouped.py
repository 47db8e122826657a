"""The grouped autoencoder: its streams are one call cut anywhere, in training as at inference, whole as in tiles."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mirage.errors import InputError
from mirage.models.autoencode import decode, encode
from mirage.models.codec import Tiles
from mirage.models.grouped import GroupedAutoencoder
from mirage.models.loading import load_world_model
from mirage.models.streams import encode_images, reach, stream_decoder, stream_encoder
from mirage.models.tiny import GroupedSizes, MiniConfig, build_world


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    made = GroupedAutoencoder(z_dim=6, width=16, top=8, body=4, head=1, latents_mean=[0.1] * 6, latents_std=[0.7] * 6)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def frames():
    return torch.rand(17, 3, 48, 64, generator=torch.Generator().manual_seed(1))


@settings(max_examples=10, deadline=None)
@given(cut=st.integers(0, 4))
def test_a_stream_may_be_cut_anywhere(vae, frames, cut):
    whole = stream_encoder(vae).encode(frames)
    stream = stream_encoder(vae)
    parts = [some for some in (frames[: 1 + 4 * cut], frames[1 + 4 * cut :]) if len(some)]
    latents = torch.cat([stream.encode(some) for some in parts])
    torch.testing.assert_close(latents, whole)
    decoder = stream_decoder(vae)
    pieces = [some for some in (whole[: 1 + cut], whole[1 + cut :]) if len(some)]
    shown = torch.cat([decoder.decode(some) for some in pieces])
    assert shown.shape == frames.shape
    torch.testing.assert_close(shown, stream_decoder(vae).decode(whole), atol=1e-6, rtol=1e-5)


def test_training_sees_what_inference_does(vae, frames):
    z = encode(vae, (frames * 2 - 1).transpose(0, 1)[None])
    torch.testing.assert_close((z[0].transpose(0, 1) - 0.1) / 0.7, stream_encoder(vae).encode(frames))
    video = decode(vae, z)[0].transpose(0, 1).clamp(-1, 1) * 0.5 + 0.5
    torch.testing.assert_close(
        video, stream_decoder(vae).decode(stream_encoder(vae).encode(frames)), atol=1e-5, rtol=1e-4
    )


def test_an_image_is_a_group_in_which_nothing_moves(vae, frames):
    one_by_one = torch.cat([stream_encoder(vae).encode(frame[None]) for frame in frames[:3]])
    torch.testing.assert_close(encode_images(vae, frames[:3]), one_by_one)
    still = stream_encoder(vae)
    latents = still.encode(frames[:1].expand(9, -1, -1, -1))
    torch.testing.assert_close(latents, latents[:1].expand_as(latents))


def test_a_latent_says_only_what_its_own_frames_show(vae, frames):
    other = frames.clone()
    other[:5] = 0
    kept = stream_encoder(vae).encode(frames)[2:]
    torch.testing.assert_close(stream_encoder(vae).encode(other)[2:], kept)


def test_tiles_whose_margin_covers_what_a_pixel_sees_are_exact(vae):
    z = torch.randn(3, 6, 30, 8, generator=torch.Generator().manual_seed(2))
    whole = stream_decoder(vae).decode(z)
    tiled = stream_decoder(vae, tiles=Tiles(core=12, margin=14)).decode(z)
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=1e-4)


def test_a_copy_goes_on_by_itself_and_reach_is_enough(vae):
    z = torch.randn(7, 6, 6, 8, generator=torch.Generator().manual_seed(3))
    stream = stream_decoder(vae)
    stream.decode(z[:4])
    copy = stream.copy()
    after = stream.decode(z[4:])
    torch.testing.assert_close(copy.decode(z[4:]), after, rtol=0, atol=0)
    late = stream_decoder(vae)
    late.decode(z[5 - reach(vae) : 4])
    torch.testing.assert_close(late.decode(z[4:]), after, atol=1e-6, rtol=1e-5)


def test_what_no_stream_takes_is_refused(vae):
    with pytest.raises(InputError, match=r"accepted: \[T,6,h,w\]"):
        stream_decoder(vae).decode(torch.zeros(1, 5, 4, 4))
    with pytest.raises(InputError, match="1 \\+ 4k"):
        stream_encoder(vae).encode(torch.zeros(2, 3, 16, 16))


def test_a_model_with_one_is_saved_and_loaded(tmp_path):
    sizes = MiniConfig(grouped=GroupedSizes(16, 8, 2, 1), channels=6, layers=2, branch_layers=(0,), size=(64, 96))
    model = build_world(sizes, words=("a", "room"))
    model.save_pretrained(tmp_path)
    again = load_world_model(tmp_path, dtype=torch.float32)
    picture = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(again.encode(picture), model.encode(picture))
    assert again.stride == 8
    assert again.channels == 6


@pytest.mark.parametrize("can", ["avx512_bf16", "amx_bf16", "avx2"])
def test_it_computes_in_bfloat16_where_the_processor_does(tmp_path, monkeypatch, can):
    """And Wan's own autoencoders, made of convolutions in three dimensions, nowhere on a CPU."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {can: True})
    small = {"channels": 6, "layers": 2, "branch_layers": (0,), "size": (64, 96)}
    for grouped, its in (GroupedSizes(16, 8, 2, 1), can != "avx2"), (None, False):
        sizes = MiniConfig(grouped=grouped, base_dim=8, decoder_base_dim=8, **small)
        build_world(sizes, words=("a", "room")).save_pretrained(tmp_path / str(its))
        made = load_world_model(tmp_path / str(its))
        assert {made.transformer.dtype, made.vae.dtype} == {torch.bfloat16 if its else torch.float32}


def test_a_decoder_may_have_fewer_blocks_and_the_encoder_keeps_its_own():
    deep, light = GroupedAutoencoder(6, 16, 8, 4, 1), GroupedAutoencoder(6, 16, 8, 4, 1, decoder_body=2)
    assert len(light.decoder.body) == 2
    assert {name: weight.shape for name, weight in light.encoder.named_parameters()} == {
        name: weight.shape for name, weight in deep.encoder.named_parameters()
    }
