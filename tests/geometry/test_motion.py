"""Laws of motions: they are what the key language says, add up, and walk on level ground."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import refusal
from mirage.formats.keys import SPEED, TURN, key_path
from mirage.geometry.camera import Camera
from mirage.geometry.motion import STEEPEST, Motion

START = Camera.looking(c2w=torch.eye(4, dtype=torch.float64))
small = st.floats(-40, 40)


@pytest.mark.parametrize(
    ("keys", "motion"),
    [
        ("w 8", Motion(forward=8 * SPEED)),
        ("a 8", Motion(right=-8 * SPEED)),
        ("e 8", Motion(up=8 * SPEED)),
        ("right 8", Motion(yaw=8 * TURN)),
        ("down 8", Motion(pitch=-8 * TURN)),
    ],
)
def test_a_motion_is_what_its_keys_are(keys, motion):
    assert torch.allclose(motion.along(START, 8).c2w, key_path(keys, START)[1:].c2w, atol=1e-6)


@settings(deadline=None)
@given(forward=small, right=small, up=small, yaw=small, pitch=small, frames=st.integers(1, 9))
def test_walking_is_level_and_poses_are_rigid(forward, right, up, yaw, pitch, frames):
    path = Motion(forward=forward, right=right, up=up, yaw=yaw, pitch=pitch).along(START, frames)
    eye = torch.eye(3, dtype=torch.float64).expand(frames, 3, 3)
    assert torch.allclose(path.c2w[:, :3, :3] @ path.c2w[:, :3, :3].mT, eye, atol=1e-9)
    assert float(path.center[-1, 1]) == pytest.approx(-up, abs=1e-6)  # y points down
    assert float(path.c2w[-1, :3, 0] @ torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)) == pytest.approx(0, abs=1e-9)


@settings(deadline=None)
@given(yaw=small, pitch=small)
def test_there_and_back_ends_where_it_began(yaw, pitch):
    out = Motion(yaw=yaw, pitch=pitch)
    back = (out * -1).along(out.along(START, 3)[-1], 5)[-1]
    assert torch.allclose(back.c2w, START.c2w, atol=1e-6)


def test_the_view_tilts_no_farther_than_it_may():
    tilted = Motion(pitch=200).along(START, 4)[-1].c2w
    assert -float(tilted[1, 2]) == pytest.approx(torch.sin(torch.deg2rad(torch.tensor(STEEPEST))).item(), abs=1e-6)
    assert not Motion()
    assert Motion(yaw=1) + Motion(forward=2) == Motion(yaw=1, forward=2)


def test_a_wrong_motion_is_refused():
    refusal(Motion, forward=float("nan"), words=["motion forward"])
    refusal(Motion().along, START[None], 1, words=["one camera"])
