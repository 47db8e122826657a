"""Camera files as the tools of the field write them: each is read as its tool means it, or refused in one line. The
files are in data/cameras; each folder's README says what is right. `F`: poses."""

import json
import logging
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from helpers import refusal
from mirage.errors import InputError
from mirage.formats.cameras import CameraOptions, CameraRecord, load_cameras, read_cameras
from mirage.formats.cameras.poses import AXES
from mirage.formats.cameras.record import Axes, Quaternion
from mirage.formats.footage import find_footage
from mirage.formats.trajectories import load_trajectory
from mirage.geometry.camera import Camera
from mirage.geometry.pose import exp_rotation, invert, make_pose, quaternion
from mirage.natural import natural

FULL = (0.8, 0.8 * 4 / 3, 0.5, 0.5)


@pytest.fixture(scope="module")
def cases(data_dir: Path) -> Path:
    return data_dir / "cameras"


@pytest.fixture(scope="module")
def truth(cases: Path) -> Tensor:
    return torch.from_numpy(np.load(cases / "truth.npz")["c2w"])


def relative(record: CameraRecord) -> Tensor:
    return record.camera.relative_to(record.camera[0]).c2w


def some_path(frames: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    normal = torch.randn(frames, 6, generator=draw, dtype=torch.float64)
    poses = make_pose(exp_rotation(0.5 * normal[:, :3]), normal[:, 3:])
    poses[0] = torch.eye(4, dtype=torch.float64)
    return poses


def refused(path: Path, *words: str, **options) -> None:
    refusal(read_cameras, path, CameraOptions(**options), words=words)


# -- every handed case ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "format", "pose", "axes", "intrinsics"),
    [
        ("ac3d_json/camera_info.json", "ac3d", "w2c", "opencv", FULL),
        ("blender_no_size/transforms_train.json", "blender", "c2w", "opengl", FULL),
        ("da3_npz/results.npz", "da3", "w2c", "opencv", FULL),
        ("distorted_path/transforms.json", "nerfstudio", "c2w", "opengl", FULL),
        ("euroc/data.csv", "euroc", "c2w", "opencv", None),
        ("georef_float32/path.tum", "tum", "c2w", "opencv", None),
        ("gs_cameras_json/cameras.json", "3dgs", "c2w", "opencv", FULL),
        ("kitti/00.txt", "kitti", "c2w", "opencv", None),
        ("lyra_npz/trajectory.npz", "lyra", "w2c", "opencv", FULL),
        ("megasam_npz/clip_droid.npz", "megasam", "c2w", "opencv", FULL),
        ("names_str_array/poses.npz", "npz", "c2w", "opencv", FULL),
        ("ns_angle_y/transforms.json", "nerfstudio", "c2w", "opengl", (0.78125, 1.25, 0.5, 0.5)),
        ("ns_camera_path/camera_path.json", "camera_path", "c2w", "opengl", (0.60314, 1.07225, 0.5, 0.5)),
        ("ns_distortion_params/transforms.json", "nerfstudio", "c2w", "opengl", FULL),
        ("open3d_traj/path.json", "open3d", "w2c", "opencv", FULL),
        ("open3d_traj/path.log", "log", "c2w", "opencv", None),
        ("opensfm/reconstruction.json", "opensfm", "w2c", "opencv", FULL),
        ("poses_bounds/poses_bounds.npy", "llff", "c2w", "opengl", FULL),
        ("recam/camera_extrinsics.json", "recammaster", "c2w", "unreal", None),
        ("tartanair_ned/pose_left.txt", "tum", "c2w", "ned", None),
        ("tum_wxyz/pred_traj.txt", "tum", "c2w", "opencv", None),
        ("worldplay/pose.json", "worldplay", "c2w", "opencv", (0.505052, 0.89787, 0.5, 0.5)),
    ],
)
def test_a_tools_file_is_the_true_path(
    cases: Path, truth: Tensor, file: str, format: str, pose: str, axes: str, intrinsics: tuple[float, ...] | None
) -> None:
    record = read_cameras(cases / file)
    assert (record.format, record.pose, record.axes) == (format, pose, axes)
    assert_close(relative(record), truth, rtol=0, atol=2e-6)
    if intrinsics is None:
        assert record.intrinsics is None
    else:
        assert_close(record.camera.intrinsics[0], torch.tensor(intrinsics, dtype=torch.float64), rtol=0, atol=1e-5)


