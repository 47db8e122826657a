"""Every format that is written: read back by our own readers, by hypothesis, and by other people's programs, with the
camera centres and viewing directions that went in."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pycolmap
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from mirage.errors import InputError
from mirage.formats.cameras import CameraOptions, Format, load_cameras, read_cameras, save_cameras
from mirage.formats.cameras.save import BY_SUFFIX, writer_of
from mirage.formats.cameras.writers import WRITERS
from mirage.formats.ply import Points
from mirage.geometry.camera import Camera
from mirage.geometry.pose import exp_rotation, make_pose

SIZE = (360, 640)
CENTRED = ("camera_path", "3dgs", "llff", "worldplay")  # they have no place for a principal point
RELATIVE = ("motionctrl",)
ROUNDED = {"tum": 1e-6, "re10k": 1e-6, "euroc": 1e-9}  # seconds


def some_path(seed: int, frames: int, *, one_lens: bool, plain: bool, dtype: torch.dtype = torch.float64) -> Camera:
    """A path far out with any rotations, half-turns too; `plain`: square pixels, the centre in the middle."""
    draw = torch.Generator().manual_seed(seed)
    turns = torch.nn.functional.normalize(torch.randn(frames, 3, generator=draw, dtype=torch.float64), dim=1)
    angles = torch.rand(frames, 1, generator=draw, dtype=torch.float64) * math.pi
    angles[torch.rand(frames, 1, generator=draw) < 0.1] = math.pi
    centers = torch.randn(frames, 3, generator=draw, dtype=torch.float64) * 30
    focal = 0.4 + 2 * torch.rand(1 if one_lens else frames, 1, generator=draw, dtype=torch.float64)
    center = 0.5 + (0.0 if plain else 0.2) * (torch.rand(len(focal), 2, generator=draw, dtype=torch.float64) - 0.5)
    aspect = SIZE[1] / SIZE[0] * (1.0 if plain else 1.01)
    intrinsics = torch.cat([focal, focal * aspect, center], dim=1)
    return Camera(make_pose(exp_rotation(turns * angles), centers), intrinsics).to(dtype)


def target(folder: Path, format: str) -> Path:
    return folder / f"path_{format}{WRITERS[format].suffix or ''}"


@pytest.mark.parametrize("format", WRITERS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**20), st.integers(1, 12), st.booleans())
def test_round_trip(tmp_path_factory, format: Format, seed: int, frames: int, one_lens: bool) -> None:
    file = target(tmp_path_factory.mktemp("round"), format)
    camera = some_path(seed, frames, one_lens=one_lens, plain=format in CENTRED)
    save_cameras(file, camera, format=format, size=SIZE)
    lens = None if WRITERS[format].lens else camera.intrinsics[0]
    size = (
        SIZE if format in ("da3", "vggt") else None
    )  # of the files that hold pixels, these alone have no place for it
    said = CameraOptions(read_as=format.removesuffix("_bin"), intrinsics=lens, size=size)
    record = read_cameras(file, said)
    expected = camera.relative_to(camera[0]) if format in RELATIVE else camera
    assert_close(record.camera.c2w, expected.c2w, atol=1e-9, rtol=0)
    if WRITERS[format].lens:
        assert_close(record.camera.intrinsics, camera.intrinsics, atol=1e-9, rtol=0)
    if record.times is not None:
        times = torch.arange(frames, dtype=torch.float64) / 16
        assert_close(record.times - record.times[0], times, atol=ROUNDED.get(format, 1e-9), rtol=0)


@pytest.mark.parametrize("format", [name for name in WRITERS if name != "da3"])  # known by the depth in its files
def test_what_is_written_is_found_by_its_content(tmp_path: Path, format: Format) -> None:
    """No option needed: the reader that claims a file we wrote is the one of its format."""
    camera = some_path(1, 7, one_lens=True, plain=True)
    save_cameras(target(tmp_path, format), camera, format=format, size=SIZE)
    record = read_cameras(target(tmp_path, format))
    assert record.format == format.removesuffix("_bin")
    expected = camera.relative_to(camera[0]) if format in RELATIVE else camera
    assert_close(record.camera.c2w, expected.c2w, atol=1e-9, rtol=0)


def test_every_name_of_a_format_is_written_and_every_suffix_known() -> None:
    assert set(get_args(Format)) == WRITERS.keys()
    for suffix, format in BY_SUFFIX.items():
        assert writer_of(Path(f"path{suffix}")).name == format
        assert (WRITERS[format].suffix is None) == (suffix == "")
    for name, words in (("path.mp4", "suffix"), ("path.JSON5", "suffix")):
        with pytest.raises(InputError, match=words):
            writer_of(Path(name))
    with pytest.raises(InputError, match="is a folder"):
        writer_of(Path("path.txt"), "colmap")
    with pytest.raises(InputError, match="unknown camera format"):
        writer_of(Path("path"), "obj")  # pyright: ignore[reportArgumentType]


# -- other people's programs -----------------------------------------------------------------------------------------


def same(camera: Camera, centers: np.ndarray, directions: np.ndarray) -> None:
    """The same centres and viewing directions, to 1e-6."""
    assert_close(torch.from_numpy(np.asarray(centers, dtype=float)), camera.center, atol=1e-6, rtol=0)
    assert_close(torch.from_numpy(np.asarray(directions, dtype=float)), camera.c2w[:, :3, 2], atol=1e-6, rtol=0)


@pytest.mark.parametrize("format", ["colmap", "colmap_bin"])
def test_pycolmap_reads_names_poses_lenses_and_points(tmp_path: Path, format: Format) -> None:
    camera = some_path(2, 11, one_lens=False, plain=False)
    camera = camera.with_intrinsics(camera.intrinsics[torch.arange(11) % 3])
    points = Points(torch.randn(50, 3), torch.randint(0, 256, (50, 3), dtype=torch.uint8))
    numbers = [4 * frame for frame in range(11)]
    save_cameras(tmp_path / "model", camera, format=format, size=SIZE, numbers=numbers, points=points)
    model = pycolmap.Reconstruction(str(tmp_path / "model"))
    images = sorted(model.images.values(), key=lambda image: image.name)
    assert [image.name for image in images] == [f"frame_{number:05d}.png" for number in numbers]
    same(camera, np.stack([i.projection_center() for i in images]), np.stack([i.viewing_direction() for i in images]))
    assert len(model.cameras) == 3
    for frame, image in enumerate(images):
        K = camera[frame].pixel_matrix(SIZE).numpy()
        np.testing.assert_allclose(image.camera.calibration_matrix(), K, atol=1e-9)
        assert (image.camera.width, image.camera.height) == (SIZE[1], SIZE[0])
    read = [model.points3D[number] for number in sorted(model.points3D)]
    np.testing.assert_allclose(np.stack([p.xyz for p in read]), points.positions.numpy(), atol=0)
    assert points.colours is not None
    assert np.array_equal(np.stack([p.color for p in read]), points.colours.numpy())


def test_our_binary_models_are_those_of_pycolmap_to_the_byte(tmp_path: Path) -> None:
    save_cameras(tmp_path / "ours", some_path(3, 5, one_lens=True, plain=False), format="colmap_bin", size=SIZE)
    (tmp_path / "theirs").mkdir()
    pycolmap.Reconstruction(str(tmp_path / "ours")).write_binary(str(tmp_path / "theirs"))
    for file in sorted((tmp_path / "theirs").iterdir()):
        assert (tmp_path / "ours" / file.name).read_bytes() == file.read_bytes()


def test_somebody_elses_model_is_left_alone(tmp_path: Path) -> None:
    """pycolmap 4.2.1 takes poses from frames.txt and binary files before text, so a mixed folder lies."""
    camera = some_path(4, 5, one_lens=True, plain=True)
    save_cameras(tmp_path / "made", camera, format="colmap_bin", size=SIZE)
    model = pycolmap.Reconstruction(str(tmp_path / "made"))
    for name, write in (("text", model.write_text), ("binary", model.write_binary)):
        folder = tmp_path / name
        folder.mkdir()
        write(str(folder))
        before = {file.name: file.read_bytes() for file in folder.iterdir()}
        for format in ("colmap", "colmap_bin"):
            with pytest.raises(InputError, match="already holds a COLMAP model"):
                save_cameras(folder, camera, format=format, size=SIZE)
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_our_own_model_is_written_again(tmp_path: Path) -> None:
    for seed in (5, 6):
        camera = some_path(seed, 3 + seed, one_lens=True, plain=True)
        save_cameras(tmp_path / "model", camera, format="colmap", size=SIZE)
    images = pycolmap.Reconstruction(str(tmp_path / "model")).images
    centers = np.stack([images[number].projection_center() for number in sorted(images)])
    assert_close(torch.from_numpy(centers), camera.center, atol=1e-9, rtol=0)
    with pytest.raises(InputError, match="already holds"):
        save_cameras(tmp_path / "model", camera, format="colmap_bin", size=SIZE)


def test_evo_reads_tum_kitti_and_euroc(tmp_path: Path) -> None:
    tools = pytest.importorskip("evo.tools.file_interface", reason="evo is in the extra `interop`")
    camera = some_path(7, 9, one_lens=True, plain=True)
    readers: dict[Format, Callable[[str], Any]] = {
        "tum": tools.read_tum_trajectory_file,
        "kitti": tools.read_kitti_poses_file,
        "euroc": tools.read_euroc_csv_trajectory,
    }
    for format, read in readers.items():
        save_cameras(target(tmp_path, format), camera, format=format)
        path = read(str(target(tmp_path, format)))
        poses = np.stack(path.poses_se3)
        same(camera, poses[:, :3, 3], poses[:, :3, 2])
        if format != "kitti":
            np.testing.assert_allclose(path.timestamps, np.arange(9) / 16, atol=1e-9)


def test_open3d_reads_json_and_log(tmp_path: Path) -> None:
    open3d = pytest.importorskip("open3d", reason="Open3D is half a gigabyte and nobody's extra; install it by hand")
    camera = some_path(8, 6, one_lens=True, plain=False)
    for format in ("open3d", "log"):
        save_cameras(target(tmp_path, format), camera, format=format, size=SIZE)
        path = open3d.io.read_pinhole_camera_trajectory(str(target(tmp_path, format)))
        poses = np.linalg.inv(np.stack([view.extrinsic for view in path.parameters]))
        same(camera, poses[:, :3, 3], poses[:, :3, 2])
        if format == "open3d":
            K = camera.pixel_matrix(SIZE, pixel_centers="integer").numpy()
            read = np.stack([view.intrinsic.intrinsic_matrix for view in path.parameters])
            np.testing.assert_allclose(read, K, atol=1e-9)


def test_trimesh_holds_a_camera_of_ours_as_its_own(tmp_path: Path) -> None:
    """trimesh's cameras look along -z like nerfstudio's, so its reading of transform_matrix is by another party."""
    trimesh = pytest.importorskip("trimesh", reason="trimesh is in the extra `interop`")
    camera = some_path(9, 5, one_lens=True, plain=True)
    save_cameras(tmp_path / "transforms.json", camera, size=SIZE)
    document = json.loads((tmp_path / "transforms.json").read_text())
    fov = [math.degrees(document[f"camera_angle_{axis}"]) for axis in "xy"]
    scene = trimesh.Scene(camera=trimesh.scene.Camera(resolution=(document["w"], document["h"]), fov=fov))
    rays = []
    for frame in document["frames"]:
        scene.camera_transform = np.array(frame["transform_matrix"])
        origins, directions, pixels = scene.camera_rays()
        middle = np.abs(pixels - np.array([document["w"], document["h"]]) / 2).sum(1).argmin()
        rays.append((origins[middle], directions[middle]))
    centers, directions = (np.stack(column) for column in zip(*rays, strict=True))
    assert_close(torch.from_numpy(centers), camera.center, atol=1e-6, rtol=0)
    ahead = torch.from_numpy(directions)  # through the pixel beside the middle: half a pixel off
    assert ((ahead * camera.c2w[:, :3, 2]).sum(1) > math.cos(2 / (float(camera.intrinsics[0, 0]) * SIZE[1]))).all()


@pytest.mark.parametrize("format", ["nerfstudio", "instant-ngp"])
@pytest.mark.parametrize("one_lens", [True, False])
def test_nerfstudio_and_instant_ngp_parse_the_same_lens(tmp_path: Path, format: Format, one_lens: bool) -> None:
    """nerfstudio believes the top of the file, instant-ngp the frame, older readers camera_angle_x alone."""
    camera = some_path(10, 5, one_lens=one_lens, plain=True)
    save_cameras(tmp_path / "transforms.json", camera, format=format, size=SIZE)
    document = json.loads((tmp_path / "transforms.json").read_text())
    focal = camera.pixel_matrix(SIZE)[:, 0, 0].tolist()
    for frame, expected in zip(document["frames"], focal, strict=True):
        top, inner = document | {}, document | frame
        assert {"fl_x", "fl_y", "cx", "cy", "w", "h"} <= inner.keys()
        assert inner["fl_x"] == pytest.approx(expected, abs=1e-9)
        assert top.get("fl_x", frame.get("fl_x")) == pytest.approx(expected, abs=1e-9)
        if one_lens:
            assert SIZE[1] / 2 / math.tan(document["camera_angle_x"] / 2) == pytest.approx(expected, abs=1e-9)
        else:
            assert "camera_angle_x" not in document
    poses = np.stack([frame["transform_matrix"] for frame in document["frames"]])
    same(camera, poses[:, :3, 3], -poses[:, :3, 2])
    assert ("aabb_scale" in document) == (format == "instant-ngp")


def test_the_viewer_of_nerfstudio_loads_the_path(tmp_path: Path) -> None:
    """As its Load Path does: key frames by rows, turned about x by 180 degrees."""
    camera = some_path(11, 5, one_lens=False, plain=True)
    save_cameras(tmp_path / "camera_path.json", camera, format="camera_path", size=SIZE)
    document = json.loads((tmp_path / "camera_path.json").read_text())
    for key, entries in (("matrix", document["keyframes"]), ("camera_to_world", document["camera_path"])):
        turned = np.stack([np.array(entry[key]).reshape(4, 4) for entry in entries]) @ np.diag([1, -1, -1, 1])
        same(camera, turned[:, :3, 3], turned[:, :3, 2])
        fovs = [entry["fov"] for entry in entries]
        np.testing.assert_allclose(fovs, np.rad2deg(2 * np.arctan(0.5 / camera.intrinsics[:, 1].numpy())), atol=1e-9)
    assert document["seconds"] == pytest.approx(5 / 16)
    assert (document["render_height"], document["render_width"]) == SIZE


def test_llff_is_what_nerf_loaders_make_of_it(tmp_path: Path) -> None:
    """NeRF's own loader: poses [3,5,F], columns down right back -> right up back; depths of what is seen."""
    camera = some_path(12, 5, one_lens=True, plain=True)
    ahead = camera.unproject(torch.full((5, 40, 2), 0.5), torch.linspace(2, 9, 40).expand(5, 40))
    points = Points(ahead.reshape(-1, 3))
    save_cameras(tmp_path / "poses_bounds.npy", camera, size=SIZE, points=points)
    array = np.load(tmp_path / "poses_bounds.npy")
    poses = array[:, :-2].reshape(-1, 3, 5)
    right_up_back = np.concatenate([poses[:, :, 1:2], -poses[:, :, 0:1], poses[:, :, 2:4]], axis=2)
    same(camera, right_up_back[:, :, 3], -right_up_back[:, :, 2])
    np.testing.assert_allclose(right_up_back[:, :, 0], camera.c2w[:, :3, 0].numpy(), atol=1e-9)
    focal = float(camera.intrinsics[0, 0]) * SIZE[1]
    np.testing.assert_allclose(poses[:, :, 4], np.tile([*SIZE, focal], (5, 1)), atol=1e-9)
    near, far = array[:, -2:].T
    assert (near <= 2.2).all()
    assert (far >= 8.7).all()


