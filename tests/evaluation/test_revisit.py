"""Revisits: the pairs are what they claim, what remembers wins, and what only stands still does not."""

import math

import pytest
import torch
from transformers import Dinov2Config, Dinov2Model

from mirage.errors import InputError
from mirage.evaluation.folder import Rollout, save_rollout
from mirage.evaluation.options import RevisitOptions
from mirage.evaluation.revisit import (
    APPEARANCE,
    GEOMETRY,
    SCENE,
    LocalMatches,
    closed_loop,
    controls,
    memory_gain,
    mirror,
    revisit_pairs,
    revisit_table,
    run_revisit,
    score_families,
    score_rollout,
    summarise,
)
from mirage.geometry.camera import Camera
from mirage.geometry.edits import there_and_back
from mirage.geometry.trajectory import dolly, pan
from mirage.scenes import Scene

FRAMES, SIZE = 61, (48, 64)


@pytest.fixture(scope="module")
def walk() -> Rollout:
    """A true walk there and back: it remembers perfectly."""
    scene = Scene.sample(11)
    path = scene.path("pan_and_return", FRAMES, seed=1)
    return Rollout("walk", (scene.render(path, SIZE).rgb * 255).round().to(torch.uint8), path)


@pytest.fixture(scope="module")
def forgetful(walk: Rollout) -> Rollout:
    """The same way out; on the way back another world's pictures."""
    other = (Scene.sample(12).render(walk.camera, SIZE).rgb * 255).round().to(torch.uint8)
    middle = (FRAMES - 1) // 2
    return Rollout("forgetful", torch.cat([walk.frames[: middle + 1], other[middle + 1 :]]), walk.camera)


def test_pairs_are_returns_spans_and_neighbours(walk: Rollout) -> None:
    pairs = revisit_pairs(walk.camera)
    assert pairs.revisit
    assert pairs.base
    headings = walk.camera.c2w[:, :3, 2]
    for i, j in pairs.revisit:
        assert j - i >= int(0.2 * FRAMES)
        assert torch.rad2deg(torch.acos((headings[i] * headings[j]).sum().clamp(-1, 1))) <= 5
    returns = set(pairs.revisit)
    spans = {j - i for i, j in pairs.revisit}
    for a, b in pairs.base:
        assert (a, b) not in returns
        assert min(abs(b - a - span) - max(10, round(0.3 * span)) for span in spans) <= 0
    assert all(2 <= b - a <= 6 for a, b in pairs.short)
    assert pairs == revisit_pairs(walk.camera)
    assert pairs.short != revisit_pairs(walk.camera, seed=1).short
    assert len(revisit_pairs(walk.camera, max_pairs=5).revisit) == 5


def test_a_path_that_never_returns_has_no_revisits_and_no_gain(walk: Rollout) -> None:
    away = dolly(Camera.looking(), FRAMES, distance=30)
    pairs = revisit_pairs(away)
    assert pairs.revisit == pairs.base == pairs.short == ()
    gain = memory_gain(walk.frames, pairs, score_families(geometry=False)[APPEARANCE]["psnr"])
    assert gain["gain"] is None
    # The thresholds are in metres: the same path in other units has the same pairs.
    path = there_and_back(dolly(Camera.looking(), 31, distance=3))
    in_centimetres = there_and_back(dolly(Camera.looking(), 31, distance=300))
    assert revisit_pairs(in_centimetres, metres=0.01) == revisit_pairs(path)


def test_memory_wins_and_the_controls_lose_although_a_still_picture_has_the_best_closed_loop(walk, forgetful) -> None:
    families = score_families(geometry=False)
    remembers, forgets = (summarise([score_rollout(r, families)])["systems"] for r in (walk, forgetful))
    assert remembers["rollout"]["nmr"] > 0.9
    assert remembers["rollout"]["nmr"] > forgets["rollout"]["nmr"] + 0.5
    gain = remembers["rollout"]["families"][APPEARANCE]["metrics"]["psnr"]["gain"].mean
    for name in ("copy first", "repeat last"):
        assert forgets[name]["psnr_c"].mean == 100 > forgets["rollout"]["psnr_c"].mean
        assert forgets[name]["nmr"] is None
        assert forgets[name]["families"][APPEARANCE]["metrics"]["psnr"]["gain"].mean == 0 < gain
    held = forgets["stop half-way"]["nmr"]
    assert held is None or held < remembers["rollout"]["nmr"] - 0.5


def test_mirror_and_closed_loop_only_where_the_path_says_so(walk: Rollout, forgetful: Rollout) -> None:
    assert mirror(walk.frames, walk.camera)["mirror_psnr"] == 100
    forgotten = mirror(forgetful.frames, forgetful.camera)["mirror_psnr"]
    assert forgotten is not None
    assert 0 < forgotten < 30
    one_way = pan(Camera.looking(), FRAMES, degrees=60)
    assert mirror(walk.frames, one_way) == {"mirror_psnr": None, "mirror_ssim": None}
    assert closed_loop(walk.frames, one_way) == {"psnr_c": None, "ssim_c": None}
    assert closed_loop(walk.frames, walk.camera)["ssim_c"] == pytest.approx(1)


