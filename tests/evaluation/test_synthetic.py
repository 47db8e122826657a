"""The synthetic evaluation, with walkers that are made of the truth: what is put in must come out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from mirage.errors import InputError
from mirage.evaluation.options import Subject, SyntheticOptions
from mirage.evaluation.synthetic import evaluate_synthetic, score_video
from mirage.evaluation.truth import GroundTruth, returned, seen_pixels, visits
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.trajectory import dolly
from mirage.memory import Readout
from mirage.scenes import HELD_OUT
from mirage.scenes.path import LEG
from walkers import Piece

SIZE, GRID, CHUNK = (48, 64), (6, 8), 17


@dataclass(frozen=True)
class Liar:
    """Walks the true walk with noise, deaf to what it saw before unless it `remembers`."""

    truth: GroundTruth
    remembers: bool

    def follow(self, path: Camera) -> Iterator[Piece]:
        generator = torch.Generator().manual_seed(0)
        for start in range(0, len(path) - 1, CHUNK - 1):
            stop = start + CHUNK
            noise = 0.02 if self.remembers else 0.1 + 0.1 * start / len(path)
            true = self.truth.frames[start + (start > 0) : stop]
            frames = (true + noise * torch.randn(true.shape, generator=generator)).clamp(0, 1)
            count = (CHUNK - 1) // 4
            mask = torch.zeros(count, *GRID, dtype=torch.bool)
            mask[:, :3] = self.remembers
            none = torch.full(mask.shape, -1)
            readout = Readout(
                torch.zeros(count, 2, *GRID),
                mask,
                DepthMap(torch.ones(mask.shape), mask),
                none,
                none,
                torch.zeros(count, 2, *GRID),
            )
            scale = 1.0 if self.remembers else 1.5
            first = 1 + start // 4
            depth = self.truth.depth[first : first + count].resized(GRID).scaled(scale)
            yield Piece(frames, readout, depth, 1000 * (1 + start))


def make(name: str, truth: GroundTruth) -> Liar:
    return Liar(truth, name == "latent")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("synthetic")
    options = SyntheticOptions(out=out, scenes=2, chunks=2, memories=("latent", "none"))
    subject = Subject(size=SIZE, chunk_frames=CHUNK)
    content = evaluate_synthetic(make, options, subject=subject, codec=lambda frames: frames * 0.98)
    assert (out / "report.md").read_text().count("control: ") == 3
    assert len(list(out.glob("scene-*/sheet.png"))) == 2
    return content


def test_what_was_put_in_comes_out(results: dict) -> None:
    assert not results["failures"]
    back, seen = results["return"], results["seen"]
    assert back["latent"]["psnr"] > back["none"]["psnr"] + 8
    assert (back["latent"]["n"], len(seen["none"]["by_chunk"])) == (2, 2)
    assert seen["none"]["by_chunk"][0] > seen["none"]["by_chunk"][1]
    assert seen["latent"]["psnr"] == pytest.approx(34, abs=1)  # noise of 0.02
    assert results["depth_absrel_by_chunk"]["latent"] == pytest.approx([0, 0], abs=1e-6)
    assert results["depth_absrel_by_chunk"]["none"] == pytest.approx([0.5, 0.5], abs=1e-5)
    assert results["coverage_by_chunk"] == {"latent": [0.5, 0.5], "none": [0.0, 0.0]}
    assert results["memory_bytes_by_chunk"]["latent"] == [1000, 17000]
    gain = results["gain_over_none"]["latent"]
    assert gain["mean"] == pytest.approx(back["latent"]["psnr"] - back["none"]["psnr"])
    assert gain["low"] <= gain["mean"] <= gain["high"]


def test_a_still_picture_wins_the_closed_loop_and_loses_where_it_should_have_moved(results: dict) -> None:
    still = results["controls"]["copy first"]
    assert still["psnr_c"] == 100 > results["psnr_c"]["latent"]
    assert still["nmr"] is None
    assert still.keys() >= {"psnr", "ssim", "n"}
    assert still["seen"]["psnr"] < results["seen"]["latent"]["psnr"] - 5
    assert results["ceiling"]["seen"]["psnr"] > results["seen"]["latent"]["psnr"]


def test_seen_is_what_the_first_image_shows_and_grows_with_the_walk() -> None:
    truth = GroundTruth.sample(3, "pan_and_return", frames=33, size=SIZE)
    seen = seen_pixels(truth, GRID, chunk_frames=CHUNK).float().mean(dim=(1, 2))
    assert seen.shape == (32,)
    assert seen[:4].mean() > 0.95  # hardly turned yet
    assert seen[:16].min() < 0.95  # the first chunk turns to what was never seen
    assert seen[16:].min() > 0.99  # and the second comes back over it


def test_returned_are_frames_at_the_end_in_the_first_pose() -> None:
    truth = GroundTruth.sample(3, "there_and_back", frames=33, size=SIZE)
    back = returned(truth.path)
    assert 32 in back.tolist()
    assert min(back.tolist()) >= 29
    assert len(returned(dolly(Camera.looking(), 33, distance=3))) == 0


def test_every_return_is_scored() -> None:
    truth = GroundTruth.sample(3, "back_and_forth", frames=1 + 4 * LEG, size=(24, 32))
    first, second = visits(truth.path)
    assert 2 * LEG in first.tolist()
    assert first.max() < 3 * LEG < second.min()
    assert second[-1] == 4 * LEG
    assert [len(visits(truth.path[:n])) for n in (LEG, 1 + 2 * LEG, 4 * LEG)] == [0, 1, 2]
    worse = truth.frames.clone()
    worse[second] = (worse[second] + 0.1).clamp(0, 1)
    seen = torch.ones(4 * LEG, 24, 32, dtype=torch.bool)
    told = score_video(truth, worse, seen, chunk_frames=33)["visits"]
    assert [visit["chunk"] for visit in told] == [3, 6]
    assert told[0]["psnr"] == 100
    assert 18 < told[1]["psnr"] < 24  # 20 dB, less what was clipped


def test_only_held_out_scenes_are_measured(tmp_path) -> None:
    with pytest.raises(InputError, match="never trained on"):
        GroundTruth.sample(HELD_OUT, "orbit", frames=5, size=SIZE)
    requests: list[dict[str, Any]] = [
        {"seed": 1000}, {"scenes": 0}, {"chunks": 0}, {"memories": ()}, {"kinds": ("hop",)}
    ]  # fmt: skip
    for wrong in requests:
        with pytest.raises(InputError, match=r"evaluation has|walks are"):
            SyntheticOptions(out=tmp_path, **wrong)