def test_georeferenced_paths_keep_their_metres_by_default(cases: Path, truth: Tensor) -> None:
    camera = load_cameras(cases / "georef_float32/path.tum")
    assert_close(camera.relative_to(camera[0]).c2w, truth, rtol=0, atol=1e-5)
    start = Camera.looking()
    assert_close(load_trajectory(cases / "georef_float32/path.tum", start=start).c2w.double(), truth, rtol=0, atol=1e-5)


def test_colmap_binary(cases: Path) -> None:
    record = read_cameras(cases / "colmap_bin_rigs")
    steps = torch.arange(5, dtype=torch.float64)[:, None]
    assert_close(record.camera.center, steps * torch.tensor([0.3, 0.05, 0.5], dtype=torch.float64))
    assert record.names == tuple(f"img_{i:03d}.jpg" for i in range(5))


def test_colmap_frames_overrule_images_and_that_is_said(cases: Path) -> None:
    record = read_cameras(cases / "colmap_frames_overrule_images")
    assert_close(record.camera.center[1], torch.tensor([0.3, 0.05, 0.5], dtype=torch.float64))
    assert any("frames" in words and "img_001.jpg" in words for words in record.warnings)


def test_a_rig_of_two_cameras_is_asked_about(cases: Path) -> None:
    refused(cases / "colmap_rig_two_cameras", "cam1", "cam2", "option camera")
    refused(cases / "colmap_rig_two_cameras", "cam3", "cam1", camera="cam3")
    first, second = (read_cameras(cases / "colmap_rig_two_cameras", CameraOptions(camera=c)) for c in ("cam1", "cam2"))
    assert len(first.camera) == len(second.camera) == 3
    assert first.size == (480, 640)
    assert second.size == (600, 800)
    between = [invert(a) @ b for a, b in zip(second.camera.c2w, first.camera.c2w, strict=True)]
    assert_close(torch.stack(between), between[0].expand(3, 4, 4))  # it is a rig
    assert_close(
        read_cameras(cases / "colmap_rig_two_cameras", CameraOptions(camera="2")).camera.c2w, second.camera.c2w
    )


def test_stripped_blank_lines_are_refused(cases: Path) -> None:
    refused(cases / "colmap_stripped_blank_lines", "line 6", "blank lines")


def test_a_big_model_is_read_without_its_keypoints(cases: Path, tmp_path: Path) -> None:
    points = " ".join(f"{i / 7:.6f} {i / 3:.6f} {i if i % 3 else -1}" for i in range(12_000))
    lines = [f"{i + 1} 1 0 0 0 0 0 {-0.1 * i} 1 f_{i:04d}.jpg\n{points}\n" for i in range(200)]
    (tmp_path / "images.txt").write_text("".join(lines))
    (tmp_path / "cameras.txt").write_text("1 PINHOLE 640 480 500 500 320 240\n")
    assert (tmp_path / "images.txt").stat().st_size > 50 << 20
    camera = read_cameras(tmp_path).camera
    assert_close(camera.center[:, 2], torch.arange(200, dtype=torch.float64) / 10)


def test_two_focal_lengths_are_asked_about(cases: Path) -> None:
    file = cases / "ns_both_focal/transforms.json"
    refused(file, "500", "600", "nerfstudio", "instant-ngp", "option")
    for name, focal in (("nerfstudio", 500), ("instant-ngp", 600)):
        record = read_cameras(file, CameraOptions(read_as=name))
        assert record.camera.intrinsics[0, 0].item() == pytest.approx(focal / 640)


def test_what_is_no_perspective_is_refused(cases: Path) -> None:
    refused(cases / "ns_equirect/transforms.json", "equirectangular", "PINHOLE")


