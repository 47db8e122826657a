"""What is done to a path: each wish changes what it names and nothing else."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.edits import (
    Edits,
    lengths,
    level,
    part,
    resampled,
    reverse,
    scaled,
    smooth,
    there_and_back,
    through,
    vertical,
)
from mirage.geometry.pose import exp_rotation, is_rotation, make_pose, rotation_about, rotation_angle
from mirage.geometry.trajectory import PRESETS, dolly, orbit, pan

paths = st.builds(lambda seed, frames: some_path(seed, frames), seed=st.integers(0, 2**20), frames=st.integers(1, 40))


def some_path(seed: int, frames: int) -> Camera:
    """A smooth walk with shake and another zoom in every frame, far from the origin; double."""
    generator = torch.Generator().manual_seed(seed)
    turns = torch.randn(frames, 3, generator=generator, dtype=torch.float64) * 0.05
    moves = torch.randn(frames, 3, generator=generator, dtype=torch.float64) * 0.1
    rotation = exp_rotation(turns.cumsum(0))
    zoom = 0.8 + 0.3 * torch.rand(frames, 1, generator=generator, dtype=torch.float64)
    middle = torch.full((frames, 2), 0.5, dtype=torch.float64)
    return Camera(make_pose(rotation, moves.cumsum(0) + 50), torch.cat([zoom, zoom * 1.5, middle], dim=1))


def rotations(path: Camera) -> torch.Tensor:
    return path.c2w[:, :3, :3]


@settings(max_examples=30, deadline=None)
@given(paths, st.integers(1, 40))
def test_resampling_keeps_both_ends_and_old_frames_to_the_bit(path, frames):
    new = resampled(path, frames)
    assert len(new) == frames
    assert torch.equal(new.c2w[0], path.c2w[0])
    assert is_rotation(rotations(new), tolerance=1e-6).all()
    if frames > 1:
        assert torch.equal(new.c2w[-1], path.c2w[-1])
    if len(path) > 1:
        assert torch.equal(resampled(path, 2 * len(path) - 1).c2w[::2], path.c2w)


def test_resampling_goes_by_stamps_where_there_are_some():
    """ORB-SLAM's key frames: a camera of constant speed, seen at uneven times."""
    at = torch.tensor([0.0, 1.0, 4.0, 5.0, 10.0])
    straight = dolly(Camera.looking(c2w=torch.eye(4, dtype=torch.float64)), 11, distance=1.0)
    keys = straight[at.long()]
    torch.testing.assert_close(resampled(keys, 11, at=at).center, straight.center)
    assert not torch.allclose(resampled(keys, 11).center, straight.center, atol=0.05)


@settings(max_examples=20, deadline=None)
@given(paths.filter(lambda path: len(path) > 2), st.integers(3, 60))
def test_by_length_every_step_is_as_long_on_a_polyline(path, frames):
    dense = resampled(path, 50 * frames)  # so fine that a chord is its arc
    new = resampled(dense, frames, at=lengths(dense))
    way = lengths(dense)[-1] / (frames - 1)
    assert (torch.linalg.vector_norm(new.center[1:] - new.center[:-1], dim=1) <= way * 1.001).all()
    due = (way * torch.arange(frames)).numpy()  # where a path comes near itself, the nearest pose says nothing
    there = np.stack([np.interp(due, lengths(dense).numpy(), along) for along in dense.center.T.numpy()])
    assert (np.linalg.norm(new.center.T.numpy() - there, axis=0) <= float(way) / 4).all()


def test_resampling_says_what_it_cannot_do():
    path = pan(Camera.looking(), 3)
    for at in (torch.tensor([0.0, 2.0, 1.0]), torch.zeros(2), torch.tensor([0.0, math.nan, 1.0])):
        with pytest.raises(InputError, match="never fall"):
            resampled(path, 5, at=at)
    with pytest.raises(InputError, match="at least one pose and one frame"):
        resampled(path, 0)
    with pytest.raises(InputError, match="does not move"):
        Edits(frames=5, by="length").apply(path)
    with pytest.raises(InputError, match="same time"):
        through(path, 5, at=torch.tensor([0.0, 0.0, 1.0]))


