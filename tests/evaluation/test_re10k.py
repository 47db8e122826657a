"""RealEstate10K on real clips, with a generator that knows the answer."""

import json

import pytest
import torch

from mirage.errors import InputError
from mirage.evaluation.options import Re10kOptions
from mirage.evaluation.re10k import evaluate_re10k, load_index, load_truth, tasks_of
from mirage.evaluation.walk import Walk, legs
from mirage.formats.cameras import save_cameras
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import pan

CLIP = "0c11dbe781b1c11c"
SIZE = (48, 64)


@pytest.fixture
def clips(data_dir, tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for suffix in (".txt", ".mp4"):
        (folder / f"{CLIP}{suffix}").write_bytes((data_dir / "re10k_poses" / f"{CLIP}{suffix}").read_bytes())
    return folder


def options(clips, **choices) -> Re10kOptions:
    return Re10kOptions(clips=clips, **{"out": clips.parent / "out", "size": SIZE, "frames": 9, **choices})


def knowing(clips, error: float):
    """Generates the true frames, off by `error`, out and back."""
    truth = load_truth(tasks_of(options(clips))[0], size=SIZE)

    def generate(image, path, prompts):
        assert torch.equal(image, truth.pictures()[0])
        frames = truth.pictures()
        frames = torch.cat([frames, frames.flip(0)[1:]])[: len(path)]
        return Walk((frames + error).clamp(0, 1), seconds=1.0, known=torch.ones(4, 6, 8, dtype=torch.bool))

    return generate


def test_the_path_is_the_files_relative_to_the_reference_and_follows_the_crop(clips) -> None:
    (task,) = tasks_of(options(clips, start=2, stride=2, frames=5))
    assert task.numbers == (2, 4, 6, 8, 10)
    truth = load_truth(task, size=SIZE, scale=2.0)
    assert truth.frames.shape == (5, 3, *SIZE)
    assert torch.allclose(truth.camera.c2w[0], torch.eye(4), atol=1e-5)
    # 384x256 is wider than 4:3: a strip is cut left and right, so the focal length grows in width and not in height.
    whole = load_truth(task, size=(64, 96))
    assert torch.allclose(truth.camera.intrinsics[:, 0], whole.camera.intrinsics[:, 0] * 1.125, rtol=1e-2)
    assert torch.allclose(truth.camera.intrinsics[:, 1], whole.camera.intrinsics[:, 1])
    assert torch.allclose(truth.camera.center, 2 * whole.camera.center, atol=1e-5)


def test_what_is_generated_is_scored_and_kept_so_that_it_can_be_scored_again(clips) -> None:
    content = evaluate_re10k(options(clips), knowing(clips, 0.1))
    assert not content["failures"]
    score = content["tasks"][CLIP]
    assert score["psnr"] == pytest.approx(20, abs=0.8)  # an error of 0.1, but for what is clipped
    assert score["psnr_c"] > 90
    assert set(content["ssim"]) == {"gaussian", "uniform", "small"}
    assert "no weights" in content["lpips"]
    report = (clips.parent / "out" / "report.md").read_text()
    assert "Gaussian 11x11" in report
    assert "as published" in report
    again = evaluate_re10k(options(clips, out=clips.parent / "again", generated=clips.parent / "out"))
    assert again["tasks"][CLIP] == score


def test_estimated_poses_are_compared_with_those_asked_for(clips) -> None:
    evaluate_re10k(options(clips), knowing(clips, 0.0))
    made = clips.parent / "out" / CLIP
    save_cameras(made / "estimated.npz", pan(Camera.looking(), 17, degrees=10), format="npz")
    again = evaluate_re10k(options(clips, out=clips.parent / "again", generated=clips.parent / "out"))
    poses = again["tasks"][CLIP]["poses"]
    assert poses["frames"] == 17
    assert poses["rotation"] > 0
    assert poses["cammc_rel"] > 0


def test_an_index_names_reference_and_targets(clips, tmp_path) -> None:
    index = tmp_path / "index.json"
    index.write_text(
        json.dumps(
            {
                CLIP: {"context": [3, 12], "target": [5, 2, 8]},
                "other": None,
                "elsewhere": {"context": [0, 9], "target": [4]},
            }
        )
    )
    assert load_index(index) == {CLIP: (3, (5, 8)), "elsewhere": (0, (4,))}
    (task,) = tasks_of(options(clips, index=index))
    assert task.numbers == (3, 4, 5, 6, 7, 8)
    assert task.scored == (2, 5)
    index.write_text("[]")
    with pytest.raises(InputError, match="no pixelSplat index"):
        load_index(index)


def test_wrong_requests_are_refused_in_one_line(clips) -> None:
    with pytest.raises(InputError, match="got neither"):
        evaluate_re10k(options(clips))
    with pytest.raises(InputError, match="weights missing"):
        evaluate_re10k(options(clips, lpips=clips), knowing(clips, 0))
    content = evaluate_re10k(options(clips, frames=49), knowing(clips, 0))
    assert "needs frame 48" in content["failures"][CLIP]
    (clips / f"{CLIP}.mp4").unlink()
    with pytest.raises(InputError, match="no frames"):
        tasks_of(options(clips))


def test_legs_share_ends_and_pad_only_the_last() -> None:
    path = pan(Camera.looking(), 17, degrees=10)
    assert [len(leg) for leg in legs(path, 2)] == [9, 9]
    assert torch.equal(legs(path, 2)[0].c2w[-1], legs(path, 2)[1].c2w[0])
    (padded,) = legs(path[:15], 1)
    assert len(padded) == 17
    assert torch.equal(padded.c2w[-1], path.c2w[14])
    with pytest.raises(InputError, match="1 \\+ 4k"):
        legs(path[:15], 2)
