"""The key language and the one way in for trajectories: keys move the camera as they say, and mistakes are told."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from mirage.errors import InputError
from mirage.formats.cameras import load_cameras
from mirage.formats.keys import KEYS, Press, key_path, parse_keys
from mirage.formats.trajectories import load_trajectory, square_pixels
from mirage.geometry.camera import Camera
from mirage.geometry.pose import exp_rotation, is_rotation, make_pose, rotation_angle
from mirage.geometry.trajectory import PRESETS

START = Camera.looking(
    c2w=make_pose(
        exp_rotation(torch.tensor([0.3, -0.7, 0.2], dtype=torch.float64)),
        torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64),
    )
)
ORIGIN = Camera.looking(c2w=torch.eye(4, dtype=torch.float64))
OPPOSITE = {"w": "s", "a": "d", "e": "q", "left": "right", "up": "down"}


def test_each_key_does_what_it_says() -> None:
    def end(text: str) -> Camera:
        return key_path(text, ORIGIN, speed=0.5, turn=10)[-1]

    for key, where in [
        ("w", (0, 0, 1)),
        ("s", (0, 0, -1)),
        ("a", (-1, 0, 0)),
        ("d", (1, 0, 0)),
        ("e", (0, -1, 0)),
        ("q", (0, 1, 0)),
        ("stay", (0, 0, 0)),
    ]:
        assert_close(end(f"{key} 2").center, torch.tensor(where, dtype=torch.float64))
    for key, axis, sign in [("right", 0, 1), ("left", 0, -1), ("down", 1, 1), ("up", 1, -1)]:
        forward = end(f"{key} 3").c2w[:3, 2]
        assert_close(forward[axis], torch.tensor(sign * 0.5, dtype=torch.float64))  # sine of 30 degrees
        assert forward[2] > 0


def test_counts_are_frames_after_the_start() -> None:
    path = key_path("w 31, right 10", START)
    assert len(path) == 42
    assert_close(path.c2w[0], START.c2w, rtol=0, atol=0)
    assert_close(path.center[1:32].diff(dim=0).norm(dim=-1), torch.full((30,), 0.05, dtype=torch.float64))
    assert_close(path.center[32:], path.center[31].expand(10, 3))
    assert_close(rotation_angle(path.c2w[31, :3, :3].T @ path.c2w[41, :3, :3]), torch.tensor(20.0, dtype=torch.float64))


def test_walking_stays_level_and_the_head_stays_on() -> None:
    path = key_path("up 100, w+left 20, down 300, w 20", ORIGIN)
    assert path.center[:, 1].abs().max() < 1e-9
    assert (path.c2w[:, 1, 1] > 0).all()  # the camera's down keeps pointing down
    assert path.c2w[:, 1, 0].abs().max() < 1e-9  # and its horizon stays level


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(OPPOSITE)), st.integers(1, 12)), min_size=1, max_size=6))
def test_every_walk_is_undone_by_its_opposite(walk: list[tuple[str, int]]) -> None:
    out = [f"{key} {count}" for key, count in walk]
    back = [f"{OPPOSITE[key]} {count}" for key, count in reversed(walk)]
    if sum(count for key, count in walk if key == "up") * 2.0 > 85:  # the tilt stops; no walk back from there
        return
    path = key_path(", ".join(out + back), START)
    assert is_rotation(path.c2w[:, :3, :3], tolerance=1e-9).all()
    assert_close(path.c2w[-1], START.c2w, rtol=0, atol=1e-9)
    assert_close(path.c2w.flip(0), path.c2w, rtol=0, atol=1e-9)


def test_the_language() -> None:
    assert parse_keys(" W 3,Right10;w+left-4\nstay 1") == (
        Press(("w",), 3),
        Press(("right",), 10),
        Press(("w", "left"), 4),
        Press(("stay",), 1),
    )
    for text in (
        "",
        "w",
        "3",
        "w 0",
        "x 3",
        "w 3,",
        "w -3 3",
        "w 3.5",
        "w+ 3",
        "w 9999999",
        "w ٣",
        "w 3 a 4",
        "w++a 3",
    ):
        with pytest.raises(InputError, match="expected keys"):
            parse_keys(text)
    with pytest.raises(InputError, match="at most 100000"):
        parse_keys("w 60000, s 60000")
    for options in ({"speed": 0}, {"speed": float("nan")}, {"turn": -1}, {"turn": float("inf")}):
        with pytest.raises(InputError, match="got speed"):
            key_path("w 3", START, **options)


@given(st.text(alphabet="wasdqe+-,; 0123leftrigh", max_size=30))
def test_any_text_is_keys_or_refused(text: str) -> None:
    message = ""
    try:
        assert all(set(press.keys) <= KEYS.keys() and press.frames > 0 for press in parse_keys(text))
    except InputError as error:
        message = str(error)
    assert "\n" not in message


# -- trajectories by whatever was typed -----------------------------------------------------------------------------


def test_a_trajectory_starts_where_it_is_told(data_dir: Path) -> None:
    clip = data_dir / "re10k_poses/0bf152ef84195293.txt"
    file = load_cameras(clip, dtype=torch.float64)
    for spec in (str(clip), clip, *PRESETS, "w 20, left 10"):
        path = load_trajectory(spec, start=START, frames=13)
        assert path.shape == (13,)
        assert path.c2w.dtype == torch.float64
        assert_close(path.c2w[0], START.c2w, rtol=0, atol=1e-12)
    path = load_trajectory(clip, start=START)
    assert_close(path.intrinsics, file.intrinsics)
    assert_close(path.relative_to(path[0]).c2w, file.relative_to(file[0]).c2w, rtol=0, atol=1e-9)


def test_as_many_frames_as_asked_for(data_dir: Path) -> None:
    clip = data_dir / "re10k_poses/0bf152ef84195293.txt"
    assert len(load_trajectory("orbit", start=START)) == 49
    with pytest.raises(InputError, match=r"asked for 17 frames .* has 16"):
        load_trajectory(clip, start=START, frames=17)
    ends = load_trajectory(clip, start=START, frames=31, resample=True)  # by its time stamps, which are not even
    assert_close(ends.c2w[[0, -1]], load_trajectory(clip, start=START).c2w[[0, -1]], rtol=0, atol=0)
    unstamped = data_dir / "motionctrl/test_camera_Round-ZoomIn.json"
    longer = load_trajectory(unstamped, start=START, frames=31, resample=True)
    assert_close(longer.c2w[::2], load_trajectory(unstamped, start=START).c2w, rtol=0, atol=0)
    for frames in (0, -4, 10**9):
        with pytest.raises(InputError, match="expected 1 to"):
            load_trajectory("orbit", start=START, frames=frames)


def test_files_without_intrinsics_take_those_of_the_start(data_dir: Path) -> None:
    path = load_trajectory(data_dir / "motionctrl/test_camera_R.json", start=START)
    assert_close(path.intrinsics[3], START.intrinsics)


def test_nothing_of_that_name() -> None:
    with pytest.raises(InputError, match=r"not a file, not a preset \(orbit, .*not keys"):
        load_trajectory("orbitt", start=START)
    with pytest.raises(InputError, match=r"not a key and a number"):
        load_trajectory("w 3, jump 4", start=START)
    for spec in ("", "a.txt", "no/such/file.json", "w 3.txt", "nul\0"):
        with pytest.raises(InputError, match="no trajectory"):
            load_trajectory(spec, start=START)


def test_square_pixels() -> None:
    wide = Camera.looking(horizontal_fov=90, aspect=16 / 9)
    seen = square_pixels(wide, (480, 640))
    K = seen.pixel_matrix((480, 640))
    assert_close(K[0, 0], K[1, 1])
    assert_close(seen.intrinsics[1], wide.intrinsics[1])
