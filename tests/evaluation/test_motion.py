"""Motion from pixels alone: what the camera truly did comes out, and what cannot be told is not told."""

import pytest
import torch
from torch.nn.functional import normalize

from mirage.evaluation.motion import (
    Matches,
    Motion,
    camera_motion,
    find_matches,
    fitted_pose,
    fitted_turn,
    rotation_drift,
)
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.pose import exp_rotation, invert, make_pose, rotation_about, rotation_angle
from mirage.geometry.trajectory import pan
from mirage.scenes import Scene

SIZE = (96, 128)
EVERYWHERE = torch.ones(SIZE, dtype=torch.bool)


@pytest.fixture(scope="module")
def turning() -> tuple[torch.Tensor, torch.Tensor]:
    """Two views [2,3,H,W] of a camera that turned 5 degrees to the right, and its intrinsics."""
    scene = Scene.sample(3)
    path = pan(scene.path("walk", 1)[0], 2, degrees=5.0)
    return scene.render(path, SIZE).rgb, path.intrinsics[0]


def moved_by(first, second, intrinsics, *, where, depth) -> Motion | None:
    found = find_matches(first, second, intrinsics, where=where, depth=depth)
    return None if found is None else camera_motion(found)


def test_a_true_turn_is_found(turning):
    views, intrinsics = turning
    found = moved_by(views[0], views[1], intrinsics, where=(EVERYWHERE, EVERYWHERE), depth=None)
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
    still = moved_by(views[0], torn, intrinsics, where=(upper, upper), depth=None)
    moved = moved_by(views[0], torn, intrinsics, where=(~upper, ~upper), depth=None)
    assert still is not None
    assert moved is not None
    assert rotation_angle(still.rotation) < 0.5
    assert rotation_angle(moved.rotation) == pytest.approx(5, abs=0.5)


def test_what_cannot_be_told_is_not_told(turning):
    views, intrinsics = turning
    noise = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    for first, second in (noise, (views[0], noise[0]), (torch.full_like(views[0], 0.5), views[1])):
        assert moved_by(first, second, intrinsics, where=(EVERYWHERE, EVERYWHERE), depth=None) is None
    nowhere = ~EVERYWHERE
    assert moved_by(views[0], views[1], intrinsics, where=(nowhere, nowhere), depth=None) is None


def test_a_true_step_back_is_found_in_a_strip():
    """Of the left quarter of the picture alone, from depth of a coarse grid and of another scale."""
    scene, size = Scene.sample(1), (192, 256)
    path = scene.path("walk", 65)[[60, 56]]
    view = scene.render(path, size)
    strip = torch.zeros(size, dtype=torch.bool)
    strip[:, :64] = True
    depth = view.depth[0].resized((48, 64)).scaled(1.3)
    found = moved_by(view.rgb[0], view.rgb[1], path.intrinsics[0], where=(strip, strip), depth=depth)
    assert found is not None
    true = invert(path.c2w[0].double()) @ path.c2w[1].double()
    assert rotation_angle(true[:3, :3].T @ found.rotation) < 0.5
    assert found.direction is not None
    assert found.direction @ normalize(true[:3, 3], dim=0) > 0.9
    nowhere = DepthMap(depth.z, torch.zeros_like(depth.valid))
    assert moved_by(view.rgb[0], view.rgb[1], path.intrinsics[0], where=(strip, strip), depth=nowhere) is None


@pytest.mark.parametrize("scale", [1.0, 0.7])
@pytest.mark.parametrize("flat", [False, True])
def test_turn_and_direction_are_fitted_in_spite_of_outliers_and_walls(flat, scale):
    """300 points, all on one wall or not, a fifth of them matched wrongly, with depth to any scale."""
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
    found, moved, agree = fitted_pose(points * scale, b, turn, near)
    assert rotation_angle(rotation.T @ found) < 0.01
    assert torch.allclose(moved, t * scale, atol=1e-4)
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


def pairs_with(drift, *, wrong: int = 0, seen: float = 1.0) -> list[tuple[Matches, torch.Tensor, int]]:
    """Matches of three pairs of a camera that steps and turns as commanded, and besides turns by `drift` a frame; so
    many of a hundred are wrong. `seen`: the scale of the depth."""
    generator = torch.Generator().manual_seed(6)
    pairs = []
    for frames in (4, 4, 8):
        points = torch.rand(100, 3, generator=generator, dtype=torch.float64) * 4 + torch.tensor([-2.0, -2.0, 2.0])
        turn = exp_rotation(frames * torch.tensor([0.002, 0.01, 0.0], dtype=torch.float64))
        commanded = make_pose(turn, frames * torch.tensor([0.01, 0.0, -0.03], dtype=torch.float64))
        there = (points - commanded[:3, 3]) @ turn @ exp_rotation(frames * drift)
        there[:wrong] = there[:wrong].roll(1, 0)
        pairs.append(
            (Matches(normalize(points, dim=1), normalize(there, dim=1), points * seen, 0.01), commanded, frames)
        )
    return pairs


@pytest.mark.parametrize("drift", [(0.0, 0.0, 0.0), (0.004, -0.02, 0.003)])
def test_a_drift_beside_the_commanded_motion_is_found_in_spite_of_wrong_matches(drift):
    drift = torch.tensor(drift, dtype=torch.float64)
    found = rotation_drift(pairs_with(drift, wrong=25))
    assert found is not None
    assert torch.allclose(found.turn, drift, atol=1e-4)
    assert 225 <= found.inliers < 300 == found.matches


def test_a_drift_is_told_only_where_most_matches_agree():
    none = torch.zeros(3, dtype=torch.float64)
    assert rotation_drift([]) is None
    assert rotation_drift(pairs_with(none, wrong=70)) is None


def test_depth_to_another_scale_makes_a_small_drift_of_a_step():
    """A tenth of a step of 0.03 at a depth of two to six, not more than a tenth of a degree a frame."""
    found = rotation_drift(pairs_with(torch.zeros(3, dtype=torch.float64), seen=1.1))
    assert found is not None
    assert found.turn.norm() < 0.0017