def test_controls_have_the_rollouts_length_and_its_frames(walk: Rollout) -> None:
    made = controls(walk.frames)
    assert all(frames.shape == walk.frames.shape for frames in made.values())
    assert torch.equal(made["stop half-way"][: FRAMES // 2], walk.frames[: FRAMES // 2])
    assert torch.equal(made["stop half-way"][-1], walk.frames[(FRAMES - 1) // 2])
    assert torch.equal(made["copy first"][-1], walk.frames[0])
    assert torch.equal(made["repeat last"][0], walk.frames[-1])


def test_dinov2_is_a_family_of_its_own_where_its_weights_are(tmp_path, walk: Rollout) -> None:
    config = Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14)
    Dinov2Model(config).save_pretrained(tmp_path)
    families = score_families(geometry=False, dino=tmp_path)
    scored = score_rollout(walk, families, max_pairs=2)
    assert scored["systems"]["copy first"]["gain"][SCENE]["dino"]["gain"] == pytest.approx(0, abs=1e-5)
    assert scored["systems"]["rollout"]["gain"][SCENE]["dino"]["revisit"] <= 1 + 1e-5
    with pytest.raises(InputError, match="DINOv2 weights missing"):
        score_families(dino=tmp_path / "none")


def test_local_matches_tell_the_same_place_from_another() -> None:
    scene = Scene.sample(11)
    path = pan(scene.path("walk", 1)[0], 2, degrees=4)
    here, nearby = scene.render(path, (120, 160)).rgb
    other = Scene.sample(12).render(path[:1], (120, 160)).rgb[0]
    local_matches = LocalMatches()
    same, near, far = local_matches(here, here), local_matches(here, nearby), local_matches(here, other)
    assert same[0] == same[1] == 1
    assert same[1] > near[1] > far[1]
    assert math.isnan(local_matches(torch.zeros(3, 64, 64), here)[0])
    edge = torch.zeros(3, 64, 64)
    edge[:, 12:18, 12:18] = 1  # its corners are too near the border for a descriptor
    assert math.isnan(local_matches(edge, here)[0])
    forgetful = LocalMatches(kept=0)  # what is kept changes nothing
    assert [forgetful(here, nearby), forgetful(here, other), forgetful(here, nearby)] == [near, far, near]


def test_a_run_over_folders_tells_gain_coverage_and_failures(tmp_path, walk: Rollout) -> None:
    save_rollout(tmp_path / "good", walk.pictures(), walk.camera, known=torch.tensor([[[True, False]]]))
    (tmp_path / "bad").mkdir()
    options = RevisitOptions(rollouts=(tmp_path / "good", tmp_path / "bad"), out=tmp_path / "out", geometry=False)
    content = run_revisit(options)
    assert content["systems"]["rollout"]["nmr"] > 0.9
    assert content["coverage"]["mean"] == 0.5
    assert list(content["failures"]) == ["bad"]
    assert (tmp_path / "out" / "good" / "sheet.png").is_file()
    report = (tmp_path / "out" / "report.md").read_text()
    assert "copy first" in report
    assert "50.0%" in report
    assert GEOMETRY not in report
    with pytest.raises(InputError, match="weights missing"):
        run_revisit(RevisitOptions(rollouts=(tmp_path / "good",), out=tmp_path / "lpips", lpips=tmp_path))
    with pytest.raises(InputError, match="at least one rollout"):
        RevisitOptions(rollouts=(), out=tmp_path / "none")


def test_nmr_is_of_each_trajectory_and_then_the_mean_of_them(walk: Rollout) -> None:
    """One trajectory walked twice weighs as much as another walked once; the old rule pools all of them."""

    def result(path: str, gain: float, span: float) -> dict:
        its = {"appearance": {"psnr": {"revisit": 0.0, "base": 0.0, "short": 0.0, "gain": gain, "range": span}}}
        rest = dict.fromkeys(("mirror_psnr", "mirror_ssim", "psnr_c", "ssim_c"))
        return {"trajectory": path, "coverage": None, "systems": {"rollout": {"gain": its, **rest}}}

    results = [result("a", 1.0, 2.0), result("a", 3.0, 2.0), result("b", 1.0, 10.0), result("b", 5.0, 0.0)]
    assert summarise(results)["systems"]["rollout"]["nmr"] == pytest.approx((4 / 4 + 1 / 10) / 2)
    assert summarise(results, rule="paper")["systems"]["rollout"]["nmr"] == pytest.approx(5 / 14)
    told = revisit_table(summarise(results)), revisit_table(summarise(results, rule="paper"))
    assert "of 2 trajectories" in told[0]
    assert "as in the code of R2M-Bench" in told[0]
    assert "rule paper" in told[1]
    families = score_families(geometry=False)
    same = [score_rollout(Rollout("x", walk.frames, walk.camera), families, max_pairs=2) for _ in range(2)]
    other = score_rollout(Rollout("y", walk.frames, pan(walk.camera[0], FRAMES, degrees=60)), families, max_pairs=2)
    assert same[0]["trajectory"] == same[1]["trajectory"] != other["trajectory"]
