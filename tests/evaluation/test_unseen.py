"""Unseen regions, with walkers that are made of the truth: what is put in must come out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from mirage.errors import InputError
from mirage.evaluation.options import MOVES as MOVE_NAMES
from mirage.evaluation.options import Subject, UnseenOptions
from mirage.evaluation.truth import GroundTruth
from mirage.evaluation.unseen import (
    BLURRED,
    FLOOR,
    FROZEN,
    MOVES,
    distances,
    evaluate_unseen,
    steepness,
)
from mirage.evaluation.unseen_camera import motion_pairs, summarise
from mirage.geometry.camera import Camera
from mirage.memory import Readout
from mirage.scenes import Scene
from walkers import Piece

SIZE, GRID, CHUNK = (48, 64), (6, 8), 17
RATE = 35 / 32  # degrees per frame of a pan


@dataclass(frozen=True)
class Player:
    """Shows these frames, whatever is asked, and knows nothing beforehand."""

    frames: Tensor

    def follow(self, path: Camera) -> Iterator[Piece]:
        count = (len(path) - 1) // 4
        readout = Readout.holes(count, 2, GRID)
        yield Piece(self.frames, readout, readout.depth)


WALKERS: dict[str, Callable[[GroundTruth], Tensor]] = {
    "truth": lambda truth: truth.frames,
    "stands": lambda truth: truth.frames[:1].expand_as(truth.frames),
}


def encode(frames: Tensor) -> Tensor:
    """Mean and spread of each cell's colours: [1+T,6,h,w]."""
    kept = frames[::4]
    mean = avg_pool2d(kept, 8)
    return torch.cat([mean, (avg_pool2d(kept.square(), 8) - mean.square()).clamp_min(0).sqrt()], 1)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("unseen")
    options = UnseenOptions(
        out=out, scenes=1, chunks=1, seed=0, memories=("truth", "stands"), moves=("pan",), gaps=(8,)
    )
    subject = Subject(size=SIZE, chunk_frames=CHUNK)

    def measured() -> dict:
        return evaluate_unseen(
            lambda name, truth: Player(WALKERS[name](truth)), options, subject=subject, encode=encode
        )

    measured()
    told = measured()  # from what the first time left
    assert (out / "report.md").read_text().count(f"| {FLOOR} |") >= 2
    assert len(list(out.glob("scene-*/sheet.png"))) == 1
    return told


@pytest.fixture(scope="module")
def motions() -> dict:
    """Of videos, everywhere: the true one, one that no longer turns after frame 8, and one that never does."""
    scene = Scene.sample(3)
    path = MOVES["pan"](scene, 13)
    view = scene.render(path, (96, 128))
    true, depth = view.rgb, view.depth[::4]
    everywhere = torch.ones(13, 96, 128, dtype=torch.bool)
    videos = {"true": true, "stands": true[torch.arange(13).clamp(max=8)], "frozen": true[:1].expand_as(true)}
    return {
        name: motion_pairs(video, path, everywhere, depth, chunk_frames=13, gaps=(4,)) for name, video in videos.items()
    }


def test_true_frames_move_as_commanded_and_a_still_picture_does_not(motions):
    true, stands = motions["true"]["pairs"], motions["stands"]["pairs"]
    assert [(pair["first"], pair["frames"], pair["chunk"]) for pair in true] == [(4, 4, 0), (8, 4, 0)]
    for pair in true:
        assert pair["commanded"] == pytest.approx(4 * RATE, abs=0.01)
        assert pair["baseline"] == pytest.approx(0, abs=1e-6)
        assert pair["rotation_error"] < 0.4
    assert stands[0] == true[0]
    assert stands[1]["rotation_error"] == pytest.approx(4 * RATE, abs=0.3)


def test_a_chunk_is_off_by_what_its_pairs_say_together(motions):
    (true,), (frozen,) = (motions[name]["chunks"] for name in ("true", "frozen"))
    for chunk in (true, frozen):
        assert chunk["frames"] == 12
        assert chunk["commanded"] == pytest.approx(12 * RATE, abs=0.01)
    assert true["rotation_error"] < 0.6
    assert frozen["rotation_error"] == pytest.approx(12 * RATE, abs=0.1)