def test_a_lens_matters_to_images_and_not_to_a_path(cases: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("distorted_path", "ns_distortion_params"):
        file = cases / name / "transforms.json"
        with caplog.at_level(logging.WARNING):
            load_cameras(file)
        assert "distorted" in caplog.text
        caplog.clear()
        with pytest.raises(InputError, match="distortion"):
            load_cameras(file, lens="images")


def test_lost_frames_are_told_and_bridged_on_request(cases: Path) -> None:
    folder = cases / "scannet"
    record = read_cameras(folder)
    assert record.names == tuple(str(i) for i in range(12) if i != 5)
    assert any("lost 1 of 12 poses (5)" in words for words in record.warnings)
    bridged = read_cameras(folder, CameraOptions(bridge_lost=True))
    assert len(bridged.camera) == 12
    assert_close(bridged.camera.center[5], (bridged.camera.center[4] + bridged.camera.center[6]) / 2)
    assert any("bridged" in words for words in bridged.warnings)
    assert bridged.size == (968, 1296)


def test_names_without_zeros_are_in_order_of_their_numbers(cases: Path) -> None:
    record = read_cameras(cases / "unpadded_names/transforms.json")
    assert record.names == tuple(f"images/frame_{i}.png" for i in range(12))
    steps = record.camera.center.diff(dim=0).norm(dim=-1)
    assert steps.sum().item() == pytest.approx(2.28, abs=0.01)
    assert any("nerfstudio 1.1.5" in words for words in record.warnings)


def test_pictures_keep_their_cameras(cases: Path) -> None:
    footage = find_footage(cases / "footage_unpadded")["clip"]
    grey = footage.frames(range(36)).float().mean((1, 2, 3))
    assert_close(grey, 7.0 * torch.arange(36), rtol=0, atol=0.6)
    assert len(footage.camera()) == 36


def test_uneven_stamps_are_kept(cases: Path) -> None:
    record = read_cameras(cases / "tum_irregular/KeyFrameTrajectory.txt")
    assert record.times is not None
    assert record.times.tolist() == [0, 1, 4, 5, 10]
    assert_close(record.camera.center[:, 2], record.times / 10)


# -- the kinds that the cases stand for -----------------------------------------------------------------------------


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=20), st.integers(0, 12))
def test_natural_order_counts(numbers: list[int], width: int) -> None:
    names = [f"a/f_{number:0{width}d}.png" for number in numbers]
    assert [int(name[4:-4]) for name in sorted(names, key=natural)] == sorted(numbers)
    assert sorted(["x" + "9" * 6000, "x1"], key=natural)[0] == "x1"


@pytest.mark.parametrize("order", ["xyzw", "wxyz", "yzwx"])
def test_a_first_identity_tells_the_quaternions_order(tmp_path: Path, order: Quaternion) -> None:
    poses = some_path(6)
    w, xyz = quaternion(poses[:, :3, :3])
    both = dict(zip("xyzw", [*xyz.T, w], strict=True))
    columns = torch.stack([torch.arange(6.0), *poses[:, :3, 3].T, *(both[letter] for letter in order)], dim=1)
    np.savetxt(tmp_path / "path.txt", columns.numpy(), fmt="%.12f")
    record = read_cameras(tmp_path / "path.txt")
    assert record.quaternion == order
    assert_close(record.camera.c2w, poses, rtol=0, atol=1e-9)
    assert (record.confidence == "usual") == (order == "xyzw")
    assert any("identity" in words for words in record.warnings) == (order != "xyzw")
    turned = poses @ make_pose(exp_rotation(torch.tensor([0.1, 0.05, 0.0]).double()), torch.zeros(3).double())
    w, xyz = quaternion(turned[:, :3, :3])
    both = dict(zip("xyzw", [*xyz.T, w], strict=True))
    columns = torch.stack([torch.arange(6.0), *poses[:, :3, 3].T, *(both[letter] for letter in order)], dim=1)
    np.savetxt(tmp_path / "path.txt", columns.numpy(), fmt="%.12f")
    if order == "wxyz":  # nearly the identity or nearly a half turn: as likely, so asked
        refused(tmp_path / "path.txt", "quaternion", "wxyz", "xyzw")
    told = read_cameras(tmp_path / "path.txt", CameraOptions(quaternion=order))
    assert told.confidence == "stated"
    assert_close(told.camera.c2w, turned, rtol=0, atol=1e-9)