def test_recammaster_files_are_made_relative_as_it_does(tmp_path: Path) -> None:
    """As its data loader does: parse, transpose, columns y z x, one of them turned, centimetres, then relative."""
    camera = some_path(13, 4, one_lens=True, plain=True)
    save_cameras(tmp_path / "camera_extrinsics.json", camera, format="recammaster")
    document = json.loads((tmp_path / "camera_extrinsics.json").read_text())
    poses = []
    for frame in range(4):
        rows = document[f"frame{frame}"]["cam01"].strip().split("] ")
        matrix = np.array([[float(word) for word in row.strip("[] ").split()] for row in rows]).T
        matrix = matrix[:, [1, 2, 0, 3]]
        matrix[:3, 1] *= -1
        matrix[:3, 3] /= 100
        poses.append(matrix)
    relative = np.linalg.inv(poses[0]) @ np.stack(poses)
    assert_close(torch.from_numpy(relative), camera.relative_to(camera[0]).c2w, atol=1e-9, rtol=0)


def test_euroc_has_the_columns_of_its_header(tmp_path: Path) -> None:
    save_cameras(tmp_path / "data.csv", some_path(14, 3, one_lens=True, plain=True))
    rows = list(csv.reader((tmp_path / "data.csv").open()))
    assert {len(row) for row in rows} == {17}
    assert [row[0] for row in rows[1:]] == ["0", "62500000", "125000000"]