def test_what_could_not_be_told_counts_as_wrong():
    def entry(off: float | None, *, first: int) -> dict:
        return {
            "chunk": 0,
            "first": first,
            "frames": 4,
            "commanded": 5.0,
            "baseline": 0.1,
            "rotation_error": off,
            "direction_error": off,
        }

    pairs = [entry(off, first=4 * i) for i, off in enumerate((1.0, 3.0, 0.5, None))]
    told = summarise([{"move": "pan", "camera": {"latent": {"pairs": pairs, "chunks": pairs[-1:]}}}])["latent"]
    errors = told["by_gap"][4]
    assert errors == told["by_move"]["pan"]
    assert (errors["rotation"]["median"], errors["rotation"]["n"]) == (1.0, 3)
    assert (errors["within"], errors["could_not"], errors["still"]) == (0.5, 0.25, 5.0)
    assert told["per_chunk"]["rotation"] == {"median": None, "low": None, "high": None, "n": 0}
    assert told["per_chunk"]["could_not"] == 1


def test_walks_are_written_and_taken_up_again(results):
    assert not results["failures"]
    assert results["camera"].keys() == {"truth", "stands", FLOOR, FROZEN}
    (walk,) = results["tasks"].values()
    assert walk["move"] == "pan"
    assert 0.05 < walk["unseen"] < 0.4  # of a turn by 17.5 degrees
    assert walk["camera"]["truth"] == walk["camera"][FLOOR]


def test_true_latents_are_no_distance_away_and_blurred_is(results):
    latents = {name: entry["distance"] for name, entry in results["latents"].items()}
    blurred = next(name for name in latents if name.startswith("blurred"))
    assert latents["truth"] == pytest.approx(0, abs=1e-4)
    assert latents[blurred] > 1e-3
    assert latents["stands"] > 1e-3


def test_blurred_is_flat_and_a_sharper_picture_is_steep(results):
    detail = results["detail"]
    assert 0 < detail[BLURRED]["mean"] < 0.8
    area = torch.zeros(2, 8, 8, dtype=torch.bool)
    area[:, :, 4:] = True
    video = torch.zeros(2, 3, 8, 8)
    video[..., :4] = torch.rand(2, 3, 8, 4)  # what lies outside does not count, nor does the border
    assert steepness(video, area) == 0
    video[..., 5] = 0.5
    flat = steepness(video, area)
    assert flat == pytest.approx(0.5 * 2 * 8 / (8 * 3 + 7 * 4))
    assert flat is not None
    assert steepness(2 * video, area) == pytest.approx(2 * flat)
    assert steepness(video, ~area & False) is None


def test_distance_grows_with_blur():
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(33, 3, 64, 64, generator=generator)

    def cells(pictures: Tensor) -> Tensor:
        return encode(pictures).movedim(1, -1).reshape(-1, 6)

    blurs = {
        f"blur {k}": cells(torch.nn.functional.pad(avg_pool2d(frames, k, 1), (0, k - 1, 0, k - 1), value=0.5))
        for k in (3, 5, 9)
    }
    told = distances([{"true": cells(frames), "same": cells(frames), **blurs}])
    grown = [told[name]["distance"] for name in ("same", *blurs)]
    assert grown[0] == pytest.approx(0, abs=1e-6)
    assert grown == sorted(grown)
    assert grown[1] > 10 * told["true, halves (floor)"]["distance"]
    assert distances([]) == {}


def test_bad_requests_are_refused(tmp_path):
    requests: list[dict[str, Any]] = [
        {"scenes": 0},
        {"seed": 1000},
        {"chunks": 0},
        {"moves": ("hop",)},
        {"memories": ()},
        {"gaps": (17,)},
        {"gaps": ()},
    ]
    for wrong in requests:
        with pytest.raises(InputError, match=r"an evaluation has|moves are|gaps are"):
            evaluate_unseen(
                lambda name, truth: Player(truth.frames),
                UnseenOptions(out=tmp_path, **wrong),
                subject=Subject(size=SIZE, chunk_frames=CHUNK),
                encode=encode,
            )


def test_every_move_that_can_be_asked_for_can_be_made():
    assert tuple(MOVES) == MOVE_NAMES
