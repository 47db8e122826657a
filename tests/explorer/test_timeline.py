"""Moments of a walk: each can be gone back to, few hold the decoder's state, and frames come as they are decoded."""

import pytest
import torch

from helpers import refusal, wall
from mirage.explorer.timeline import EXACT, MOST, Moment, Timeline
from mirage.geometry.camera import Camera
from mirage.geometry.motion import Motion
from mirage.rollout import Session


@pytest.fixture
def session(model, image):
    return Session(model, image, camera=Camera.looking(), depth=wall)


def moment(number, parent, session):
    path = Motion(yaw=1).along(session.camera, 4)
    return Moment(number, parent, session.snapshot(), (b"x",), path, "")


def test_a_line_leads_from_the_beginning_and_branches_are_apart(model, session):
    timeline = Timeline(model)
    for number, parent in enumerate((None, 0, 1, 0, 3)):
        timeline.add(moment(number, parent, session))
    assert [one.number for one in timeline.line(2)] == [0, 1, 2]
    assert [one.number for one in timeline.line(4)] == [0, 3, 4]
    assert timeline.current == 4
    refusal(timeline.line, 9, words=["no chunk"])
    refusal(timeline.back_to, "0", words=["no chunk"])


def test_old_moments_are_light_and_very_old_ones_only_seen(model, session):
    timeline = Timeline(model)
    session.step(Motion(yaw=2).along(session.camera, 4))
    own = session.snapshot().state.end
    for number in range(MOST + 3):
        timeline.add(moment(number, None if not number else number - 1, session))
    held = [one for one in timeline.moments.values() if one.snapshot is not None and one.snapshot.state.end is own]
    assert len(held) == EXACT
    assert timeline.back_to(MOST + 2)[0].number == MOST + 2
    refusal(timeline.back_to, 0, words=["only be looked at"])


def test_a_light_moment_goes_on_with_the_same_latents(session):
    session.step(Motion(yaw=2).along(session.camera, 4))
    there = session.snapshot()
    path = Motion(forward=0.1).along(session.camera, 4)
    exact = session.step(path)
    session.restore(there.light(session.model))
    again = session.step(path)
    assert torch.equal(again.latents, exact.latents)
    assert again.frames.shape == exact.frames.shape


def test_frames_are_shown_as_they_are_decoded(session):
    chunk = session.step(Motion(yaw=5).along(session.camera, 8))

    def tired(piece):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chunk.decode(tired)
    pieces = []
    frames = chunk.decode(pieces.append)
    assert [len(piece) for piece in pieces] == [1, 4, 4]
    assert torch.equal(torch.cat(pieces), frames)
    assert torch.equal(chunk.frames, frames)
    assert torch.allclose(session.model.decode(chunk.latents), frames, atol=1e-6)