@pytest.mark.parametrize("axes", ["opencv", "opengl", "ned", "ros", "unreal"])
def test_axes_can_be_said(tmp_path: Path, axes: Axes) -> None:
    """A path in other camera axes, made by hand from vectors: what is forward, right and down in them."""
    poses = some_path(5)
    turn = AXES[axes]  # columns: our right, down, forward in theirs
    theirs = turn @ poses @ turn.T
    np.savetxt(tmp_path / "poses.txt", theirs[:, :3].flatten(1).numpy(), fmt="%.12f")
    record = read_cameras(tmp_path / "poses.txt", CameraOptions(axes=axes))
    assert_close(relative(record), poses, rtol=0, atol=1e-9)


def test_axes_by_hand() -> None:
    forward = {"opencv": (0, 0, 1), "opengl": (0, 0, -1), "ned": (1, 0, 0), "ros": (1, 0, 0), "unreal": (1, 0, 0)}
    right = {"opencv": (1, 0, 0), "opengl": (1, 0, 0), "ned": (0, 1, 0), "ros": (0, -1, 0), "unreal": (0, 1, 0)}
    down = {"opencv": (0, 1, 0), "opengl": (0, -1, 0), "ned": (0, 0, 1), "ros": (0, 0, -1), "unreal": (0, 0, -1)}
    for axes, turn in AXES.items():
        for column, meaning in enumerate((right, down, forward)):
            assert turn[:3, column].tolist() == list(meaning[axes]), axes


def test_a_mirrored_path_is_told_and_unreal_reads_it(tmp_path: Path) -> None:
    mirrored = some_path(4) @ torch.diag(torch.tensor([1.0, 1.0, -1.0, 1.0], dtype=torch.float64))
    np.savez(tmp_path / "p.npz", c2w=mirrored.numpy(), intrinsics=np.array([1.0, 1.0, 0.5, 0.5]))
    refused(tmp_path / "p.npz", "mirrored", "unreal")
    assert len(read_cameras(tmp_path / "p.npz", CameraOptions(axes="unreal")).camera) == 4


def test_stamps_are_sorted_and_said(tmp_path: Path) -> None:
    lines = [f"{t} 0 0 {t} 0 0 0 1" for t in (0.0, 2.0, 1.0, 3.0)]
    (tmp_path / "p.txt").write_text("\n".join(lines))
    record = read_cameras(tmp_path / "p.txt")
    assert record.camera.center[:, 2].tolist() == [0, 1, 2, 3]
    assert any("sorted" in words for words in record.warnings)


def test_the_first_pose_on_open3ds_comment_line(tmp_path: Path) -> None:
    head = "# TUM trajectory, format: <t> <x> <y> <z> <qx> <qy> <qz> <qw>"
    (tmp_path / "p.txt").write_text(head + "0 1 2 3 0 0 0 1\n1 2 2 3 0 0 0 1\n")
    record = read_cameras(tmp_path / "p.txt")
    assert record.camera.center[:, 0].tolist() == [1, 2]
    assert any("comment line" in words for words in record.warnings)


@pytest.mark.parametrize(
    ("model", "values", "lens"),
    [
        ("OPENCV", "500 510 320 240 0 0 0 0", False),
        ("OPENCV", "500 510 320 240 0.1 0 0 0", True),
        ("SIMPLE_RADIAL", "500 320 240 0", False),
        ("SIMPLE_RADIAL", "500 320 240 0.2", True),
        ("FULL_OPENCV", "500 510 320 240 0 0 0 0 0 0 0 0", False),
        ("OPENCV_FISHEYE", "500 510 320 240 0 0 0 0", True),
        ("FOV", "500 510 320 240 0.5", True),
    ],
)
def test_a_lens_of_zeros_is_a_pinhole(tmp_path: Path, model: str, values: str, lens: bool) -> None:
    (tmp_path / "cameras.txt").write_text(f"7 {model} 640 480 {values}\n")
    (tmp_path / "images.txt").write_text("3 1 0 0 0 0 0 0 7 a.png\n\n")
    record = read_cameras(tmp_path)
    assert (record.lens is not None) == lens
    assert record.camera.intrinsics[0, 0].item() == pytest.approx(500 / 640)


