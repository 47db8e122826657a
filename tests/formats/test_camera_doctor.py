"""The doctor: a path in words and numbers that are its own, and a warning for each thing that is odd with it."""

import math

import pytest
import torch

from mirage.formats.cameras import CameraRecord
from mirage.formats.cameras.doctor import examined
from mirage.geometry.camera import Camera
from mirage.geometry.pose import make_pose, rotation_about
from mirage.geometry.trajectory import orbit


def record(camera: Camera, **told) -> CameraRecord:
    return CameraRecord(camera.to(torch.float64), **{"format": "kitti", "pose": "c2w", "axes": "opencv", **told})


def straight(frames: int = 11, step: tuple[float, float, float] = (0.0, 0.0, 0.1)) -> Camera:
    along = torch.arange(frames, dtype=torch.float64)[:, None] * torch.tensor(step, dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64).expand(frames, 3, 3)
    return Camera(make_pose(eye, along), Camera.looking().intrinsics)


def turned(path: Camera, axis: str, degrees: torch.Tensor) -> Camera:
    rotation = rotation_about(axis, degrees, dtype=torch.float64)
    return Camera(make_pose(path.c2w[:, :3, :3] @ rotation, path.center), path.intrinsics)


def test_a_path_as_a_person_would_say_it() -> None:
    walk = straight(81, (0.005, 0.002, 0.02))
    walk = turned(walk, "y", torch.linspace(0, -32, 81, dtype=torch.float64))
    found = examined(record(walk, times=torch.arange(81, dtype=torch.float64) / 20))
    assert found.lines[-1] == (
        "81 poses, 4 s at 20 fps; ends 0.4 right, 0.16 down and 1.6 forward of where it begins, "
        "turned 32 degrees left; level; 0.021 a frame"
    )
    assert found.warnings == ()
    ends = found.summary["ends"]
    assert [round(ends[name], 6) for name in ("right", "down", "forward", "turned")] == [0.4, 0.16, 1.6, -32]


def test_it_is_said_from_the_first_camera() -> None:
    """Wherever the world's origin is and however its axes lie, the words are the same."""
    walk = turned(straight(), "y", torch.linspace(0, 20, 11, dtype=torch.float64))
    moved = walk.moved(
        make_pose(rotation_about("x", 70.0, dtype=torch.float64), torch.tensor([5.0, 6.0, 7.0]).double())
    )
    assert examined(record(moved)).lines == examined(record(walk)).lines


def test_one_pose_and_a_path_that_stays() -> None:
    assert examined(record(straight(1))).lines[-1] == "1 pose"
    still = examined(record(straight(5, (0, 0, 0))))
    assert "stays where it is, not turned" in still.lines[-1]
    assert still.warnings == ()


def test_an_orbit_is_level_even_from_a_tilted_start() -> None:
    tilted = Camera.looking(c2w=make_pose(rotation_about("x", -20.0, dtype=torch.float64), torch.zeros(3).double()))
    walk = orbit(Camera.looking(c2w=torch.eye(4, dtype=torch.float64)), 30, degrees=60.0)
    assert "level" in examined(record(walk)).lines[-1]
    tilt = Camera(walk.c2w @ tilted.c2w, walk.intrinsics)  # every camera looks down by as much: no roll
    assert "level" in examined(record(tilt)).lines[-1]


@pytest.mark.parametrize(
    ("camera", "told", "words"),
    [
        (turned(straight(), "z", torch.linspace(0, 30, 11, dtype=torch.float64)), {}, "rolls up to"),
        (straight(11, (0, 0, 35.0)), {}, "do not look like metres"),
        (straight(11, (0, 0, 1e-5)), {}, "do not look like metres"),
        (straight(11, (0, 0, -0.1)), {}, "backwards"),
        (straight(11, (0.1, 0, 0)), {}, "ned or ros"),
        (straight(11, (0, 0.1, 0)), {}, "vertical"),
        (straight(11, (0.1, 0, 0)), {"confidence": "stated"}, None),
        (straight(3), {"times": torch.tensor([0.0, 1.0, 5.0])}, "unevenly spaced"),
        (
            straight().with_intrinsics(torch.tensor([0.8, 4.0, 0.5, 0.5], dtype=torch.float64)),
            {"intrinsics": "normalized"},
            "times as wide",
        ),
        (
            straight().with_intrinsics(torch.tensor([0.1, 0.1, 0.5, 0.5], dtype=torch.float64)),
            {"intrinsics": "normalized"},
            "field of view",
        ),
    ],
)
def test_what_is_odd_is_told(camera: Camera, told: dict, words: str | None) -> None:
    found = examined(record(camera, **told))
    if words is None:
        assert found.warnings == ()
    else:
        assert any(words in warning for warning in found.warnings), found.warnings


def test_jumps_are_told_with_their_place() -> None:
    walk = straight(12)
    walk.c2w[7:, 0, 3] += 3
    assert any("between poses 6 and 7" in warning for warning in examined(record(walk)).warnings)
    spin = turned(straight(12), "y", torch.tensor([0.0] * 8 + [90.0] * 4, dtype=torch.float64))
    assert any("turns 90 degrees at once between poses 7 and 8" in w for w in examined(record(spin)).warnings)


def test_a_mirrored_axis_is_told() -> None:
    """A walk round a corner, with the x of its positions but not of its rotations mirrored."""
    angle = torch.linspace(0, 120, 40, dtype=torch.float64)
    rotation = rotation_about("y", angle, dtype=torch.float64)
    center = torch.cumsum(0.1 * rotation[:, :, 2], dim=0)
    right = Camera(make_pose(rotation, center), Camera.looking().intrinsics)
    assert not any("mirrored" in warning for warning in examined(record(right)).warnings)
    wrong = Camera(make_pose(rotation, center * torch.tensor([-1.0, 1.0, 1.0]).double()), right.intrinsics)
    assert any("mirrored" in warning for warning in examined(record(wrong)).warnings)


def test_field_of_view() -> None:
    camera = straight().with_intrinsics(torch.tensor([0.5, 0.5 / math.sqrt(3) * 3, 0.5, 0.5], dtype=torch.float64))
    found = examined(record(camera, intrinsics="pixels", pixel_centers="half", size=(480, 640)))
    assert found.summary["fov"] == pytest.approx([90, 60])
    assert "90 x 60 degrees of 640 x 480 images" in found.lines[1]
