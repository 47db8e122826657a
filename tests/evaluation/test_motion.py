"""Motion from pixels alone: what the camera truly did comes out, and what cannot be told is not told."""

import pytest
import torch
from torch.nn.functional import normalize

from mirage.evaluation.motion import camera_motion, fitted_motion, fitted_turn
from mirage.geometry.pose import exp_rotation, rotation_about, rotation_angle
from mirage.geometry.trajectory import pan
from mirage.worlds import World

SIZE = (96, 128)
EVERYWHERE = torch.ones(SIZE, dtype=torch.bool)


@pytest.fixture(scope="module")
def turning() -> tuple[torch.Tensor, torch.Tensor]:
    """Two views [2,3,H,W] of a camera that turned 5 degrees to the right, and its intrinsics."""
    world = World.sample(3)
    path = pan(world.path("walk", 1)[0], 2, degrees=5.0)
    return world.render(path, SIZE).rgb, path.intrinsics[0]


def test_a_true_turn_is_found(turning):
    views, intrinsics = turning
    found = camera_motion(views[0], views[1], intrinsics, where=(EVERYWHERE, EVERYWHERE), turning_only=True)
    assert found is not None
    right = rotation_about("y", 5.0, dtype=torch.float64)
    assert rotation_angle(right.T @ found.rotation) < 0.3
    assert found.direction is None
    assert 8 <= found.inliers <= found.matches
    commanded = rotation_about("y", -3.0, dtype=torch.float64)  # another command than what was done
    assert rotation_angle(commanded.T @ found.rotation) == pytest.approx(8, abs=0.3)


def test_only_the_pixels_asked_for_count(turning):
    views, intrinsics = turning
    torn = views[1].clone()
    torn[:, :48] = views[0, :, :48]  # the upper half stands still
    upper = torch.zeros(SIZE, dtype=torch.bool)
    upper[:48] = True
    still = camera_motion(views[0], torn, intrinsics, where=(upper, upper), turning_only=True)
    moved = camera_motion(views[0], torn, intrinsics, where=(~upper, ~upper), turning_only=True)
    assert still is not None
    assert moved is not None
    assert rotation_angle(still.rotation) < 0.5
    assert rotation_angle(moved.rotation) == pytest.approx(5, abs=0.5)


def test_what_cannot_be_told_is_not_told(turning):
    views, intrinsics = turning
    noise = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    for first, second in (noise, (views[0], noise[0]), (torch.full_like(views[0], 0.5), views[1])):
        assert camera_motion(first, second, intrinsics, where=(EVERYWHERE, EVERYWHERE), turning_only=True) is None
    nowhere = ~EVERYWHERE
    assert camera_motion(views[0], views[1], intrinsics, where=(nowhere, nowhere), turning_only=True) is None


@pytest.mark.parametrize("flat", [False, True])
def test_turn_and_direction_are_fitted_in_spite_of_outliers_and_walls(flat):
    """300 points, all on one wall or not, a fifth of them matched wrongly."""
    generator = torch.Generator().manual_seed(4)
    points = torch.rand(300, 3, generator=generator, dtype=torch.float64) * torch.tensor([6.0, 4.0, 4.0])
    points += torch.tensor([-3.0, -2.0, 2.0])
    if flat:
        points[:, 2] = 4 + 0.4 * points[:, 0]
    rotation = exp_rotation(torch.tensor([0.02, 0.08, -0.01], dtype=torch.float64))
    t = torch.tensor([0.25, -0.02, 0.15], dtype=torch.float64)
    a, b = normalize(points, dim=1), normalize((points - t) @ rotation, dim=1)
    b[:60] = b[:60].roll(1, 0)
    near = 0.01
    turn, _ = fitted_turn(a, b, near)
    found, direction, agree = fitted_motion(a, b, turn, near)
    assert rotation_angle(rotation.T @ found) < (0.3 if flat else 0.1)
    assert torch.rad2deg(torch.acos((direction * normalize(t, dim=0)).sum())) < (5 if flat else 2)
    assert 240 <= int(agree.sum()) < 290


def test_a_turn_alone_is_fitted_exactly():
    generator = torch.Generator().manual_seed(5)
    b = normalize(torch.randn(50, 3, generator=generator, dtype=torch.float64), dim=1)
    rotation = exp_rotation(torch.tensor([0.1, -0.4, 0.2], dtype=torch.float64))
    a = b @ rotation.T
    a[:15] = a[:15].roll(1, 0)
    found, agree = fitted_turn(a, b, 0.005)
    assert torch.allclose(found, rotation, atol=1e-9)
    assert int(agree.sum()) == 35