def test_pycolmap_agrees_on_text_and_binary_rigs(cases: Path, tmp_path: Path) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    model = pycolmap.Reconstruction(cases / "colmap_rig_two_cameras")
    model.write_binary(tmp_path)
    for name in ("cam1", "cam2"):
        record = read_cameras(tmp_path, CameraOptions(camera=name))
        assert record.names is not None
        for pose, image in zip(record.camera.w2c, record.names, strict=True):
            found = next(own for own in model.images.values() if own.name == image)
            assert_close(pose[:3], torch.from_numpy(found.cam_from_world().matrix()), rtol=0, atol=1e-9)


def test_projects_are_found_below_their_folder(cases: Path, tmp_path: Path) -> None:
    shutil.copytree(cases / "colmap_bin_rigs", tmp_path / "project/sparse/0")
    assert len(read_cameras(tmp_path / "project").camera) == 5
    assert len(read_cameras(tmp_path / "project/sparse/0/images.bin").camera) == 5


def test_what_ns_process_data_leaves(cases: Path, tmp_path: Path) -> None:
    shutil.copytree(cases / "colmap_bin_rigs", tmp_path / "colmap/sparse/0")
    shutil.copy(cases / "unpadded_names/transforms.json", tmp_path)
    assert read_cameras(tmp_path).format == "nerfstudio-folder"


def test_left_and_right_in_one_folder(tmp_path: Path) -> None:
    (tmp_path / "cameras.txt").write_text("".join(f"{i} PINHOLE 640 480 500 500 320 240\n" for i in (1, 2)))
    lines = [f"{2 * i + c} 1 0 0 0 {c} 0 {i} {c} {'lr'[c - 1]}_{i}.png\n\n" for i in range(3) for c in (1, 2)]
    (tmp_path / "images.txt").write_text("".join(lines))
    refused(tmp_path, "1 (3 images)", "2 (3 images)", "option camera")
    assert read_cameras(tmp_path, CameraOptions(camera="2")).names == ("r_0.png", "r_1.png", "r_2.png")
    alone = [f"{i} 1 0 0 0 0 0 {i} {1 + i % 2} f_{i}.png\n\n" for i in range(6)]  # a camera per image is no rig
    (tmp_path / "images.txt").write_text("".join(alone))
    assert len(read_cameras(tmp_path).camera) == 6


def test_swapped_sizes_are_refused(tmp_path: Path) -> None:
    K = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    np.savez(tmp_path / "p.npz", c2w=some_path(3).numpy(), K=K, size=(640, 480))
    refused(tmp_path / "p.npz", "swapped", "(H, W)")
    record = read_cameras(tmp_path / "p.npz", CameraOptions(size=(480, 640)))
    assert_close(record.camera.intrinsics[0, 2:], torch.tensor([0.5, 0.5], dtype=torch.float64))
    np.savez(
        tmp_path / "p.npz",
        c2w=some_path(3).numpy(),
        K=K + np.array([[0, 0, 200], [0, 0, 0], [0, 0, 0]]),
        size=(480, 640),
    )
    assert any("principal point" in words for words in read_cameras(tmp_path / "p.npz").warnings)


def test_two_formats_at_once_are_asked_about(cases: Path, tmp_path: Path) -> None:
    shutil.copytree(cases / "colmap_bin_rigs", tmp_path / "both")
    shutil.copy(cases / "unpadded_names/transforms.json", tmp_path / "both")
    refused(tmp_path / "both", "COLMAP", "transforms.json", "'colmap'", "read-as")
    assert len(read_cameras(tmp_path / "both", CameraOptions(read_as="colmap")).camera) == 5
    refused(tmp_path / "both", "unknown camera format", read_as="colnap")