def test_the_way_back_is_the_way_out_to_the_bit():
    loop = there_and_back(dolly(Camera.looking(), 9))
    assert len(loop) == 17
    assert torch.equal(loop.c2w, loop.c2w.flip(0))


@settings(max_examples=30, deadline=None)
@given(paths, st.floats(0.01, 100))
def test_scale_keeps_the_first_camera_and_every_direction(path, factor):
    new = scaled(path, factor)
    assert torch.equal(new.c2w[0], path.c2w[0])
    assert torch.equal(rotations(new), rotations(path))
    way = (path.center - path.center[0]) * factor
    torch.testing.assert_close(new.center - new.center[0], way, atol=1e-11 * factor + 1e-12, rtol=1e-9)
    torch.testing.assert_close(scaled(new, 1 / factor).c2w, path.c2w)


@pytest.mark.parametrize("factor", [0.0, -1.0, math.inf, math.nan])
def test_no_other_scale(factor):
    with pytest.raises(InputError, match="above 0"):
        scaled(dolly(Camera.looking(), 3), factor)


@settings(max_examples=30, deadline=None)
@given(paths)
def test_level_takes_roll_and_nothing_else(path):
    up = torch.tensor([0.1, -1.0, 0.2], dtype=torch.float64)
    flat = level(path, up=up)
    assert is_rotation(rotations(flat), tolerance=1e-9).all()
    assert torch.equal(flat.center, path.center)
    assert torch.equal(flat.c2w[:, :3, 2], path.c2w[:, :3, 2])
    torch.testing.assert_close(flat.c2w[:, :3, 0] @ up, torch.zeros(len(path), dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(level(flat, up=up).c2w, flat.c2w)


@pytest.mark.parametrize("pitch", [0.0, -25.0])
@pytest.mark.parametrize("yaw", [0.0, 60.0])
def test_the_vertical_is_found_though_the_camera_looks_down_and_shakes(pitch, yaw):
    """A walk that turns `yaw`, looks down all the while, in a world whose up is no axis, with 2 degrees of roll."""
    frames = 40
    roll = 2.0 * torch.randn(frames, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turned = rotation_about("y", torch.linspace(0, yaw, frames, dtype=torch.float64), dtype=torch.float64)
    tilted = turned @ rotation_about("x", pitch, dtype=torch.float64)
    world = exp_rotation(torch.tensor([1.0, 0.4, -0.7], dtype=torch.float64))
    rolled = world @ tilted @ rotation_about("z", roll, dtype=torch.float64)
    path = Camera(make_pose(rolled, torch.zeros(frames, 3, dtype=torch.float64)), Camera.looking().intrinsics)
    flat = level(path)
    truth = world @ tilted
    if yaw:
        angle = torch.rad2deg(torch.arccos(vertical(path) @ -world[:, 1]))
        assert angle < 2.0
    assert rotation_angle(truth.transpose(1, 2) @ rotations(flat)).max() < 1.5
    assert rotation_angle(truth.transpose(1, 2) @ rolled).max() > 3


def test_straight_down_has_no_horizon():
    path = dolly(Camera.looking(), 3)
    down = Camera(path.c2w @ make_pose(rotation_about("x", -90.0), torch.zeros(3)), path.intrinsics)
    torch.testing.assert_close(level(down, up=torch.tensor([0.0, -1.0, 0.0])).c2w, down.c2w, atol=1e-5, rtol=0)


@settings(max_examples=30, deadline=None)
@given(paths, st.floats(0.5, 30))
def test_smoothing_moves_neither_end_and_makes_rotations(path, frames):
    calm = smooth(path, frames)
    assert is_rotation(rotations(calm), tolerance=1e-9).all()
    torch.testing.assert_close(calm.c2w[[0, -1]], path.c2w[[0, -1]], atol=1e-8, rtol=0)
    assert (calm.intrinsics[:, :2] > 0).all()


@pytest.mark.parametrize("frames", [1.0, 6.0])
def test_smoothing_leaves_an_even_walk_and_calms_a_shaken_one(frames):
    start = Camera.looking(c2w=torch.eye(4, dtype=torch.float64))
    for even in (dolly(start, 30), pan(start, 30)):
        torch.testing.assert_close(smooth(even, frames).c2w, even.c2w, atol=1e-9, rtol=0)
    even = orbit(start, 60, degrees=20)
    shake = torch.randn(60, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    shaken = Camera(even.c2w @ make_pose(exp_rotation(shake * 0.02), shake * 0.05), even.intrinsics)
    off = [(path.center - even.center)[10:-10].norm() for path in (shaken, smooth(shaken, frames))]
    turned = [
        rotation_angle(rotations(even).mT @ rotations(path))[10:-10].mean() for path in (shaken, smooth(shaken, frames))
    ]
    assert off[1] < off[0] * 0.6
    assert turned[1] < turned[0] * 0.6


@settings(max_examples=30, deadline=None)
@given(paths, st.integers(1, 80))
def test_a_fly_through_passes_every_key(path, frames):
    new = through(path, frames)
    assert len(new) == frames
    assert is_rotation(rotations(new), tolerance=1e-9).all()
    passed = through(path, 4 * (len(path) - 1) + 1)
    torch.testing.assert_close(passed.c2w[::4], path.c2w, atol=1e-9, rtol=0)
    torch.testing.assert_close(passed.intrinsics[::4], path.intrinsics)


def test_a_fly_through_has_no_kinks():
    keys = some_path(3, 6)
    fine = 200
    step = [path.center[1:] - path.center[:-1] for path in (through(keys, 5 * fine + 1), resampled(keys, 5 * fine + 1))]
    change = [(s[1:] - s[:-1]).norm(dim=1).max() for s in step]
    assert change[0] < change[1] / 20


def test_through_key_frames_moves_the_focal_length_too():
    keys = Camera.concatenate([Camera.looking(horizontal_fov=f)[None] for f in (60.0, 90.0)])
    path = through(keys, 3)
    assert path.intrinsics[1, 0] == pytest.approx((path.intrinsics[0, 0] + path.intrinsics[2, 0]).item() / 2)


def test_a_part_has_both_its_ends():
    path = dolly(Camera.looking(), 9)
    assert torch.equal(part(path, 2, 5).c2w, path.c2w[2:6])
    for first, last in ((-1, 3), (5, 4), (0, 9)):
        with pytest.raises(InputError, match="0 <= first <= last"):
            part(path, first, last)


def test_wishes_are_done_in_their_order_and_stamps_follow():
    path = some_path(0, 10)
    stamps = torch.tensor([0.0, 1, 2, 4, 5, 6, 7, 9, 10, 11], dtype=torch.float64)
    same, kept = Edits().apply(path, stamps)
    assert torch.equal(same.c2w, path.c2w)
    assert kept is not None
    assert torch.equal(kept, stamps)
    cut, kept = Edits(first=2, last=7, reverse=True).apply(path, stamps)
    assert torch.equal(cut.c2w, reverse(path).c2w[2:8])
    assert kept is not None
    assert kept.tolist() == [2, 4, 5, 6, 7, 9]  # time runs on: gaps come in the other order
    loop, kept = Edits(first=2, last=4, loop=True).apply(path, stamps)
    assert torch.equal(loop.c2w, loop.c2w.flip(0))
    assert kept is not None
    assert kept.tolist() == [2, 4, 5, 6, 8]
    new, kept = Edits(frames=12, scale=2.0).apply(path, stamps)
    assert torch.equal(new.c2w, resampled(scaled(path, 2.0), 12, at=stamps).c2w)
    assert kept is not None
    assert kept.tolist() == list(range(12))
    even, kept = Edits(frames=25, by="length", curve=True).apply(path)
    assert kept is None
    step = (even.center[1:] - even.center[:-1]).norm(dim=1)
    assert step.max() < 1.25 * step.median()
    with pytest.raises(InputError):
        Edits(by="hops")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError):
        Edits(curve=True)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_edited(name):
    path, _ = Edits(scale=0.5, level=True, smooth=2.0, frames=20, loop=True).apply(PRESETS[name](Camera.looking(), 33))
    assert len(path) == 39
    assert torch.isfinite(path.c2w).all()
