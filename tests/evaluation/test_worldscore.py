"""WorldScore: paths against its own recipe spelled out in numpy, the layout file by file, and its arithmetic."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation, Slerp

from helpers import walls
from mirage.errors import InputError
from mirage.evaluation import worldscore as ws
from mirage.evaluation.options import Subject, WorldScoreOptions
from mirage.evaluation.walk import Walk
from mirage.evaluation.worldscore_aspects import (
    BOUNDS,
    DYNAMIC,
    STATIC,
    aepe,
    aggregate,
    camera_errors,
    induced_flow,
    motion_magnitude,
    motion_smoothness_proxy,
    normalised,
    reprojection_error,
)
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.pose import make_pose
from mirage.geometry.trajectory import dolly
from mirage.scenes import Scene

SIZE = (64, 96)


def official(moves: list[str], frames: int, v: float) -> np.ndarray:
    """c2w [N,4,4] in Blender axes by the published recipe: state w2c in PyTorch3D axes, column vectors."""

    def ry(degrees: float) -> np.ndarray:
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        return np.array([[c, 0, -s, 0], [0, 1, 0, 0], [s, 0, c, 0], [0, 0, 0, 1]])

    def tr(x: float, z: float) -> np.ndarray:
        out = np.eye(4)
        out[0, 3], out[2, 3] = x, z
        return out

    after = {
        "push_in": tr(0, -v),
        "pull_out": tr(0, v),
        "move_left": tr(-v / 2, 0),
        "move_right": tr(v / 2, 0),
        "pan_left": ry(30),
        "pan_right": ry(-30),
        "orbit_left": tr(0, v) @ ry(-30) @ tr(0, -v),
        "orbit_right": tr(0, v) @ ry(30) @ tr(0, -v),
    }
    keys = [np.eye(4)]
    for move in moves:
        keys = [key @ np.linalg.inv(keys[-1]) for key in keys]
        keys.append(after[move])
    keys = [key @ np.linalg.inv(keys[0]) for key in keys]
    w2c = [keys[0]]
    for a, b in itertools.pairwise(keys):
        slerp = Slerp([0, 1], Rotation.from_matrix([a[:3, :3], b[:3, :3]]))
        for i in range(1, frames):
            t, m = i / (frames - 1), np.eye(4)
            m[:3, :3] = slerp([t]).as_matrix()[0]
            m[:3, 3] = a[:3, 3] + t * (b[:3, 3] - a[:3, 3])
            w2c.append(m)
    return np.stack([np.linalg.inv(np.diag([-1.0, 1, -1, 1]) @ m) for m in w2c])


@pytest.mark.parametrize("moves", [[m] for m in ws.MOVES[:-1]] + [["pan_left", "move_right", "orbit_left", "push_in"]])
def test_paths_are_the_published_recipe(moves: list[str]) -> None:
    path = ws.camera_path(moves, frames=9, speed=0.7, size=SIZE)
    assert len(path) == len(moves) * 8 + 1
    assert np.allclose(np.array(ws.to_blender(path)), official(moves, 9, 0.7), atol=1e-5)
    content = {"focal_length": 500, "cameras_interp": ws.to_blender(path)}
    assert torch.allclose(ws.from_camera_data(content, size=SIZE).c2w, path.c2w, atol=1e-6)
    assert torch.allclose(path.pixel_matrix(SIZE)[0, :2, :2], 500 * torch.eye(2), atol=1e-3)


@pytest.mark.parametrize(
    ("move", "center", "forward"),
    [
        ("push_in", (0, 0, 1), (0, 0, 1)),
        ("pull_out", (0, 0, -1), (0, 0, 1)),
        ("move_left", (-0.5, 0, 0), (0, 0, 1)),
        ("move_right", (0.5, 0, 0), (0, 0, 1)),
        ("pan_left", (0, 0, 0), (-0.5, 0, 0.866025)),
        ("pan_right", (0, 0, 0), (0.5, 0, 0.866025)),
        ("orbit_left", (-0.5, 0, 1 - 0.866025), (0.5, 0, 0.866025)),
        ("orbit_right", (0.5, 0, 1 - 0.866025), (-0.5, 0, 0.866025)),
        ("fixed", (0, 0, 0), (0, 0, 1)),
    ],
)
def test_moves_go_where_their_names_say_in_opencv_axes(move, center, forward) -> None:
    last = ws.camera_path([move], frames=5)[-1]
    assert torch.allclose(last.center, torch.tensor(center, dtype=torch.float32), atol=1e-5)
    assert torch.allclose(last.c2w[:3, 2], torch.tensor(forward, dtype=torch.float32), atol=1e-5)
    assert torch.allclose(last.c2w[:3, 1], torch.tensor([0.0, 1, 0]), atol=1e-6)  # down stays down


@pytest.fixture
def dataset(tmp_path):
    root = tmp_path / "WorldScore-Dataset"
    (root / "static" / "images" / "kitchen").mkdir(parents=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 120, 3), dtype=np.uint8)).save(
        root / "static" / "images" / "kitchen" / "a.png"
    )
    row = {
        "visual_movement": "static",
        "visual_style": "photorealistic",
        "scene_type": "indoor",
        "camera_path": ["push_in", "pan_left"],
        "image": "WorldScore-Dataset/static/images/kitchen/a.png",
        "prompt_list": ["A kitchen", "A sink.", "A door"],
        "style": "photo",
        "content_list": ["kitchen, sink"],
    }
    (root / "static" / "static.json").write_text(json.dumps([row]))
    (root / "dynamic").mkdir()
    dynamic = {
        "visual_movement": "dynamic",
        "visual_style": "stylized",
        "motion_type": "fluid",
        "camera_path": ["fixed"],
        "image": "dynamic/images/fluid/b.png",
        "prompt": "Water",
        "style": "ink",
        "masks": [],
        "objects": ["water"],
    }
    (root / "dynamic" / "dynamic.json").write_text(json.dumps([dynamic]))
    return root


def test_rows_become_instances(dataset) -> None:
    (static,) = ws.load_instances(dataset, "static")
    assert str(static.folder) == "static/photorealistic/indoor/kitchen/a"
    assert static.image.is_file()
    assert static.prompts == (
        "Camera push in. A sink. photo Everything in the scene remains completely motionless.",
        "Camera pan left. A door. photo Everything in the scene remains completely motionless.",
    )
    (dynamic,) = ws.load_instances(dataset, "dynamic")
    assert (str(dynamic.folder), dynamic.prompts) == ("dynamic/stylized/fluid/b", ("Camera fixed. Water. ink",))
    with pytest.raises(InputError, match="there is no file"):
        ws.load_instances(dataset / "nowhere", "static")
    (dataset / "static" / "static.json").write_text(json.dumps([{"camera_path": ["pull_left"]}]))
    with pytest.raises(InputError, match="row 0 lacks visual_style"):
        ws.load_instances(dataset, "static")


def test_a_run_writes_the_official_layout_and_reads_official_scores(dataset, tmp_path) -> None:
    def generate(image, path, prompts):
        assert image.shape == (3, *SIZE)
        assert len(prompts) == 2
        depth = walls(3, (8, 12))
        return Walk(image.expand(len(path), -1, -1, -1), seconds=1.25, depth=depth)

    options = WorldScoreOptions(dataset=dataset, out=tmp_path / "out", frames=5, speed=0.5)
    subject = Subject(size=SIZE)
    content = ws.evaluate_worldscore(options, generate, subject=subject)
    assert not content["failures"]
    assert content["official"]["static"] is None
    assert content["ours"]["motion_magnitude"]["mean"] > 0
    assert content["ours"]["reprojection_error"]["n"] == 1
    folder = tmp_path / "out" / "worldscore_output" / "static" / "photorealistic" / "indoor" / "kitchen" / "a"
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert names == {
        *(f"frames/{i:03d}.png" for i in range(9)),
        "videos/output.mp4",
        "input_image.png",
        "image_data.json",
        "camera_data.json",
        "time.txt",
    }
    data = json.loads((folder / "image_data.json").read_text())
    assert (data["num_scenes"], data["total_frames"], data["anchor_frame_idx"]) == (2, 9, [0, 4, 8])
    assert data["content_list"] == ["kitchen, sink"]
    cameras = json.loads((folder / "camera_data.json").read_text())
    assert (cameras["focal_length"], cameras["scale"], len(cameras["cameras"]), len(cameras["cameras_interp"])) == (
        500,
        0.5,
        3,
        9,
    )
    assert np.allclose(cameras["cameras"], np.array(cameras["cameras_interp"])[[0, 4, 8]])
    assert float((folder / "time.txt").read_text()) == 1.25
    (folder / "evaluation.json").write_text(
        json.dumps({"object_control": {"object_detection": {"score": 0.5, "score_normalized": 0.5}}})
    )
    again = ws.evaluate_worldscore(options, generate, subject=subject)
    assert again["official"]["aspects"]["object_control"]["mean"] == 50
    with pytest.raises(InputError, match="2 moves of 5 frames are 9"):
        ws.write_instance(
            tmp_path,
            ws.load_instances(dataset, "static")[0],
            torch.zeros(8, 3, *SIZE),
            ws.camera_path(["push_in"], frames=8),
            image=torch.zeros(3, *SIZE),
            frames=5,
            speed=1,
            seconds=1,
        )


def test_normalisation_by_hand() -> None:
    assert normalised("camera_control", {"camera_error": [7.5, 0.125]}) == pytest.approx(math.sqrt(0.5 * 0.75))
    assert normalised("camera_control", {"camera_error": [99, 0]}) == 0
    assert normalised("3d_consistency", {"whatever": 1.0719 / 4}) == pytest.approx(0.75)
    # A z-score at its extremes is a quarter and three quarters.
    assert normalised("motion_magnitude", {"optical_flow": 3.2425 + 3.4505 * 2.7498}) == pytest.approx(0.75)
    assert normalised("motion_magnitude", {"optical_flow": 3.2425 - 3.4505 * 0.8638}) == pytest.approx(0.25)
    assert normalised("motion_smoothness", {"motion_smoothness": [0, 1, 0.0114]}) == pytest.approx((1 + 1 + 0.5) / 3)
    half = {
        "clip_iqa+": 0.5842 + 0.0441 * (1.8703 - 1.8342) / 2,
        "clip_aesthetic": 5.5952 + 0.2561 * (1.9741 - 2.9342) / 2,
    }
    assert normalised("subjective_quality", half) == pytest.approx(0.5)
    with pytest.raises(InputError, match="clip_aesthetic"):
        normalised("subjective_quality", {"clip_iqa+": 1.0})
    with pytest.raises(InputError, match="expected 2"):
        normalised("camera_control", {"camera_error": [1.0]})


def test_headlines_are_means_of_seven_and_of_ten_and_never_of_fewer() -> None:
    def full(aspect: str) -> dict:
        scores = {}
        for metric, bounds in BOUNDS[aspect].items():
            best = [b.high if b.higher_is_better else b.low for b in bounds]
            best = [b.mean + b.deviation * 10 if b.mean is not None else v for b, v in zip(bounds, best, strict=True)]
            scores[metric] = {"score": best if len(best) > 1 else best[0]}
        return {aspect: scores}

    everything = [full(aspect) for aspect in (*STATIC, *DYNAMIC)]
    told = aggregate(everything)
    assert told["static"] == told["dynamic"] == told["average"] == 100
    worst = {"object_control": {"object_detection": {"score": 0.0}}}
    told = aggregate([*everything, worst, worst, worst])
    assert told["aspects"]["object_control"].mean == 25
    assert told["static"] == pytest.approx(100 - 75 / 7)
    assert told["dynamic"] == pytest.approx(100 - 75 / 10)
    told = aggregate(everything[:-1])
    assert told["static"] == 100
    assert told["dynamic"] is told["average"] is None
    assert told["missing"] == ["motion_smoothness"]


def test_camera_errors_are_free_of_scale_and_of_nothing_else() -> None:
    path = ws.camera_path(["orbit_left", "push_in"], frames=9, speed=2.0)
    scaled = Camera(make_pose(path.c2w[:, :3, :3], 7 * path.center), path.intrinsics)
    assert camera_errors(scaled, path, speed=2.0) == pytest.approx((0, 0), abs=1e-3)
    shifted = Camera(make_pose(path.c2w[:, :3, :3], path.center + torch.tensor([0.0, 0.5, 0.0])), path.intrinsics)
    assert camera_errors(shifted, path, speed=2.0)[1] > 0.1
    still = ws.camera_path(["fixed", "fixed"], frames=9)
    rotation, translation = camera_errors(still, path, speed=2.0)
    assert rotation > 10
    assert translation == pytest.approx(float(path.center.norm(dim=-1).mean()) / 2, rel=1e-4)


def test_true_geometry_reprojects_onto_itself_and_wrong_scale_does_not() -> None:
    scene = Scene.sample(5)
    path = dolly(scene.path("walk", 9)[0], 3, distance=0.6, direction=(1, 0, 0))
    depth = scene.render(path, SIZE).depth
    # A wrong scale of the whole is as consistent as the truth; of every other frame it is not.
    good = reprojection_error(depth, path)
    uneven = DepthMap(depth.z * torch.tensor([1.0, 1.2, 1.0])[:, None, None], depth.valid)
    assert good < 0.05 < reprojection_error(uneven, path)
    flow, known = induced_flow(depth, path)
    assert known.any()
    assert flow.shape == (2, 2, *SIZE)
    twice = torch.tensor([0, 0])
    still = induced_flow(depth[twice], path[twice])[0]
    assert motion_magnitude(still) < 1e-3
    assert motion_magnitude(flow) > motion_magnitude(still)


def test_flow_there_and_back_cancels_and_smooth_motion_is_smooth() -> None:
    flow = torch.full((2, 2, 48, 64), 3.0)
    assert aepe(flow, -flow) == 0
    assert aepe(flow, flow) == pytest.approx(6 * math.sqrt(2), rel=1e-5)
    ramp = torch.linspace(0.2, 0.8, 9)[:, None, None, None].expand(9, 3, 32, 32)
    jumping = torch.where((torch.arange(9) % 2 == 0)[:, None, None, None], ramp, 1 - ramp)
    assert motion_smoothness_proxy(ramp)["mse"] == pytest.approx(0, abs=1e-3)
    assert motion_smoothness_proxy(jumping)["mse"] > 100
