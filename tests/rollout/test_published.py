"""A branch in the published layout runs in a session: it is shown what its own code shows it, and the constant video is
encoded once."""

import pytest
import torch

from helpers import random_image, wall
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import pan
from mirage.memory import LatentSpatialMemory
from mirage.models import world as world_module
from mirage.models.tiny import tiny_world
from mirage.models.transformer import MemoryBranch
from mirage.rollout import Session
from mirage.rollout.settings import Settings
from mirage.sampler import Sampler

SIZE = (64, 96)


def published_world(inputs="published"):
    model = tiny_world()
    branch = MemoryBranch.from_transformer(model.transformer, layers=(0, 2), inputs=inputs)
    torch.manual_seed(3)
    for name, weight in branch.named_parameters():
        if "proj_out" in name:
            torch.nn.init.normal_(weight, std=0.1)
    model.register_modules(memory_branch=branch.eval())
    return model


def begin(model, **settings):
    image = random_image(SIZE)
    return Session(model, image, camera=Camera.looking(aspect=1.5), depth=wall, settings=Settings(**settings))


@pytest.fixture
def encoded(monkeypatch):
    """How many frames each `encode` was given."""
    counts = []
    encode = world_module.WorldModel.encode
    monkeypatch.setattr(
        world_module.WorldModel, "encode", lambda self, frames: counts.append(len(frames)) or encode(self, frames)
    )
    return counts


def test_the_constant_video_is_encoded_once_for_all_chunks_and_sessions(encoded):
    model = published_world()
    session = begin(model, preceding=2)
    assert encoded == [1]  # the image
    path = pan(session.camera, 29)
    for chunk in session.follow(path):
        assert torch.isfinite(chunk.latents).all()
    assert encoded == [1, 1 + 4 * (3 + 2 - 1)]
    again = begin(model, preceding=2)
    again.step(pan(again.camera, 5)[1:])  # a shorter chunk
    assert encoded == [1, 17, 1]


def test_a_shorter_constant_is_the_beginning_of_a_longer_one():
    model = published_world()
    longer, shorter = model.constant(5, (4, 6)), published_world().constant(3, (4, 6))
    assert longer is not None
    assert longer.shape == (5, 48, 4, 6)
    torch.testing.assert_close(longer[:3], shorter)
    torch.testing.assert_close(model.constant(3, (4, 6)), shorter)
    torch.testing.assert_close(shorter, model.encode(torch.ones(9, 3, *SIZE)))


def test_nothing_is_encoded_for_other_branches(encoded):
    for model in (tiny_world(), published_world("published_hole")):
        assert model.constant(3, (4, 6)) is None
    assert encoded == []


@pytest.mark.parametrize("inputs", ["published", "published_hole"])
def test_the_branch_is_shown_the_memory_from_the_preceding_frames(inputs, monkeypatch):
    model = published_world(inputs)
    session = begin(model, preceding=2, sampler=Sampler(steps=1))
    shown = []
    denoise = world_module.WorldModel.denoise
    monkeypatch.setattr(
        world_module.WorldModel,
        "denoise",
        lambda self, condition, **k: shown.append(condition) or denoise(self, condition, **k),
    )
    path = pan(session.camera, 17)
    session.step(path[1:9])
    assert shown[0].preceding.shape[2] == 0
    assert shown[0].preceding_memory.shape[2] == 0
    cameras, memory = session.history.camera, session.memory.read
    expected = memory(cameras[-3:-1], (4, 6)).latents
    session.step(path[9:])
    torch.testing.assert_close(shown[1].preceding_memory[0].transpose(0, 1), expected)
    torch.testing.assert_close(shown[1].preceding[0].transpose(0, 1), session.history.latents[0:2])
    assert (shown[1].constant is None) == (inputs == "published_hole")


def test_the_memory_reaches_the_picture():
    model = published_world()
    session, other = begin(model), begin(model)
    assert isinstance(other.memory, LatentSpatialMemory)
    other.memory.clear()
    path = pan(session.camera, 9)[1:]
    assert not torch.allclose(session.step(path).latents, other.step(path).latents, atol=1e-4)


def test_a_walk_with_a_published_branch_looks_back_as_its_training_did(monkeypatch):
    """Two preceding latents and up to four references, the one that sees most first; ours stay in order of time."""
    shown = []
    denoise = world_module.WorldModel.denoise
    monkeypatch.setattr(
        world_module.WorldModel,
        "denoise",
        lambda self, condition, **k: shown.append(condition) or denoise(self, condition, **k),
    )
    for model, (references, preceding) in ((published_world(), (4, 2)), (tiny_world(), (2, 1))):
        session = begin(model, sampler=Sampler(steps=1), draft=False)
        path = pan(session.camera, 25, degrees=50)
        chunks = [session.step(path[start : start + 8]) for start in (1, 9, 17)]
        assert shown[-1].preceding.shape[2] == preceding
        assert shown[-1].references.shape[2] == references == len(chunks[-1].references)
        ordered = chunks[-1].references == sorted(chunks[-1].references)
        assert ordered == (not model.published)
        for place, number in enumerate(chunks[-1].references):
            torch.testing.assert_close(shown[-1].references[0, :, place], session.history.latents[number].float())
    few = begin(published_world(), references=1, preceding=0, sampler=Sampler(steps=1))
    few.step(path[1:9])
    few.step(path[9:17])
    assert (shown[-1].references.shape[2], shown[-1].preceding.shape[2]) == (1, 0)
