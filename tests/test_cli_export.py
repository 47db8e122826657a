"""`mirage export`: what other programs find in what is written of a saved world."""

import json
import shutil

import numpy as np
import pycolmap
import pytest
import torch
from plyfile import PlyData

from mirage.cli import main
from mirage.cli.export import facing
from mirage.formats.cameras import load_cameras, read_cameras
from mirage.geometry.camera import Camera
from mirage.geometry.pose import make_pose
from mirage.memory.worldfile import load_world


@pytest.fixture
def world(data_dir, tmp_path, monkeypatch):
    """The world of a walk of 9 frames: 3 latent frames, which stand at video frames 0, 4 and 8."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(data_dir / "cameras" / "export_names" / "w.safetensors", tmp_path)
    return load_world("w.safetensors")[0]


def export(capsys, *words: str) -> dict:
    assert main(["export", "w.safetensors", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_colmap_has_the_videos_frames_and_the_worlds_points(world, capsys):
    told = export(capsys, "--cameras", "model")
    assert told["numbers"] == [0, 4, 8]
    model = pycolmap.Reconstruction("model")
    images = sorted(model.images.values(), key=lambda image: image.name)
    assert [image.name for image in images] == ["frame_00000.png", "frame_00004.png", "frame_00008.png"]
    centers = np.stack([image.projection_center() for image in images])
    np.testing.assert_allclose(centers, world.cameras.center.numpy(), atol=1e-6)
    assert len(model.points3D) == len(world)
    points = np.stack([model.points3D[number].xyz for number in sorted(model.points3D)])
    np.testing.assert_allclose(points, world.points.position.numpy(), atol=1e-6)
    camera = next(iter(model.cameras.values()))
    assert (camera.height, camera.width) == (192, 256)  # the video's own
    assert main(["export", "w.safetensors", "--cameras", "model"]) == 2
    assert "cameras.txt is there already" in capsys.readouterr().err
    assert export(capsys, "--cameras", "model", "--overwrite")["numbers"] == [0, 4, 8]  # ours may be written again


def test_a_model_of_another_is_not_touched(world, capsys, tmp_path):
    export(capsys, "--cameras", "made", "--format", "colmap_bin")
    (tmp_path / "old").mkdir()
    pycolmap.Reconstruction("made").write_text("old")
    before = {file.name: file.read_bytes() for file in (tmp_path / "old").iterdir()}
    assert main(["export", "w.safetensors", "--cameras", "old"]) == 2
    said = capsys.readouterr().err.strip()
    assert "already holds a COLMAP model" in said
    assert "\n" not in said
    assert {file.name: file.read_bytes() for file in (tmp_path / "old").iterdir()} == before


@pytest.mark.parametrize(
    ("name", "format"),
    {"c.txt": "re10k", "c.json": "nerfstudio", "c.tum": "tum", "c.npz": "npz", "c.log": "log", "c": "colmap"}.items(),
)
def test_the_suffix_says_the_format(world, capsys, name, format):
    told = export(capsys, "--cameras", name)
    assert told["format"] == format
    assert read_cameras(name).format == format
    torch.testing.assert_close(load_cameras(name).center, world.cameras.center.double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--cameras c.txt --format colmap", "is the name of a file"),
        ("--cameras c.mp4", "does not say a camera format by its suffix"),
        ("--cameras no/c.txt", "does not exist"),
        ("", "nothing to export"),
    ],
)
def test_wrong_requests_leave_nothing(world, capsys, tmp_path, words, expected):
    assert main(["export", "w.safetensors", *words.split()]) == 2
    assert expected in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["w.safetensors"]


def test_another_aspect_than_the_worlds_is_told(world, capsys):
    assert export(capsys, "--cameras", "a.json", "--size", "384", "512")["warnings"] == []
    told = export(capsys, "--cameras", "b.json", "--size", "360", "640")["warnings"]
    assert len(told) == 1
    assert "480 x 360 would be square" in told[0]


def test_points_have_normals_for_the_readers_of_splatting(world, capsys):
    """fetchPly of 3D Gaussian Splatting: x y z, red green blue, nx ny nz, all there."""
    export(capsys, "--ply", "points.ply")
    vertex = PlyData.read("points.ply")["vertex"]
    positions = np.stack([vertex[name] for name in ("x", "y", "z")], axis=1)
    normals = np.stack([vertex[name] for name in ("nx", "ny", "nz")], axis=1)
    assert vertex["red"].dtype == np.uint8
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    seen_from = world.cameras.center.numpy()[vertex["frame"]]
    assert (((seen_from - positions) * normals).sum(1) > 0).all()


def test_points_face_the_camera_that_is_still_kept():
    centers = torch.tensor([[0.0, 0, 0], [10.0, 0, 0]])
    cameras = Camera(make_pose(torch.eye(3).expand(2, 3, 3), centers), Camera.looking().intrinsics)
    between, frame = torch.tensor([[5.0, 0, 0]]).expand(4, 3), torch.tensor([0, 2, 3, 9])
    normals = facing(between, frame, cameras, torch.tensor([0, 3]))
    assert normals[:, 0].tolist() == [-1, -1, 1, 1]
    assert facing(torch.zeros(0, 3), torch.zeros(0), cameras, torch.tensor([0, 3])).shape == (0, 3)
