"""Photographs through a tiny random model: what is the truth of a walk, and what is scored."""

import math

import pytest
import torch

from helpers import random_image
from mirage.cli import main
from mirage.errors import InputError
from mirage.evaluation.metrics import psnr
from mirage.evaluation.options import PhotosOptions
from mirage.evaluation.photos import TURN, WALK, check_photos, first_seen, run_photos, turn, walk, warped
from mirage.evaluation.scenes7 import poses_of
from mirage.evaluation.truth import returned
from mirage.formats.image import save_image

SIZE = (64, 96)


def panorama(height=64):
    """Red rises to the right, from behind on the left; green downwards."""
    red = torch.linspace(0, 1, 2 * height).expand(height, -1)
    green = torch.linspace(0, 1, height)[:, None].expand(-1, 2 * height)
    return torch.stack([red, green, torch.zeros_like(red)])


def test_a_turn_is_the_panorama_seen_from_its_middle_and_comes_back():
    truth = turn(panorama(), SIZE, seed=0)
    assert truth.frames.shape == (TURN, 3, *SIZE)
    middle = truth.frames[:, :, 31:33, 47:49].mean((-1, -2))
    assert torch.allclose(middle[0, :2], torch.tensor([0.5, 0.5]), atol=0.02)  # straight ahead
    assert float(middle[48, 0] - middle[0, 0]) == pytest.approx(40 / 360, abs=0.01)  # to the right
    back = returned(truth.path)
    assert len(back) >= 2
    assert int(back[-1]) == TURN - 1
    assert torch.allclose(truth.frames[-1], truth.frames[0], atol=1e-5)
    with pytest.raises(InputError, match="twice as wide as high"):
        turn(panorama()[:, :, 1:], SIZE, seed=0)


def test_a_walk_is_scored_where_its_first_frame_shows_something(data_dir):
    folder = data_dir / "rgbd_7scenes"
    truth = walk(folder, poses_of(folder)[:WALK], SIZE, seed=0)
    assert truth.frames.shape == (WALK, 3, *SIZE)
    assert truth.depth.shape == (1 + WALK // 4, *SIZE)
    assert torch.allclose(truth.path.c2w[0], torch.eye(4), atol=1e-5)
    (near, far) = first_seen(truth, (8, 12)).values()
    assert near.numbers.tolist() == [1, 2, 3, 4]
    assert far.numbers.tolist() == list(range(5, WALK))
    assert near.mask is not None
    assert far.mask is not None
    assert 0.3 < float(far.mask.float().mean()) <= float(near.mask.float().mean()) < 1


def test_a_warp_is_what_geometry_alone_tells(data_dir):
    """Nothing where the camera stands, much of a turn without parallax, more than a still picture of a real walk."""
    truth = turn(panorama(512), SIZE, seed=0)
    video = warped(truth)
    assert video.shape == truth.frames.shape
    assert torch.allclose(video[0], truth.frames[0], atol=0.01)
    seen = slice(0, 70)  # columns; the others come into view
    left, moved = ((truth.frames[12] - v)[:, 8:-8, seen].abs().mean() for v in (video[12], truth.frames[0]))
    assert left < 0.1 * moved
    folder = data_dir / "rgbd_7scenes"
    real = walk(folder, poses_of(folder)[:WALK], (96, 128), seed=0)
    region = first_seen(real, (12, 16))["next 12"]
    still = real.frames[:1].expand_as(real.frames)
    scores = [psnr(v[region.numbers], real.frames[region.numbers], mask=region.mask) for v in (warped(real), still)]
    assert scores[0].mean() > scores[1].mean() + 3


def test_all_of_it_leaves_a_table_and_goes_on(model, data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("mirage.evaluation.photos.TURN", 17)
    for name in ("stills", "panoramas"):
        (tmp_path / name).mkdir()
    save_image(tmp_path / "stills" / "2.png", random_image(SIZE))
    save_image(tmp_path / "stills" / "10.png", random_image(SIZE, seed=1))
    save_image(tmp_path / "panoramas" / "field.png", panorama())
    options = PhotosOptions(
        stills=tmp_path / "stills",
        panoramas=tmp_path / "panoramas",
        rgbd=data_dir / "rgbd_7scenes",
        memories=("latent", "none"),
        limit=1,
        steps=1,
        out=tmp_path / "out",
    )
    results = run_photos(model, options)
    assert not results["failures"]
    assert list(results["tasks"]) == ["still-2", "turn-field", f"walk-{poses_of(data_dir / 'rgbd_7scenes')[0]:06d}"]
    assert results["stills"]["n"] == 1
    assert results["stills"]["worst"] == results["stills"]["PSNR"]["mean"]
    for part, regions in (("turn", ["PSNR, return"]), ("walk", ["PSNR, first 4 frames", "PSNR, next 12"])):
        assert set(results[part]) == {"latent", "none", "autoencoder", "warp", "still"}
        for row in results[part].values():
            assert [name for name in row if name.startswith("PSNR")] == regions
            assert all(math.isfinite(row[region]["mean"]) for region in regions)
    assert results["turn"]["still"]["PSNR, return"]["mean"] > 60  # it stands there again
    assert "step" not in results["walk"]["still"]  # and does not move
    assert (tmp_path / "out" / "turn-field" / "sheet.png").stat().st_size > 1000
    assert "Turning in panoramas" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert run_photos(model, options) == results


def test_what_cannot_be_measured_is_refused_first(data_dir, tmp_path, capsys):
    with pytest.raises(InputError, match="nothing to measure with"):
        PhotosOptions()
    with pytest.raises(InputError, match="is no folder"):
        check_photos(PhotosOptions(panoramas=tmp_path / "missing"))
    with pytest.raises(InputError, match="holds no pictures"):
        check_photos(PhotosOptions(stills=tmp_path))
    save_image(tmp_path / "flat.png", random_image(SIZE))
    with pytest.raises(InputError, match=r"flat.png is 96 x 64; an equirectangular"):
        check_photos(PhotosOptions(panoramas=tmp_path))
    with pytest.raises(InputError, match="accepted: 17 or more"):
        check_photos(PhotosOptions(rgbd=data_dir / "rgbd_7scenes", every=100))
    out = str(tmp_path / "out")
    assert main(["evaluate", "photos", "--rgbd", str(tmp_path), "--out", out]) == 2
    assert "layout of 7-Scenes" in capsys.readouterr().err
