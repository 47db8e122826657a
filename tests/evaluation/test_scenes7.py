"""Real frames through a memory, on a tiny random model: who stands where, what is scored, and one real pair."""

import pytest
import torch

from helpers import random_image
from mirage.cli import main
from mirage.errors import InputError
from mirage.evaluation.options import RealOptions
from mirage.evaluation.scenes7 import CEILING, STILL, View, carried, load_view, posed_frames, run_real
from mirage.formats.cameras import load_cameras
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.pose import make_pose

SIZE = (64, 96)


def view(x=0.0, seed=0):
    """A flat wall two units away."""
    image = random_image(SIZE, seed=seed)
    lens = Camera.looking(aspect=1.5).intrinsics
    return View(image, DepthMap(torch.full(SIZE, 2.0)), Camera(make_pose(torch.eye(3), torch.tensor([x, 0, 0])), lens))


def test_from_the_same_place_a_latent_memory_shows_what_the_autoencoder_shows(model, tmp_path):
    scores = carried(model, view(), view(), ("latent", "rgb"), folder=tmp_path)["scores"]
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    assert set(scores) == {"latent", "rgb", CEILING, STILL}
    assert scores["latent"]["psnr"] == pytest.approx(scores[CEILING]["psnr"], abs=0.05)  # half precision
    assert scores[STILL]["psnr"] == 100
    assert all(score["coverage"] == 1 for score in scores.values())


def test_only_what_is_covered_is_scored(model):
    far = carried(model, view(), view(x=1.0), ("latent", "rgb"))["scores"]
    shift = 1.0 / 2.0 * float(Camera.looking(aspect=1.5).intrinsics[0])  # of the width
    assert far["latent"]["coverage"] == pytest.approx(1 - shift, abs=0.17)  # one column of cells in six
    assert far[CEILING]["coverage"] == far[STILL]["coverage"] == far["latent"]["coverage"]
    away = carried(model, view(), view(x=100.0), ("latent",))["scores"]
    assert away["latent"]["coverage"] == 0
    assert away["latent"]["psnr"] != away["latent"]["psnr"]  # no pixel, no score


def test_a_real_frame_fits_the_model_with_its_depth_and_camera(data_dir):
    folder = data_dir / "rgbd_7scenes"
    one = load_view(folder, 8, load_cameras(folder)[2], SIZE)
    assert one.image.shape == (3, *SIZE)
    assert one.depth.shape == SIZE
    assert one.depth.valid.float().mean() > 0.5
    assert 0.3 < one.depth.z[one.depth.valid].median() < 5
    width = one.camera.intrinsics[0] / one.camera.intrinsics[1]
    assert width == pytest.approx(SIZE[0] / SIZE[1], rel=0.01)  # square pixels


def test_real_pairs_leave_a_table_and_go_on(model, data_dir, tmp_path):
    options = RealOptions(
        frames=data_dir / "rgbd_7scenes", out=tmp_path / "out", gaps=(4, 60), pairs=1, memories=("latent", "rgb")
    )
    results = run_real(model, options)
    assert not results["failures"]
    near, far = results["by_gap"]["4"], results["by_gap"]["60"]
    assert near["latent"]["n"] == 1
    assert near["latent"]["coverage"] > far["latent"]["coverage"]
    assert near["rgb"]["coverage"] == pytest.approx(near["latent"]["coverage"], abs=0.25)
    assert near[STILL]["psnr"] > far[STILL]["psnr"]
    assert "frames apart" in (tmp_path / "out" / "report.md").read_text()
    assert run_real(model, options) == results


def test_wrong_requests_are_refused(data_dir, tmp_path, capsys):
    folder = data_dir / "rgbd_7scenes"
    with pytest.raises(InputError, match="3 apart"):
        posed_frames(RealOptions(frames=folder, out=tmp_path, gaps=(3,)))
    with pytest.raises(InputError, match="at least one pair"):
        RealOptions(frames=folder, out=tmp_path, pairs=0)
    assert main(["evaluate", "real", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "layout of 7-Scenes" in capsys.readouterr().err
