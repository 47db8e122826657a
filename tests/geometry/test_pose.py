"""Poses against scipy, and at the places where formulas break: no turn, half a turn."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from mirage.geometry import pose

vectors = st.tuples(*[st.floats(-3.1, 3.1)] * 3).map(lambda v: torch.tensor(v, dtype=torch.float64))


@settings(max_examples=60, deadline=None)
@given(vectors)
def test_exp_log_and_quaternions_agree_with_scipy(vector):
    rotation = pose.exp_rotation(vector)
    reference = Rotation.from_rotvec(vector.numpy())
    np.testing.assert_allclose(rotation.numpy(), reference.as_matrix(), atol=1e-9)
    w, xyz = pose.quaternion(rotation)
    quat = torch.cat([xyz, w[None]])
    torch.testing.assert_close(pose.rotation_from_quaternion(quat), rotation)
    torch.testing.assert_close(pose.exp_rotation(pose.log_rotation(rotation)), rotation, atol=1e-6, rtol=0)
    assert bool(pose.is_rotation(rotation))


@settings(max_examples=40, deadline=None)
@given(vectors, vectors, st.floats(0, 1))
def test_interpolation_is_slerp(one, two, fraction):
    start, end = pose.exp_rotation(one), pose.exp_rotation(two)
    if float(pose.rotation_angle(start.T @ end)) > 179:
        return  # half a turn has two shortest ways
    between = pose.interpolate(
        pose.make_pose(start, torch.zeros(3, dtype=torch.float64)),
        pose.make_pose(end, torch.ones(3, dtype=torch.float64)),
        torch.tensor([fraction], dtype=torch.float64),
    )
    key = Slerp([0, 1], Rotation.from_matrix(np.stack([start.numpy(), end.numpy()])))
    np.testing.assert_allclose(between[0, :3, :3].numpy(), key(fraction).as_matrix(), atol=1e-6)
    torch.testing.assert_close(between[0, :3, 3], torch.full((3,), fraction, dtype=torch.float64))


@pytest.mark.parametrize("degrees", [0.0, 1e-7, 90.0, 179.999999, 180.0])
@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_angles_at_the_edges(axis, degrees):
    rotation = pose.rotation_about(axis, degrees, dtype=torch.float64)
    assert float(pose.rotation_angle(rotation)) == pytest.approx(degrees, abs=1e-5)


def test_signs_of_yaw_pitch_and_roll():
    forward, right = torch.tensor([0.0, 0, 1]), torch.tensor([1.0, 0, 0])
    assert (pose.rotation_about("y", 10) @ forward)[0] > 0  # yaw turns right
    assert (pose.rotation_about("x", 10) @ forward)[1] < 0  # pitch looks up: y points down
    assert (pose.rotation_about("z", 10) @ right)[1] > 0  # roll tips the right side down


@settings(max_examples=30, deadline=None)
@given(vectors, vectors)
def test_look_at_puts_the_target_ahead_and_the_sky_up(eye, target):
    if torch.linalg.vector_norm((target - eye)[[0, 2]]) < 0.1:
        return
    found = pose.look_at(eye, target)
    assert bool(pose.is_rotation(found[:3, :3]))
    local = pose.invert(found) @ torch.cat([target, torch.ones(1, dtype=torch.float64)])
    torch.testing.assert_close(local[:2], torch.zeros(2, dtype=torch.float64), atol=1e-6, rtol=0)
    assert local[2] > 0
    assert found[1, 1] > 0  # the camera's down has a downward part


def test_looking_straight_up_is_still_a_rotation():
    found = pose.look_at(torch.zeros(3), torch.tensor([0.0, -1.0, 0.0]))
    assert bool(pose.is_rotation(found[:3, :3]))


@settings(max_examples=30, deadline=None)
@given(vectors, vectors)
def test_invert_undoes(one, two):
    there = pose.make_pose(pose.exp_rotation(one), two)
    torch.testing.assert_close(there @ pose.invert(there), torch.eye(4, dtype=torch.float64))


def test_mirrors_and_scales_are_no_rotations():
    assert not pose.is_rotation(torch.diag(torch.tensor([1.0, 1.0, -1.0])))
    assert not pose.is_rotation(1.01 * torch.eye(3))
    torch.testing.assert_close(pose.orthonormalised(1.01 * torch.eye(3)), torch.eye(3))


@settings(max_examples=30, deadline=None)
@given(vectors, st.sampled_from([torch.float32, torch.float64]))
def test_a_rotation_stays_as_it_is(turn, dtype):
    """To the bit: what is read twice, or compared with its file, has not moved."""
    rotation = pose.orthonormalised(pose.exp_rotation(turn).to(dtype))
    assert torch.equal(pose.orthonormalised(rotation), rotation)
    angle = float(turn.norm())
    c, s = math.cos(angle), math.sin(angle)
    told = torch.tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]], dtype=dtype)
    assert torch.equal(pose.orthonormalised(told), told)
