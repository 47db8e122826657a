"""Paths: where they begin, where they end, and that the camera moves as the word says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mirage.errors import InputError
from mirage.geometry import pose
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import PRESETS, dolly, orbit, pan, push_in, resampled, there_and_back, through


@pytest.fixture
def start():
    turned = pose.make_pose(pose.exp_rotation(torch.tensor([0.2, -0.5, 0.1])), torch.tensor([1.0, 2.0, 3.0]))
    return Camera.looking(c2w=turned)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("frames", [1, 2, 33, 48, 97])
def test_every_preset_begins_at_its_camera(start, name, frames):
    path = PRESETS[name](start, frames)
    assert len(path) == frames
    torch.testing.assert_close(path.c2w[0], start.c2w)
    assert pose.is_rotation(path.c2w[:, :3, :3], tolerance=1e-4).all()
    assert torch.equal(path.intrinsics, start.intrinsics.expand(frames, 4))


@pytest.mark.parametrize("name", ["there_and_back", "pan_and_return"])
@pytest.mark.parametrize("frames", [33, 97])
def test_a_return_is_exact_and_mirrors_the_way_out(start, name, frames):
    path = PRESETS[name](start, frames)
    torch.testing.assert_close(path.c2w, path.c2w.flip(0), atol=1e-6, rtol=0)
    assert not torch.allclose(path.c2w[frames // 2], path.c2w[0], atol=0.1)


def test_the_way_back_is_the_way_out_to_the_bit(start):
    loop = there_and_back(dolly(start, 9))
    assert len(loop) == 17
    assert torch.equal(loop.c2w, loop.c2w.flip(0))


def test_moves_go_where_their_names_say():
    origin = Camera.looking()
    assert dolly(origin, 5, distance=2.0).center[-1].tolist() == pytest.approx([0, 0, 2])
    assert push_in(origin, 5, distance=2.0).center[-1].tolist() == pytest.approx([0, 0, 2])
    assert dolly(origin, 5, direction=(1, 0, 0)).center[-1, 0] > 0.9
    turned = pan(origin, 5, degrees=30.0)
    assert turned.c2w[-1, 0, 2] == pytest.approx(0.5)  # the forward axis leans right
    assert not turned.center.any()
    round_it = orbit(origin, 9, degrees=50.0, radius=3.0)
    assert round_it.center[-1, 0] > 0
    uv, z = round_it.project(torch.tensor([[0.0, 0.0, 3.0]]).expand(9, 1, 3))
    torch.testing.assert_close(uv, torch.full_like(uv, 0.5))  # it keeps looking at the pivot
    torch.testing.assert_close(z, torch.full_like(z, 3.0))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 40))
def test_resampling_keeps_both_ends_and_old_frames_to_the_bit(count, frames):
    path = orbit(Camera.looking(), count)
    new = resampled(path, frames)
    assert len(new) == frames
    assert torch.equal(new.c2w[0], path.c2w[0])
    if frames > 1:
        assert torch.equal(new.c2w[-1], path.c2w[-1])
    if count > 1 and frames == 2 * count - 1:
        assert torch.equal(new.c2w[::2], path.c2w)


def test_through_key_frames_moves_the_focal_length_too():
    keys = Camera.concatenate([Camera.looking(horizontal_fov=f)[None] for f in (60.0, 90.0)])
    path = through(keys, 3)
    assert path.intrinsics[1, 0] == pytest.approx((path.intrinsics[0, 0] + path.intrinsics[2, 0]).item() / 2)


def test_nothing_to_walk_is_refused(start):
    with pytest.raises(InputError):
        pan(start, 0)
    with pytest.raises(InputError):
        pan(pan(start, 3), 3)
    with pytest.raises(InputError):
        resampled(pan(start, 3), 0)
