"""What users of the published code and its like have: geometry.npz, ViPE's pose.npz with intrinsics.npz beside it,
poses.npy; Spatia's w2c.txt, Matrix-Game's camera.npz, trajectories of R2M-Bench."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from helpers import refusal
from mirage.formats.cameras import CameraOptions, load_cameras, read_cameras
from mirage.formats.depth import load_depth
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import orbit

SIZE = (48, 80)


@pytest.fixture
def path() -> Camera:
    return orbit(Camera.looking(horizontal_fov=60, aspect=80 / 48), 9).to(torch.float64)


@pytest.fixture
def geometry(tmp_path: Path, path: Camera) -> Path:
    """As its `_save_geometry_cache` writes it: intrinsics in pixels of processed_size, another size before."""
    depths = np.arange(1, 10, dtype=np.float32)[:, None, None] * np.ones((9, *SIZE), dtype=np.float32)
    np.savez_compressed(
        tmp_path / "geometry.npz",
        depths=depths,
        poses_c2w=path.c2w.numpy(),
        intrinsics=path.pixel_matrix(SIZE).numpy(),
        fps=np.array([16.0], dtype=np.float32),
        original_size=np.array((480, 800), dtype=np.int32),
        processed_size=np.array(SIZE, dtype=np.int32),
    )
    return tmp_path / "geometry.npz"


def test_geometry_is_a_trajectory_and_the_first_depth(geometry: Path, path: Camera) -> None:
    record = read_cameras(geometry)
    assert (record.format, record.pose, record.size, record.confidence) == ("lsm", "c2w", SIZE, "stated")
    assert_close(record.camera.c2w, path.c2w)
    assert_close(record.camera.intrinsics, path.intrinsics, atol=1e-6, rtol=0)
    depth = load_depth(geometry, size=SIZE)
    assert depth.shape == SIZE
    assert (depth.z == 1).all()


def test_a_size_that_is_not_known_is_that_of_the_depths(geometry: Path, path: Camera) -> None:
    arrays: dict[str, Any] = dict(np.load(geometry)) | {"processed_size": np.array((-1, -1))}
    np.savez(geometry, **arrays)
    assert read_cameras(geometry).size == SIZE


def test_poses_and_intrinsics_of_a_sample_lie_side_by_side(tmp_path: Path, path: Camera) -> None:
    K = path.pixel_matrix(SIZE)[0]
    K[0, 2], K[1, 2] = 40, 24
    np.savez(tmp_path / "pose.npz", data=path.c2w.numpy(), inds=np.arange(9))
    row = [K[0, 0], K[1, 1], 40, 24]
    np.savez(tmp_path / "intrinsics.npz", data=np.array([row] * 9, dtype=np.float64), inds=np.arange(9))
    record = read_cameras(tmp_path / "pose.npz")
    assert (record.format, record.size) == ("vipe", SIZE)
    assert_close(record.camera.c2w, path.c2w)
    assert_close(record.camera.intrinsics, path.intrinsics, atol=1e-6, rtol=0)
    assert_close(load_cameras(tmp_path / "intrinsics.npz").c2w, path.c2w)


@pytest.mark.parametrize("rows", [3, 4])
def test_a_bare_array_is_camera_to_world_unless_somebody_says_otherwise(
    tmp_path: Path, path: Camera, rows: int
) -> None:
    np.save(tmp_path / "poses.npy", path.c2w[:, :rows].numpy())
    record = read_cameras(tmp_path / "poses.npy")
    assert (record.format, record.pose, record.confidence, record.intrinsics) == ("npy", "c2w", "ambiguous", None)
    assert_close(record.camera.c2w, path.c2w)
    other = read_cameras(tmp_path / "poses.npy", CameraOptions(pose="w2c"))
    assert other.confidence == "stated"
    assert_close(other.camera.c2w, torch.linalg.inv(path.c2w))
    np.save(tmp_path / "poses.npy", np.zeros((9, 5)))
    refusal(load_cameras, tmp_path / "poses.npy", words=["expected"])


@pytest.mark.parametrize("rows", [3, 4])
@pytest.mark.parametrize(
    ("poses", "lens"), [("w2c.txt", "intrinsics.txt"), ("cam-extrinsic.txt", "cam-intrinsics.txt")]
)
def test_spatias_lines_of_matrices(tmp_path: Path, path: Camera, rows: int, poses: str, lens: str) -> None:
    lines = [json.dumps(pose[:rows].tolist()) for pose in path.w2c]
    (tmp_path / poses).write_text("\n".join(lines) + "\n")
    record = read_cameras(tmp_path / poses)
    assert (record.format, record.pose, record.intrinsics) == ("spatia", "w2c", None)
    assert_close(record.camera.c2w, path.c2w)
    (tmp_path / lens).write_text(f"[{' '.join(str(float(part)) for part in path.intrinsics[0])}]")
    record = read_cameras(tmp_path / poses)
    assert (record.intrinsics, record.confidence) == ("normalized", "stated")
    assert_close(record.camera.intrinsics, path.intrinsics)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda lines: [*lines[:4], lines[4][:-9], *lines[5:]], ["line 5", "3x4 or 4x4"]),
        (lambda lines: [*lines[:4], "[[1, 2], [3, 4]]"], ["line 5", "3x4 or 4x4"]),
        (lambda lines: [*lines, "[[NaN, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]"], ["line 10"]),
    ],
)
def test_a_damaged_line_of_spatia_is_named(tmp_path: Path, path: Camera, damage: Any, words: list[str]) -> None:
    lines = [json.dumps(pose.tolist()) for pose in path.w2c]
    (tmp_path / "w2c.txt").write_text("\n".join(damage(lines)))
    refusal(load_cameras, tmp_path / "w2c.txt", words=words)


def test_spatias_intrinsics_are_four(tmp_path: Path, path: Camera) -> None:
    (tmp_path / "w2c.txt").write_text("\n".join(json.dumps(pose.tolist()) for pose in path.w2c))
    (tmp_path / "intrinsics.txt").write_text("[0.8 1.4 0.5]")
    refusal(load_cameras, tmp_path / "w2c.txt", words=["3 numbers", "[fx fy cx cy]"])


@pytest.mark.parametrize("shape", [(9, 4), (4,), (3, 3), (9, 3, 3)])
def test_matrix_games_npz(tmp_path: Path, path: Camera, shape: tuple[int, ...]) -> None:
    K = path.pixel_matrix(SIZE)[0]
    K[0, 2], K[1, 2] = 40, 24  # the middle: its own code takes it for that
    value = torch.stack([K[0, 0], K[1, 1], K[0, 2], K[1, 2]]) if shape[-1] == 4 else K
    intrinsics = value.expand(shape).numpy().astype(np.float32)
    np.savez(tmp_path / "camera.npz", extrinsics_c2w=path.c2w.float().numpy(), intrinsics=intrinsics)
    record = read_cameras(tmp_path / "camera.npz")
    assert (record.format, record.pose, record.size) == ("matrix-game", "c2w", SIZE)
    assert_close(record.camera.c2w, path.c2w, atol=1e-6, rtol=0)
    assert_close(record.camera.intrinsics, path.intrinsics, atol=1e-6, rtol=0)


def test_r2m_benchs_trajectories(tmp_path: Path, path: Camera) -> None:
    K = path.pixel_matrix(SIZE)
    K[:, 0, 2], K[:, 1, 2] = 40, 24
    frames = {str(i): {"extrinsic": path.c2w[i].tolist(), "K": K[i].tolist()} for i in range(9)}
    (tmp_path / "trajectory_DDDAAA_30s.json").write_text(json.dumps(frames, indent=4))
    record = read_cameras(tmp_path / "trajectory_DDDAAA_30s.json")
    assert (record.pose, record.size) == ("c2w", SIZE)
    assert_close(record.camera.c2w, path.c2w, atol=1e-6, rtol=0)
    assert_close(record.camera.intrinsics, path.intrinsics, atol=1e-6, rtol=0)
