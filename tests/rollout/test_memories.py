"""Every memory that has a name walks the same session; the codec gives each latent the picture of its own moment."""

import pytest
import torch

from helpers import random_image, wall
from mirage.conditioning import pixel_codec
from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import PRESETS
from mirage.models.tiny import tiny_world
from mirage.rollout import Session
from mirage.rollout.memories import MEMORIES, make_memory
from mirage.rollout.settings import Settings
from mirage.sampler import Sampler

SIZE = (32, 64)


@pytest.fixture(scope="module")
def model():
    return tiny_world(size=SIZE)


@pytest.fixture
def image():
    return random_image(SIZE)


def test_decoding_piece_by_piece_shows_the_frames_at_the_latents_own_moments(model):
    decode, encode = pixel_codec(model)
    latents = torch.randn(5, model.channels, 2, 4, generator=torch.Generator().manual_seed(0))
    whole = model.decode(latents)[::4]
    first, state = decode(latents[:1], None)
    again, _ = decode(latents[1:3], state)
    rest, after = decode(latents[1:3], state)  # the state did not change
    last, _ = decode(latents[3:], after)
    assert torch.equal(again, rest)
    torch.testing.assert_close(torch.cat([first, rest, last]), whole, atol=1e-5, rtol=0)
    images = encode(whole[:2])
    torch.testing.assert_close(images[1:], model.encode(whole[1:2]))


@pytest.mark.parametrize("name", MEMORIES)
def test_a_walk_there_and_back_with(name, model, image):
    session = Session(
        model,
        image,
        camera=Camera.looking(aspect=2.0),
        depth=wall,
        memory=make_memory(name, model),
        settings=Settings(sampler=Sampler(steps=1)),
    )
    moment = session.snapshot()
    path = PRESETS["there_and_back"](session.camera, 17)
    chunks = list(session.follow(path))
    back = chunks[-1].readout
    spatial = name not in ("frames", "none")
    assert (back.mask[-1].float().mean() > 0.9) == spatial
    assert (chunks[-1].memory_bytes > 0) == spatial
    assert bool(chunks[-1].references) == (name != "none")
    session.restore(moment)
    for chunk, again in zip(chunks, session.follow(path), strict=True):
        assert torch.equal(chunk.latents, again.latents)


def test_a_memory_without_a_name_is_refused(model):
    with pytest.raises(InputError, match="rgb-voxel"):
        make_memory("elephant", model)