@pytest.mark.parametrize("old", [True, False])
def test_key_frames_by_rows_and_by_columns(cases: Path, truth: Tensor, tmp_path: Path, old: bool) -> None:
    document = json.loads((cases / "ns_camera_path/camera_path.json").read_text())
    document["camera_path"] = []
    opengl = truth @ AXES["opengl"]
    flat = (opengl.mT if old else opengl).flatten(1).tolist()
    document["keyframes"] = [{"matrix": json.dumps(row) if old else row, "fov": 50, "aspect": 1} for row in flat]
    (tmp_path / "camera_path.json").write_text(json.dumps(document))
    assert_close(relative(read_cameras(tmp_path / "camera_path.json")), truth, rtol=0, atol=1e-9)


def test_npz_of_vggt_gen3c_and_vipe(truth: Tensor, tmp_path: Path) -> None:
    w2c, K = invert(truth).numpy(), np.array([[51.2, 0, 32], [0, 51.2, 24], [0, 0, 1]])
    Ks = np.tile(K, (9, 1, 1))
    np.savez(tmp_path / "vggt.npz", extrinsic=w2c[None, :, :3], intrinsic=Ks[None], images=np.zeros((1, 9, 3, 48, 64)))
    np.savez(tmp_path / "camera.npz", w2c=w2c, intrinsics=Ks)
    for name in ("vggt", "camera"):
        record = read_cameras(tmp_path / f"{name}.npz")
        assert_close(relative(record), truth, rtol=0, atol=1e-9)
        assert_close(record.camera.intrinsics[0], torch.tensor(FULL, dtype=torch.float64))
    for folder in ("pose", "intrinsics"):
        (tmp_path / "vipe" / folder).mkdir(parents=True)
    kept = np.array([0, 1, 2, 4, 5, 6, 7, 8])
    np.savez(tmp_path / "vipe/pose/film.npz", data=truth.numpy()[kept], inds=kept)
    rows = np.tile([51.2, 51.2, 32, 24], (8, 1))
    np.savez(tmp_path / "vipe/intrinsics/film.npz", data=rows, inds=kept)
    for path in ("vipe", "vipe/pose/film.npz", "vipe/intrinsics/film.npz"):
        record = read_cameras(tmp_path / path)
        assert_close(relative(record), truth[kept], rtol=0, atol=1e-9)
        assert_close(record.camera.intrinsics[0], torch.tensor(FULL, dtype=torch.float64))
        assert any("lost 1 of 9 poses (3)" in words for words in record.warnings)


def test_record3d_and_polycam(truth: Tensor, tmp_path: Path) -> None:
    opengl = truth @ AXES["opengl"]
    w, xyz = quaternion(opengl[:, :3, :3])
    rows = torch.cat([xyz, w[:, None], opengl[:, :3, 3]], dim=1).tolist()
    told = {"poses": rows, "K": [512, 0, 0, 0, 512, 0, 320, 240, 1], "w": 640, "h": 480}
    text = json.dumps({**told, "frameTimestamps": [i / 30 for i in range(9)]})
    (tmp_path / "export/rgb").mkdir(parents=True)
    (tmp_path / "export/metadata.json").write_text(text)
    with zipfile.ZipFile(tmp_path / "walk.r3d", "w") as archive:
        archive.writestr("metadata", text)
        archive.writestr("rgbd/0.jpg", b"picture")
    (tmp_path / "poly/keyframes/cameras").mkdir(parents=True)
    for index, pose in enumerate(opengl.tolist()):
        camera = {f"t_{i}{j}": pose[i][j] for i in range(3) for j in range(4)}
        camera |= {"fx": 512, "fy": 512, "cx": 320, "cy": 240, "width": 640, "height": 480}
        (tmp_path / f"poly/keyframes/cameras/{index}00.json").write_text(json.dumps(camera))
    for name in ("export", "export/metadata.json", "walk.r3d", "poly"):
        record = read_cameras(tmp_path / name)
        assert_close(relative(record), truth, rtol=0, atol=1e-9)
        assert_close(record.camera.intrinsics[0], torch.tensor(FULL, dtype=torch.float64))
        assert record.axes == "opengl"


