"""Paths: where they begin, where they end, and that the camera moves as the word says."""

import pytest
import torch

from mirage.errors import InputError
from mirage.formats.keys import key_path
from mirage.geometry import pose
from mirage.geometry.camera import Camera
from mirage.geometry.edits import level, resampled, smooth, there_and_back
from mirage.geometry.motion import Motion
from mirage.geometry.trajectory import PRESETS, dolly, dolly_zoom, figure_eight, orbit, pan, push_in, spiral


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
    assert torch.equal(path.intrinsics[0], start.intrinsics)
    assert name == "dolly_zoom" or torch.equal(path.intrinsics, start.intrinsics.expand(frames, 4))


CHAINED = PRESETS | {
    "keys": lambda start, frames: key_path(f"w+right {frames}, up 2, a 3", start),
    "motion": lambda start, frames: Motion(forward=0.2, yaw=20, pitch=3).along(start, frames),
    "level": lambda start, frames: level(pan(start, frames)),
    "smooth": lambda start, frames: smooth(pan(start, frames), 2),
    "resampled": lambda start, frames: resampled(orbit(start, 9), frames),
}


@pytest.mark.parametrize("name", CHAINED)
def test_a_path_that_goes_on_from_its_last_camera_stays_one(start, name):
    camera = start
    for _ in range(60):
        camera = Camera(CHAINED[name](camera, 5).c2w[-1], start.intrinsics)
    assert pose.is_rotation(camera.c2w[:3, :3], tolerance=1e-4)


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


def test_a_dolly_zoom_keeps_its_subject_and_nothing_else():
    path = dolly_zoom(Camera.looking(), 9, distance=1.5, subject=3.0)
    there = torch.tensor([[0.4, 0.2, 3.0], [-0.4, 0.2, 3.0], [0.4, 0.2, 6.0]]).expand(9, 3, 3)
    uv, _ = path.project(there)
    torch.testing.assert_close(uv[:, :2], uv[:1, :2].expand(9, 2, 2))
    assert (uv[1:, 2, 0] < uv[:-1, 2, 0] - 1e-4).all()  # what stands behind the subject shrinks away


def test_an_eight_crosses_itself_at_the_start_and_a_spiral_widens(start):
    eight = figure_eight(start, 41, width=0.5, radius=3.0).relative_to(start)
    torch.testing.assert_close(eight.center[[0, 20, 40]], torch.zeros(3, 3), atol=1e-6, rtol=0)
    assert eight.center[:, 0].max() == pytest.approx(0.5, abs=1e-3)
    assert eight.center[:, 0].min() == pytest.approx(-0.5, abs=1e-3)
    screw = spiral(start, 41, width=0.3, distance=0.5, radius=3.0).relative_to(start)
    wide = screw.center[:, :2].norm(dim=1)
    assert (wide[1:] > wide[:-1]).all()
    assert screw.center[-1].tolist() == pytest.approx([0.3, 0, 0.5], abs=1e-5)
    for path in (eight, screw):
        uv, _ = path.project(torch.tensor([[0.0, 0.0, 3.0]]).expand(41, 1, 3))
        torch.testing.assert_close(uv, torch.full_like(uv, 0.5), atol=1e-5, rtol=0)


def test_nothing_to_walk_is_refused(start):
    with pytest.raises(InputError):
        pan(start, 0)
    with pytest.raises(InputError):
        pan(pan(start, 3), 3)
    with pytest.raises(InputError, match="pass it"):
        dolly_zoom(start, 5, distance=3.0, subject=3.0)
