"""What people hand to a session: pictures of every kind, paths by name, and memories and estimators that do not fit."""

import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image

import mirage
from helpers import random_image, refusal, wall
from mirage import Camera, DepthMap, LatentSpatialMemory, Sampler, Session, Settings
from mirage.memory.baselines.nothing import NoMemory
from mirage.memory.table import undisturbed
from mirage.request import Request
from mirage.rollout.begin import begin
from mirage.rollout.plan import denoise

QUICK = Settings(sampler=Sampler(steps=1), draft=False)


def began(model, picture, **choices) -> Session:
    return Session(model, picture, settings=QUICK, **choices)


def test_a_picture_is_the_same_in_every_form(model, image, tmp_path):
    picture = (image * 255).round() / 255
    array = (picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    path = tmp_path / "photo.png"
    mirage.save_image(path, picture)
    forms = [picture, array, torch.from_numpy(array), Image.fromarray(array), path, str(path), picture.numpy()]
    sessions = [began(model, form) for form in forms]
    assert all(torch.equal(one.history.latents, sessions[0].history.latents) for one in sessions)
    assert all(torch.equal(one.camera.intrinsics, sessions[0].camera.intrinsics) for one in sessions)


def test_another_shape_is_cut_with_its_camera_and_depth(model):
    tall = random_image((300, 200))
    camera = Camera.for_image(tall, fov=50)
    depth = torch.full((300, 200), 3.0)
    session = began(model, tall, camera=camera, depth=depth)
    height, width = (n * model.stride for n in session.grid)
    assert height > width
    assert height * width <= model.size[0] * model.size[1]
    assert session.image is not None
    assert session.image.shape == (3, height, width)
    square = session.camera.intrinsics[0] * width / (session.camera.intrinsics[1] * height)
    assert float(square) == pytest.approx(1, abs=1e-3)
    assert session.history.depth.z.unique().tolist() == [3.0]


def test_a_request_has_the_size_it_asks_for_also_above_the_models_own(model, tmp_path):
    mirage.save_image(tmp_path / "photo.png", random_image((64, 96)))
    height, width = 2 * model.size[0], model.size[1]
    session, _ = begin(Request(image=tmp_path / "photo.png", trajectory="pan", size=(height, width)), model)
    assert [n * model.stride for n in session.grid] == [height, width]
    assert session.image is not None
    assert session.image.shape == (3, height, width)


def test_pixels_that_are_not_square_are_told(model, image, caplog):
    began(model, image, camera=Camera.looking(aspect=1.0))
    assert "not square" in caplog.text
    caplog.clear()
    began(model, image, camera=Camera.for_image(image))
    assert not caplog.text


def test_a_path_by_name_and_as_matrices(model, image):
    def orbit(session: Session) -> Camera:
        return mirage.orbit(session.camera, 5)

    ways = [orbit, lambda s: orbit(s).c2w, lambda s: [orbit(s)[n] for n in range(5)], lambda s: orbit(s).c2w.numpy()]
    ends = []
    for way in ways:
        session = began(model, image, depth=wall)
        (chunk,) = session.follow(way(session))
        ends.append(chunk.latents)
    assert all(torch.equal(end, ends[0]) for end in ends)
    session = began(model, image, depth=wall, memory="none")
    (chunk,) = session.follow("w 4")
    assert chunk.video().shape == (5, 64, 96, 3)
    assert chunk.video().dtype == np.uint8
    refusal(session.follow, "banana", words=["preset"])


def test_what_a_step_begins_with_is_refused_before_it_begins(model, image):
    """Not when the first chunk is asked for."""
    session = began(model, image)
    elsewhere = torch.eye(4)
    elsewhere[0, 3] = 5
    refusal(session.follow, mirage.orbit(session.camera, 5).moved(elsewhere), words=["begin where"])
    refusal(session.follow, mirage.orbit(session.camera, 6), words=["1 + 4k"])


class Narrow(NoMemory):
    def read(self, camera, grid):
        return super().read(camera, grid) if self.channels < 0 else mirage.Readout.holes(len(camera), 3, grid)


class Mute(NoMemory):
    def read(self, camera, grid):  # pyright: ignore[reportIncompatibleMethodOverride] -- on purpose
        return None


class Forgetful:
    """Has all but a snapshot."""

    nbytes = 0
    write = read = touch = restore = __len__ = lambda *given, **choices: 0


@pytest.mark.parametrize(
    ("memory", "words"),
    [(Narrow(48), ["latents of [1, 3,"]), (Mute(48), ["Readout"]), (Forgetful(), ["snapshot"]), ("nobody", ["latent"])],
)
def test_a_memory_that_does_not_fit_is_told_at_construction(model, image, memory, words):
    refusal(Session, model, image, memory=memory, words=words)


@pytest.mark.parametrize(
    "estimator",
    [
        lambda views: None,
        lambda views: DepthMap(torch.ones(7, 4, 6)),
        lambda views: DepthMap(torch.ones(4, 6)),
        "nobody",
    ],
)
def test_an_estimator_that_does_not_fit_is_told_at_construction(model, image, estimator):
    refusal(Session, model, image, depth=estimator, words=["accepted"])


def test_an_estimator_may_give_a_tensor(model, image):
    plain = began(model, image, depth=wall)
    given = began(model, image, depth=lambda views: wall(views).z)
    assert torch.equal(plain.history.depth.z, given.history.depth.z)


# -- going back -------------------------------------------------------------------------------------------------------


def test_a_strangers_snapshot_is_refused(model, image):
    one, other = began(model, image), began(model, image)
    refusal(one.restore, other.snapshot(), words=["another session"])


def test_a_step_that_fails_takes_its_prompt_back(model, image):
    session = began(model, image, prompt="a room")

    def fail(at):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        list(session.follow(mirage.orbit(session.camera, 5), prompts={0: "a garden"}, callback=fail))
    assert session.prompt == "a room"


def test_a_plan_that_is_denoised_again_counts_anew(model, image):
    session = Session(model, image, depth=wall, settings=Settings(sampler=Sampler(steps=1), draft=True))
    plan = session.plan(mirage.pan(session.camera, 5, degrees=60)[1:])
    assert plan.draft is not None
    spent = []
    for _ in range(2):
        plan.timings["denoise"] = plan.timings["draft"] = 1e6
        denoise([plan, plan])
        spent.append(sum(plan.timings.values()))
    assert max(spent) < 1e6


def test_ctrl_c_waits_for_a_restore(model, image):
    """It comes after, and finds the session at the moment that was asked for."""
    session = began(model, image, depth=wall)
    moment = session.snapshot()
    list(session.follow(mirage.orbit(session.camera, 5)))
    real = session.memory.restore

    def interrupted(snapshot):
        os.kill(os.getpid(), signal.SIGINT)
        real(snapshot)

    session.memory.restore = interrupted  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(KeyboardInterrupt):
        session.restore(moment)
    assert session.index == 0
    assert isinstance(session.memory, LatentSpatialMemory)
    assert len(session.memory) == began(model, image, depth=wall).memory.__len__()


def test_handlers_are_as_they_were():
    before = signal.getsignal(signal.SIGINT)
    with undisturbed(), undisturbed():
        pass
    assert signal.getsignal(signal.SIGINT) is before
