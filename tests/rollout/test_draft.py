"""A draft fills holes, only holes, and with what its own views show; a session that drafts is otherwise the same."""

from dataclasses import replace

import pytest
import torch

from helpers import random_image, wall, walls
from mirage.conditioning import drafted_views
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import pan
from mirage.memory import LatentSpatialMemory, Readout
from mirage.models.tiny import tiny_world
from mirage.rollout import Session
from mirage.rollout.draft import WORTH, completed, worth_drafting
from mirage.rollout.settings import Settings
from mirage.sampler import Sampler

GRID = (8, 12)


def panned(count: int, degrees: float) -> Camera:
    return pan(Camera.looking(aspect=1.5), count, degrees=degrees)


def latents(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 4, *GRID, generator=torch.Generator().manual_seed(seed))


def half_known(camera: Camera) -> Readout:
    """What a memory of the first view shows to all."""
    memory = LatentSpatialMemory(4, dtype=torch.float32)
    memory.write(latents(1), walls(1, GRID), camera[:1])
    return memory.read(camera, GRID)


def test_what_is_known_stays_and_holes_are_filled_where_the_draft_looks():
    camera = panned(5, 40.0)
    readout, views = half_known(camera), [2, 4]
    draft = latents(2, seed=1)
    filled = completed(readout, draft, walls(2, GRID), camera, views)
    known = readout.mask
    assert torch.equal(filled.latents.movedim(1, -1)[known], readout.latents.movedim(1, -1)[known])
    assert torch.equal(filled.index, readout.index)
    assert torch.equal(filled.frame, readout.frame)
    assert (filled.mask | ~known).all()
    assert filled.mask[4].all()  # the last view shows most: all that it drew is there, in its own place
    torch.testing.assert_close(
        filled.latents[4].movedim(0, -1)[~known[4]], draft[1].movedim(0, -1)[~known[4]], atol=2e-3, rtol=1e-3
    )
    assert filled.mask.sum() > readout.mask.sum()
    assert filled.depth.valid[filled.mask].all()


def test_other_views_see_the_draft_as_the_camera_moved():
    """After a turn by whole cells the same latents stand that many cells aside."""
    camera = panned(3, 20.0)
    readout = Readout.holes(3, 4, GRID)
    draft = latents(1, seed=2)
    filled = completed(readout, draft, walls(1, GRID), camera, [2])
    memory = LatentSpatialMemory(4)
    memory.write(draft, walls(1, GRID), camera[2:])
    direct = memory.read(camera, GRID)
    assert torch.equal(filled.mask, direct.mask)
    assert torch.equal(filled.latents, direct.latents)


def test_nothing_is_drafted_where_nothing_is_unknown():
    camera = panned(3, 20.0)
    memory = LatentSpatialMemory(4)
    memory.write(latents(3), walls(3, GRID), camera)
    full = memory.read(camera, GRID)
    assert not worth_drafting(full)
    assert worth_drafting(Readout.holes(3, 4, GRID))
    filled = completed(full, latents(1, seed=3), walls(1, GRID), camera, [2])
    assert float((~full.mask).float().mean()) <= WORTH
    assert torch.equal(filled.latents, full.latents)


@pytest.mark.parametrize(("count", "views"), [(9, [0, 4, 8]), (3, [0, 1, 2]), (2, [0, 1])])
def test_a_draft_shows_the_first_the_middle_and_the_last_view(count, views):
    assert drafted_views(count) == views


def test_chosen_views_keep_all_that_a_readout_says():
    readout = half_known(panned(4, 30.0))
    some = readout[[1, 3]]
    assert len(some) == 2
    assert torch.equal(some.mask, readout.mask[[1, 3]])
    assert torch.equal(some.depth.z, readout.depth.z[[1, 3]])


def test_a_session_drafts_if_asked_and_its_report_is_of_what_was_truly_known():
    model = tiny_world()
    image = random_image()

    def walk(**settings):
        session = Session(model, image, camera=Camera.looking(aspect=1.5), depth=wall, settings=Settings(**settings))
        return session.step(pan(session.camera, 9, degrees=60)[1:])

    plain, drafted = walk(draft=False), walk(draft=True)
    assert torch.equal(walk().latents, plain.latents)  # as the model was made for
    assert torch.equal(plain.readout.mask, drafted.readout.mask)
    assert not drafted.readout.mask.all()
    assert torch.isfinite(drafted.latents).all()
    assert torch.equal(walk(draft=True).latents, drafted.latents)


@pytest.mark.parametrize(
    ("prompt", "asked", "guided"),
    [("a red room", None, [2.0, 1.0]), ("", None, [1.0, 1.0]), ("a red room", 5.0, [5.0, 5.0])],
)
def test_drafts_are_guided_by_the_prompt_more_than_chunks_are(prompt, asked, guided, monkeypatch):
    model = tiny_world()
    model.register_to_config(drafts=True, draft_guidance=2.0)
    found, denoise = [], model.denoise

    def denoised(condition, *, sampler, **choices):
        found.append((condition.frames, sampler.guidance))
        return denoise(condition, sampler=sampler, **choices)

    monkeypatch.setattr(model, "denoise", denoised)
    settings = Settings(sampler=Sampler(guidance=asked))
    camera = Camera.looking(aspect=1.5)
    session = Session(model, torch.rand(3, 64, 96), camera=camera, depth=wall, prompt=prompt, settings=settings)
    session.step(pan(session.camera, 9, degrees=60)[1:])
    assert found == list(zip((3, 3), guided, strict=True))  # a chunk of 3 latent frames, all of them in its draft


@pytest.mark.parametrize(
    ("asked", "drafted", "chunk"),
    [
        (Sampler(), (7, 1.0, 0.0), (3, 0.6, 0.4)),
        (Sampler(steps=2, noise=0.5), (2, 0.5, 0.0), (2, 0.5, 0.4)),
    ],
)
def test_a_draft_takes_its_time_and_all_of_the_noise(asked, drafted, chunk, monkeypatch):
    """Unless others are asked for: then they are both's. And a draft's last step begins where it falls."""
    model = tiny_world(shift_terminal=0.4)
    model.register_to_config(drafts=True, draft_steps=7, noise_scale=0.6)
    found, denoise = [], model.denoise

    def denoised(condition, *, sampler, **choices):
        found.append((sampler.steps, sampler.noise, sampler.last))
        return denoise(condition, sampler=replace(sampler, steps=1), **choices)

    monkeypatch.setattr(model, "denoise", denoised)
    image, settings = torch.rand(3, 64, 96), Settings(sampler=asked)
    session = Session(model, image, camera=Camera.looking(aspect=1.5), depth=wall, settings=settings)
    session.step(pan(session.camera, 9, degrees=60)[1:])
    assert found == [drafted, chunk]
    model.register_to_config(draft_steps=None)
    assert model.draft_sampler.steps == model.sampler.steps