def test_kapture(truth: Tensor, tmp_path: Path) -> None:
    sensors = tmp_path / "sensors"
    sensors.mkdir()
    (sensors / "sensors.txt").write_text(
        "# kapture format: 1.1\ncam, phone, camera, PINHOLE, 640, 480, 512, 512, 320, 240\n"
    )
    w2c = invert(truth)
    w, xyz = quaternion(w2c[:, :3, :3])
    rows = torch.cat([w[:, None], xyz, w2c[:, :3, 3]], dim=1).tolist()
    lines = [f"{10 * i}, cam, {', '.join(map(repr, row))}" for i, row in enumerate(rows)]
    (sensors / "trajectories.txt").write_text("# kapture format: 1.1\n" + "\n".join(lines[::-1]))
    record = read_cameras(tmp_path)
    assert record.format == "kapture"
    assert_close(relative(record), truth, rtol=0, atol=1e-9)
    assert_close(record.camera.intrinsics[0], torch.tensor(FULL, dtype=torch.float64))
    away = "rig, cam, 1, 0, 0, 0, 0, 0, 1\nrig, cam2, 1, 0, 0, 0, 0, 0, 0\n"
    (sensors / "rigs.txt").write_text(away)
    (sensors / "sensors.txt").write_text("cam, , camera, PINHOLE, 640, 480, 512, 512, 320, 240\ncam2, , camera\n")
    (sensors / "trajectories.txt").write_text("0, rig, 1, 0, 0, 0, 0, 0, 0\n")
    refused(tmp_path, "cam2", "option camera")
    single = read_cameras(tmp_path, CameraOptions(camera="cam"))
    assert single.camera.center[0].tolist() == [0, 0, -1]


def test_worldscore_and_worldplays_string(tmp_path: Path) -> None:
    forward = [[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -0.1 * i], [0, 0, 0, 1]] for i in range(5)]
    (tmp_path / "camera_data.json").write_text(
        json.dumps({"focal_length": 500, "cameras_interp": forward, "cameras": []})
    )
    record = read_cameras(tmp_path / "camera_data.json")
    assert_close(relative(record)[-1, :3, 3], torch.tensor([0, 0, 0.4], dtype=torch.float64))
    for name, text in (("p.txt", "w-3, right-2"), ("p.json", '"w-3, right-2"')):
        (tmp_path / name).write_text(text)
        path = read_cameras(tmp_path / name).camera
        assert len(path) == 6
        assert_close(path.center[-1], torch.tensor([0, 0, 0.24], dtype=torch.float64))
        assert path.c2w[-1, 0, 2].item() == pytest.approx(np.sin(np.radians(6)))
    (tmp_path / "keys.txt").write_text("w 3\nright 2\n")
    assert read_cameras(tmp_path / "keys.txt").format == "keys"


def test_two_folders_in_one_transforms_json(cases: Path, tmp_path: Path) -> None:
    document = json.loads((cases / "unpadded_names/transforms.json").read_text())
    for index, frame in enumerate(document["frames"]):
        frame["file_path"] = f"{'left' if index % 2 else 'right'}/{index}.png"
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    refused(tmp_path / "transforms.json", "left (6 images)", "right (6 images)", "option camera")
    assert len(read_cameras(tmp_path, CameraOptions(camera="left")).camera) == 6


def test_every_format_is_in_the_documentation() -> None:
    from mirage.formats.cameras.readers import OURS

    page = (Path(__file__).resolve().parents[2] / "docs/cameras.md").read_text()
    missing = [format.name for format in OURS if f"`{format.name}`" not in page]
    assert not missing
    assert len({format.name for format in OURS}) == len(OURS)


def test_a_resampled_path_goes_by_its_stamps(cases: Path) -> None:
    start = Camera.looking(c2w=torch.eye(4, dtype=torch.float64))
    file = cases / "tum_irregular/KeyFrameTrajectory.txt"
    path = load_trajectory(file, start=start, frames=11, resample=True)
    assert_close(path.center[:, 2], torch.arange(11, dtype=torch.float64) / 10)