# -- what is told ----------------------------------------------------------------------------------------------------


def test_numbers_name_images_and_count_time(tmp_path: Path) -> None:
    camera = some_path(15, 3, one_lens=True, plain=True)
    save_cameras(tmp_path / "a.json", camera, size=SIZE, numbers=[0, 4, 8])
    frames = json.loads((tmp_path / "a.json").read_text())["frames"]
    assert [frame["file_path"] for frame in frames] == ["frame_00000.png", "frame_00004.png", "frame_00008.png"]
    save_cameras(tmp_path / "a.tum", camera, numbers=[0, 4, 8])
    assert read_cameras(tmp_path / "a.tum").times.tolist() == [0, 0.25, 0.5]  # pyright: ignore
    save_cameras(tmp_path / "b.tum", camera, times=torch.tensor([1.5, 2.0, 4.25]))
    assert read_cameras(tmp_path / "b.tum").times.tolist() == [1.5, 2.0, 4.25]  # pyright: ignore


@pytest.mark.parametrize(
    ("format", "size", "plain", "words"),
    [
        ("tum", None, True, "no place for intrinsics"),
        ("3dgs", SIZE, False, "principal point off the middle"),
        ("llff", SIZE, False, "principal point off the middle and oblong pixels"),
        ("colmap", (480, 640), True, "another aspect.*853 x 480 would be square"),
        ("nerfstudio", SIZE, True, None),
        ("npz", None, False, None),
    ],
)
def test_what_is_lost_is_told(tmp_path: Path, caplog, format: Format, size, plain: bool, words: str | None) -> None:
    lost = save_cameras(
        target(tmp_path, format), some_path(16, 3, one_lens=True, plain=plain), format=format, size=size
    )
    assert list(lost) == [record.getMessage().split(": ", 1)[1] for record in caplog.records]
    if words is None:
        assert lost == ()
    else:
        import re

        assert re.search(words, " ".join(lost))


