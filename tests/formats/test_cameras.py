"""Camera files: every format we write reads back as the same cameras; real files mean what their authors say; whatever
is wrong with a file is one line of `InputError`. `F`: frames."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from helpers import refusal
from mirage.errors import InputError
from mirage.formats import load_cameras, save_cameras
from mirage.formats.cameras import Format
from mirage.geometry.camera import Camera
from mirage.geometry.pose import exp_rotation, invert, make_pose, rotation_angle

RE10K = "0 0.5 0.9 0.5 0.5 0 0 1 0 0 0 0 1 0 0 0 0 1 0"
SIZE = (48, 64)


def some_cameras(seed: int, frames: int) -> Camera:
    draw = torch.Generator().manual_seed(seed)
    normal = torch.randn(frames, 6, generator=draw, dtype=torch.float64)
    intrinsics = 0.4 + torch.rand(frames, 4, generator=draw, dtype=torch.float64)
    return Camera(make_pose(exp_rotation(2 * normal[:, :3]), 3 * normal[:, 3:]), intrinsics)


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text)
    return file


def refused(path: Path, *words: str, **options) -> None:
    refusal(load_cameras, path, words=words, **options)


# -- writing and reading back ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "name"),
    [
        ("re10k", "a.txt"),
        ("npz", "a.npz"),
        ("tum", "b.txt"),
        ("motionctrl", "b.json"),
        ("colmap", "model"),
        ("nerfstudio", "transforms.json"),
    ],
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31), frames=st.integers(1, 12), same=st.booleans())
def test_round_trip(tmp_path: Path, format: Format, name: str, seed: int, frames: int, same: bool) -> None:
    camera = some_cameras(seed, frames)
    if same or format in ("tum", "motionctrl"):
        camera = camera.with_intrinsics(camera.intrinsics[0])
    save_cameras(tmp_path / name, camera, format=format, size=SIZE)
    back = load_cameras(tmp_path / name, intrinsics=camera.intrinsics[0], dtype=torch.float64)
    expected = camera.relative_to(camera[0]) if format == "motionctrl" else camera
    assert_close(back.c2w, expected.c2w, rtol=1e-9, atol=1e-9)
    assert_close(back.intrinsics, camera.intrinsics, rtol=1e-9, atol=1e-9)


def test_colmap_shares_cameras_and_names_frames(tmp_path: Path) -> None:
    camera = some_cameras(0, 3).with_intrinsics(torch.tensor([0.5, 0.75, 0.5, 0.5], dtype=torch.float64))
    save_cameras(tmp_path / "model", camera, format="colmap", size=(480, 640), names=["c.png", "a.png", "b.png"])
    cameras = [line for line in (tmp_path / "model/cameras.txt").read_text().splitlines() if line[0] != "#"]
    assert cameras == ["1 PINHOLE 640 480 320.0 360.0 320.0 240.0"]
    assert (tmp_path / "model/points3D.txt").exists()
    back = load_cameras(tmp_path / "model", dtype=torch.float64)
    assert_close(back.center, camera.center[[1, 2, 0]])  # in the order of the names


def test_nerfstudio_axes_by_hand(tmp_path: Path) -> None:
    camera = Camera.looking()[None]  # at the origin, looking along +z with y down
    save_cameras(tmp_path / "transforms.json", camera, format="nerfstudio", size=SIZE)
    matrix = json.loads((tmp_path / "transforms.json").read_text())["frames"][0]["transform_matrix"]
    assert_close(torch.tensor(matrix) @ torch.tensor([0.0, 0.0, -1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0, 0.0]))
    assert_close(torch.tensor(matrix) @ torch.tensor([0.0, 1.0, 0.0, 0.0]), torch.tensor([0.0, -1.0, 0.0, 0.0]))


def test_nothing_is_written_for_a_wrong_request(tmp_path: Path) -> None:
    camera = some_cameras(0, 2)
    (tmp_path / "taken").write_text("mine")
    for path, options in [
        ("model", {"format": "colmap"}),
        ("x.txt", {"format": "xyz"}),
        ("no/x.txt", {"format": "tum"}),
        ("model", {"format": "colmap", "size": SIZE, "names": ["one"]}),
        ("taken", {"format": "colmap", "size": SIZE}),
    ]:
        with pytest.raises(InputError):
            save_cameras(tmp_path / path, camera, **options)
    with pytest.raises(InputError):
        save_cameras(tmp_path / "one.txt", camera[0], format="re10k")
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]


# -- conventions ----------------------------------------------------------------------------------------------------


def test_npz_says_its_convention(tmp_path: Path) -> None:
    camera = some_cameras(1, 4)
    intrinsics = camera.intrinsics.numpy()
    np.savez(tmp_path / "c2w.npz", c2w=camera.c2w.numpy(), intrinsics=intrinsics)
    np.savez(tmp_path / "w2c.npz", w2c=camera.w2c[:, :3].numpy(), intrinsics=intrinsics)
    np.savez(tmp_path / "poses.npz", poses=camera.w2c.numpy(), intrinsics=intrinsics)
    np.savez(tmp_path / "pixels.npz", c2w=camera.c2w.numpy(), K=camera.pixel_matrix(SIZE).numpy(), size=SIZE)
    for name, convention in [("c2w", None), ("w2c", None), ("poses", "w2c"), ("pixels", None), ("c2w", "c2w")]:
        back = load_cameras(tmp_path / f"{name}.npz", convention, dtype=torch.float64)
        assert_close(back.c2w, camera.c2w, rtol=1e-9, atol=1e-9)
        assert_close(back.intrinsics, camera.intrinsics, rtol=1e-9, atol=1e-9)
    refused(tmp_path / "poses.npz", "convention")
    refused(tmp_path / "c2w.npz", "contradicts", convention="w2c")
    refused(tmp_path / "c2w.npz", "accepted: w2c, c2w", convention="opencv")


def test_convention_overrules_a_text_file(tmp_path: Path) -> None:
    camera = some_cameras(2, 3)
    save_cameras(tmp_path / "a.txt", camera, format="re10k")
    forced = load_cameras(tmp_path / "a.txt", "c2w", dtype=torch.float64)
    assert_close(forced.c2w, camera.w2c, rtol=1e-9, atol=1e-9)


def test_missing_intrinsics_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write(tmp_path, "a.txt", "0 0 0 0 0 0 0 1\n")
    with caplog.at_level(logging.WARNING):
        assert_close(load_cameras(file, dtype=torch.float32).intrinsics[0], Camera.looking().intrinsics)
    assert "no intrinsics" in caplog.text
    caplog.clear()
    load_cameras(file, intrinsics=torch.tensor([1.0, 1.0, 0.5, 0.5]))
    assert not caplog.text


def test_rounded_rotations_are_repaired(tmp_path: Path) -> None:
    camera = some_cameras(3, 5)
    rows = torch.cat([camera.intrinsics, torch.zeros(5, 2), camera.w2c[:, :3].flatten(1)], dim=1).tolist()
    file = write(tmp_path, "a.txt", "\n".join(" ".join(f"{value:.3f}" for value in row) for row in rows))
    back = load_cameras(file, dtype=torch.float64)  # 18 columns, no address, three decimals
    rotation = back.c2w[:, :3, :3]
    assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64).expand(5, 3, 3), rtol=0, atol=1e-12)
    assert (rotation_angle(rotation.mT @ camera.c2w[:, :3, :3]) < 0.1).all()


# -- real files -----------------------------------------------------------------------------------------------------


def test_realestate10k_files(data_dir: Path) -> None:
    files = sorted((data_dir / "re10k_poses").glob("*.txt"))
    assert len(files) == 5
    for file in files:
        camera = load_cameras(file, dtype=torch.float64)
        assert camera.shape == (16,)
        rows = np.loadtxt(file, skiprows=1)
        w2c = torch.from_numpy(rows[:, 7:].reshape(16, 3, 4))
        # Read as world-to-camera: the camera centre is where the file's matrix sends to zero.
        seen = (w2c[:, :, :3] @ camera.center[:, :, None])[:, :, 0] + w2c[:, :, 3]
        assert seen.abs().max() < 1e-5
        assert_close(camera.intrinsics, torch.from_numpy(rows[:, 1:5]))
        # A person walks smoothly: no step is far longer than the typical one.
        steps = torch.linalg.vector_norm(camera.center.diff(dim=0), dim=-1)
        assert steps.max() < 5 * steps.median()


def test_tum_without_time_stamps(data_dir: Path) -> None:
    camera = load_cameras(data_dir / "rgbd_slambook/ch5/pose.txt", intrinsics=torch.tensor([0.8, 1.0, 0.5, 0.5])).to(
        torch.float32
    )
    assert camera.shape == (5,)
    assert_close(camera.center[0], torch.tensor([-0.228993, 0.00645704, 0.0287837]))


def test_motionctrl_moves(data_dir: Path) -> None:
    """The letters of its basic moves, in our axes: D is down (the camera falls), I zooms in, R goes right..."""
    for letter, axis, sign in [("D", 1, 1), ("U", 1, -1), ("I", 2, 1), ("O", 2, -1), ("R", 0, 1), ("L", 0, -1)]:
        camera = load_cameras(data_dir / f"motionctrl/test_camera_{letter}.json", intrinsics=torch.ones(4))
        assert camera.shape == (16,)
        move = camera.center[-1]
        assert move.abs().argmax() == axis, letter
        assert move[axis].sign() == sign, letter


def test_seven_scenes_folder(data_dir: Path) -> None:
    camera = load_cameras(data_dir / "rgbd_7scenes", dtype=torch.float32)
    assert camera.shape == (125,)
    assert_close(camera.intrinsics[0], torch.tensor([585 / 640, 585 / 480, 0.5, 0.5]))
    assert_close(camera.center[0], torch.tensor([-0.34045634, 0.01646982, 0.29656917]))


# -- wrong input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ("empty",)),
        ("\n\n  \n", ("empty",)),
        ("https://example.org/clip\n", ("text of words",)),
        (RE10K + "\n" + RE10K + " 7\n", ("line 2", "20 columns")),
        (RE10K + "\n" + RE10K.rsplit(" ", 1)[0] + "\n", ("line 2", "18 columns")),
        (RE10K.replace("0.9", "nine"), ("line 1", "nine", "not a number")),
        (RE10K.rsplit(" ", 1)[0] + " nan", ("line 1", "nan", "not finite")),
        (RE10K.rsplit(" ", 1)[0] + " -inf", ("line 1", "-inf", "not finite")),
        (RE10K.replace("0.9", "0"), ("frame 0", "focal length")),
        (RE10K.replace("0.9", "-0.9"), ("frame 0", "focal length")),
        (RE10K.replace("0.9", "485"), ("485", "not pixels")),
        (RE10K.replace("0.5 0.5 0 0", "320 240 0 0"), ("principal point", "not pixels")),
        (RE10K + "\n" + RE10K.replace("0 0 1 0", "0 0 2 0"), ("frame 1", "not a rotation")),
        (RE10K.replace("0 0 1 0", "0 0 -1 0"), ("frame 0", "not a rotation")),
        (RE10K.rsplit(" ", 1)[0] + " 1e30", ("farther",)),
        ("1 2 3 4 5\n", ("5 columns",)),
        ("0 0 0 0 0 0 0 0\n", ("line 1", "quaternion of length 0")),
        ("0 0 0 0 0 0 0 1\n0 0 0 0 1 1 1 1\n", ("line 2", "quaternion of length 2")),
    ],
)
def test_wrong_text(tmp_path: Path, content: str, words: tuple[str, ...]) -> None:
    refused(write(tmp_path, "poses.txt", content), "poses.txt", *words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", ("not JSON",)),
        ("[" * 100_000, ("not JSON",)),
        ("[]", ("no poses",)),
        ("3", ("int",)),
        ("[[1, 0, 0]]", ("frame 0", "3 values")),
        ("[[1,0,0,0, 0,1,0,0, 0,0,1,NaN]]", ("frame 0", "not finite")),
        ("[[1,0,0,0, 0,1,0,0, 0,0,1,true]]", ("frame 0", "not a number")),
        ("[[1,0,0,0, 0,1,0,0, 0,0,1,1" + "0" * 400 + "]]", ("frame 0", "not a number")),
        ("{}", ("no known camera file",)),
        ('{"frames": []}', ("no poses",)),
        ('{"frames": [4]}', ("frame 0",)),
        ('{"frames": [{}], "w": 4, "h": 4, "fl_x": 4}', ("transform_matrix",)),
        ('{"frames": [{"transform_matrix": [[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]}]}', ("lacks intrinsics",)),
        (
            '{"w": 4, "h": 4, "fl_x": 4, "frames": [{"transform_matrix": [[1,0,0,0],[0,1,0,0],[0,0,1,0],[1,0,0,1]]}]}',
            ("0 0 0 1",),
        ),
        (
            '{"camera_model": "FISHEYE", "w": 4, "h": 4, "fl_x": 4, "frames": [{"transform_matrix": '
            "[[1,0,0,0],[0,1,0,0],[0,0,1,0]]}]}",
            ("FISHEYE", "PINHOLE"),
        ),
    ],
)
def test_wrong_json(tmp_path: Path, content: str, words: tuple[str, ...]) -> None:
    refused(write(tmp_path, "poses.json", content), "poses.json", *words)


EYES, FOUR = np.tile(np.eye(4), (3, 1, 1)), np.array([0.5, 0.5, 0.5, 0.5])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, ("c2w or w2c",)),
        ({"c2w": EYES, "w2c": EYES}, ("c2w or w2c",)),
        ({"c2w": EYES[:0], "intrinsics": FOUR}, ("no poses",)),
        ({"c2w": EYES[0], "intrinsics": FOUR}, ("[4, 4]", "[F,4,4]")),
        ({"c2w": EYES * np.nan, "intrinsics": FOUR}, ("all of its 3 poses", "not finite")),
        ({"c2w": EYES * 2, "intrinsics": FOUR}, ("0 0 0 1",)),
        ({"c2w": EYES.astype(object), "intrinsics": FOUR}, ("object",)),
        ({"c2w": EYES.astype(complex), "intrinsics": FOUR}, ("complex",)),
        ({"c2w": EYES.astype(bool), "intrinsics": FOUR}, ("booleans",)),
        ({"c2w": EYES, "intrinsics": FOUR[:3]}, ("'intrinsics' is [3]",)),
        ({"c2w": EYES, "intrinsics": FOUR * np.nan}, ("frame 0", "NaN")),
        ({"c2w": EYES, "intrinsics": FOUR * 0}, ("frame 0", "focal length")),
        ({"c2w": EYES, "K": np.eye(3)}, ("size",)),
        ({"c2w": EYES, "K": np.eye(3), "size": (0, 4)}, ("size",)),
        ({"c2w": EYES, "K": np.eye(4), "size": (4, 4)}, ("'K' is [4, 4]",)),
        ({"c2w": EYES, "K": np.eye(3) + np.eye(3, k=1), "size": (4, 4)}, ("skew",)),
    ],
)
def test_wrong_npz(tmp_path: Path, arrays: dict[str, Any], words: tuple[str, ...]) -> None:
    np.savez(tmp_path / "poses.npz", **arrays)
    refused(tmp_path / "poses.npz", "poses.npz", *words)


def test_wrong_places(tmp_path: Path) -> None:
    refused(tmp_path / "none.txt", "no file", "RealEstate10K")
    refused(tmp_path / ("x" * 5000), "cannot read")
    refused(tmp_path / "nul\0.txt", "nul")
    refused(tmp_path, "COLMAP", "7-Scenes")
    refused(Path("/dev/zero"), "not a regular file")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00\x01")
    refused(tmp_path / "bytes.txt", "not text")
    (tmp_path / "not.npz").write_bytes(b"PK\x03\x04 and so on")
    refused(tmp_path / "not.npz", "not a whole .npz")
    with (tmp_path / "huge.txt").open("wb") as file:
        file.truncate(1 << 30)  # sparse: takes no space
    refused(tmp_path / "huge.txt", "1024 MiB", "64 MiB")


def test_too_many_frames(tmp_path: Path) -> None:
    refused(write(tmp_path, "a.json", "[" + "0," * 100_000 + "0]"), "100001", "at most 100000")


@pytest.mark.parametrize(
    ("cameras", "images", "words"),
    [
        ("1 PINHOLE 64 48 50 50 32 24", "", ("is empty",)),
        ("1 PINHOLE 64 48 50 50 32 24", "# nothing\n", ("no poses",)),
        ("1 LENS 64 48 50 50 32 24 0 0 0 0", "1 1 0 0 0 0 0 0 1 a.png\n", ("line 1", "LENS", "OPENCV")),
        ("1 PINHOLE 64 48 50 50 32", "1 1 0 0 0 0 0 0 1 a.png\n", ("camera 1", "3 parameters")),
        ("1 PINHOLE 0 48 50 50 32 24", "1 1 0 0 0 0 0 0 1 a.png\n", ("0 x 48",)),
        ("1 PINHOLE 64 48 50 50 32 24", "1 1 0 0 0 0 0 0 2 a.png\n", ("camera 2",)),
        ("1 PINHOLE 64 48 50 50 32 24", "1 1 0 0 0 0 0 0 1\n", ("9 columns",)),
        ("1 PINHOLE 64 48 50 50 32 24", "1 2 0 0 0 0 0 0 1 a.png\n", ("quaternion",)),
    ],
)
def test_wrong_colmap(tmp_path: Path, cameras: str, images: str, words: tuple[str, ...]) -> None:
    write(tmp_path, "cameras.txt", cameras)
    write(tmp_path, "images.txt", images)
    refused(tmp_path, *words)


WORDS = st.sampled_from(["0", "1", "-1", "0.5", "nan", "inf", "1e400", "1e-400", "#", "http://x", "x", "٣", "1_0", ""])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.one_of(
        st.lists(st.lists(WORDS, min_size=6, max_size=20).map(" ".join), max_size=4).map("\n".join),
        st.text(max_size=200),
    )
)
def test_any_text_is_read_or_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "any.txt"
    file.write_bytes(text.encode("utf-8", errors="surrogatepass"))
    read_or_refuse(file)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    document=st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=12)
            | st.dictionaries(
                st.sampled_from(["frames", "transform_matrix", "w", "h", "fl_x", "camera_angle_x", "k1", "cx"]), inner
            )
        ),
        max_leaves=40,
    )
)
def test_any_json_is_read_or_refused(tmp_path: Path, document: object) -> None:
    read_or_refuse(write(tmp_path, "any.json", json.dumps(document)))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 2000), value=st.integers(0, 255), cut=st.integers(0, 2000))
def test_a_damaged_npz_is_read_or_refused(tmp_path: Path, at: int, value: int, cut: int) -> None:
    np.savez(tmp_path / "good.npz", c2w=EYES, intrinsics=FOUR)
    data = bytearray((tmp_path / "good.npz").read_bytes())
    data[at % len(data)] = value
    (tmp_path / "any.npz").write_bytes(data[: len(data) - cut // 40])
    read_or_refuse(tmp_path / "any.npz")


def read_or_refuse(file: Path) -> None:
    camera, message = Camera.looking()[None], ""
    try:
        camera = load_cameras(file, intrinsics=torch.tensor([0.8, 0.8, 0.5, 0.5]))
    except InputError as error:
        message = str(error)
    assert "\n" not in message
    camera = camera.to(torch.float32)
    assert torch.isfinite(camera.c2w).all()
    assert torch.isfinite(camera.intrinsics).all()
    assert_close(
        invert(camera.c2w) @ camera.c2w,
        torch.eye(4).expand(len(camera), 4, 4),
        rtol=0,
        atol=1e-5 * (1 + camera.center.abs().max().item()),
    )
