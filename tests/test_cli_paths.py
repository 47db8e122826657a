"""`mirage camera`: paths drawn, edited, settled by pictures, and written in every format."""

import json
import shutil
from pathlib import Path
from typing import get_args

import pycolmap
import pytest
import torch

from mirage.cli import main
from mirage.cli.arguments.files import CameraFormat
from mirage.formats.cameras import Format, load_cameras, read_cameras, save_cameras
from mirage.formats.cameras.writers import WRITERS
from mirage.formats.image import load_image
from mirage.geometry.camera import Camera
from mirage.geometry.edits import level, resampled, reverse, scaled, smooth, there_and_back, through
from mirage.geometry.trajectory import orbit


@pytest.fixture
def path(tmp_path, monkeypatch) -> Camera:
    """path.json, nine frames of 480 x 640 with names, and what is in it."""
    monkeypatch.chdir(tmp_path)
    save_cameras("path.json", orbit(Camera.looking(aspect=4 / 3), 9, degrees=60), size=(480, 640))
    return load_cameras("path.json")


def camera(capsys, *words: str) -> dict:
    assert main(["camera", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_what_can_be_typed_is_what_can_be_written():
    assert get_args(CameraFormat) == get_args(Format)


@pytest.mark.parametrize("format", WRITERS)
def test_every_format_can_be_asked_for(path, capsys, format):
    out = f"out{WRITERS[format].suffix or ''}"
    assert camera(capsys, "path.json", "--out", out, "--convert", format)["wrote"] == out
    if format != "da3":  # known by the depth in its files
        back = read_cameras(out).camera
        torch.testing.assert_close(back.c2w, path.c2w, atol=1e-6, rtol=0)  # begins at the origin


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--from 2 --to 5", lambda path: path[2:6]),
        ("--path-scale 2.5", lambda path: scaled(path, 2.5)),
        ("--level", level),
        ("--smooth", lambda path: smooth(path, 4.0)),
        ("--smooth --smooth-frames 2", lambda path: smooth(path, 2.0)),
        ("--resample 17", lambda path: resampled(path, 17)),
        ("--resample 17 --fly-through", lambda path: through(path, 17)),
        ("--reverse", reverse),
        ("--loop", there_and_back),
        ("--loop --from 3 --reverse", lambda path: there_and_back(reverse(path[3:]))),
    ],
)
def test_the_path_is_edited(path, capsys, words, expected):
    told = camera(capsys, "path.json", *words.split(), "--out", "out.npz")
    wanted = expected(path)
    torch.testing.assert_close(load_cameras("out.npz").c2w, wanted.c2w, atol=1e-9, rtol=0)
    assert told["frames"] == 9
    assert told["edited"]["frames"] == len(wanted)


def test_key_frames_of_a_tracker_are_resampled_by_their_stamps(data_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = str(data_dir / "cameras" / "tum_irregular" / "KeyFrameTrajectory.txt")
    camera(capsys, file, "--resample", "11", "--out", "out.tum")
    back = read_cameras("out.tum")
    way = (back.camera.center - back.camera.center[0]).norm(dim=1)
    torch.testing.assert_close(way, torch.arange(11, dtype=torch.float64) / 10, atol=1e-6, rtol=0)
    assert back.times is not None
    torch.testing.assert_close(back.times.diff(), torch.ones(10, dtype=torch.float64), atol=1e-5, rtol=0)


def test_names_times_and_size_of_the_file_are_kept(path, capsys):
    camera(capsys, "path.json", "--from", "4", "--to", "6", "--out", "model")
    images = pycolmap.Reconstruction("model").images.values()
    assert sorted(image.name for image in images) == [f"frame_{number:05d}.png" for number in (4, 5, 6)]
    assert next(iter(images)).camera.width == 640
    camera(capsys, "path.json", "--resample", "5", "--out", "even.json")
    frames = json.loads(Path("even.json").read_text())["frames"]
    assert [frame["file_path"] for frame in frames] == [f"frame_{number:05d}.png" for number in range(5)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--from 5 --to 3", "0 <= first <= last"),
        ("--to 9", "0 <= first <= last"),
        ("--path-scale 0", "above 0"),
        ("--path-scale nan", "above 0"),
        ("--smooth --smooth-frames 0", "above 0"),
        ("--resample 0", "at least one"),
        ("--fly-through", "number of frames"),
        ("--format tum", "--out"),
        ("--out out.mp4", "suffix"),
        ("--out no/out.tum", "does not exist"),
        ("--preview no/out.png", "does not exist"),
        ("--images nowhere", "nowhere"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(path, capsys, tmp_path, words, expected):
    assert main(["camera", "path.json", *words.split()]) == 2
    said = capsys.readouterr().err.strip()
    assert expected in said
    assert "\n" not in said
    assert [file.name for file in tmp_path.iterdir()] == ["path.json"]


def test_the_preview_is_drawn(path, capsys):
    assert camera(capsys, "path.json", "--preview", "path.png")["preview"] == "path.png"
    assert load_image("path.png").shape == (3, 720, 1280)


# -- pictures ----------------------------------------------------------------------------------------------------


@pytest.fixture
def clip(data_dir, tmp_path, monkeypatch) -> str:
    """A real clip and its poses: said right, and as KITTI, which does not say its convention, right and inverted."""
    monkeypatch.chdir(tmp_path)
    name = "0bf152ef84195293"
    shutil.copy(data_dir / "re10k_poses" / f"{name}.mp4", "clip.mp4")
    true = load_cameras(data_dir / "re10k_poses" / f"{name}.txt")
    save_cameras("right.npz", true)
    save_cameras("usual.txt", true, format="kitti")
    save_cameras("inverse.txt", Camera(true.w2c, true.intrinsics), format="kitti")
    return "clip.mp4"


def test_pictures_agree_with_a_file_that_is_right(clip, capsys):
    told = camera(capsys, "right.npz", "--images", clip)
    assert told["images"]["decided"] == "c2w, opencv axes"
    assert told["pose"] == "c2w"


def test_pictures_settle_what_the_file_cannot_say(clip, capsys):
    """Poses w2c in a format that is usually c2w, and no intrinsics: 65 degrees are assumed, the clip has 93."""
    assert main(["camera", "inverse.txt", "--images", clip, "--out", "out.npz"]) == 0
    assert "its pictures settle it" in capsys.readouterr().out
    torch.testing.assert_close(load_cameras("out.npz").center, load_cameras("right.npz").center, atol=1e-6, rtol=0)


def test_a_person_is_not_overruled(clip, capsys):
    told = camera(capsys, "inverse.txt", "--convention", "c2w", "--axes", "opencv", "--images", clip)
    assert told["pose"] == "c2w"
    assert told["images"]["decided"] is None


def test_other_pictures_than_poses_are_refused(path, clip, capsys):
    assert main(["camera", "path.json", "--images", clip]) == 2
    assert "16 frames and the path 9 poses" in capsys.readouterr().err