def test_georeferenced_positions_stay_whole(tmp_path: Path) -> None:
    camera = some_path(17, 4, one_lens=True, plain=True)
    shift = torch.tensor([458074.604, 5429380.172, 162.9], dtype=torch.float64)
    far = Camera(make_pose(camera.c2w[:, :3, :3], camera.center + shift), camera.intrinsics)
    for format in ("tum", "npz", "kitti", "nerfstudio"):
        save_cameras(target(tmp_path, format), far, format=format, size=SIZE)
        back = load_cameras(target(tmp_path, format), intrinsics=None if WRITERS[format].lens else far.intrinsics[0])
        assert_close(back.center, far.center, atol=1e-8, rtol=0)


def test_wrong_requests_write_nothing(tmp_path: Path) -> None:
    camera = some_path(18, 3, one_lens=True, plain=True)
    (tmp_path / "file").write_text("mine")
    requests: list[tuple[str, str, dict[str, Any]]] = [
        ("a.json", "size", {}),
        ("a.txt", "3 poses", {"numbers": [0, 1], "format": "tum"}),
        ("a.txt", "3 poses", {"times": torch.zeros(2), "format": "tum"}),
        ("a", "same name", {"names": ["a.png"] * 3, "size": SIZE}),
        ("a", "positive", {"size": (0, 640)}),
        ("file", "a file of that name", {"size": SIZE, "format": "colmap"}),
        ("no/folder", "does not exist", {"size": SIZE, "format": "colmap"}),
    ]
    for path, words, options in requests:
        with pytest.raises(InputError, match=words):
            save_cameras(tmp_path / path, camera, **options)
    with pytest.raises(InputError, match="at least one pose"):
        save_cameras(tmp_path / "a.tum", camera[:0])
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
