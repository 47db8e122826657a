"""The weights in the package give the figures of results/."""

import json
from pathlib import Path

import torch

from mirage.evaluation.metrics import psnr
from mirage.evaluation.options import SyntheticOptions
from mirage.evaluation.truth import GroundTruth, returned
from mirage.evaluation.variants import session_maker
from mirage.models.loading import load_world_model

RESULTS = Path(__file__).parents[2] / "results" / "ninth" / "worlds.json"


def stated(row: str) -> tuple[float, float]:
    """PSNR on return and its spread over scenes, from what was measured on the held-out ones."""
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["tables"]["Return and seen regions"]
    cell = next(entry["return PSNR"] for entry in rows if entry["memory"] == row)
    return cell["mean"], cell["spread"]


@torch.no_grad()
def test_three_scenes_come_back_as_the_results_say():
    model = load_world_model("mini")
    make = session_maker(model, ["latent"])
    options = SyntheticOptions()
    back, ceiling = [], []
    for seed in range(3):
        kind = options.kinds[seed % len(options.kinds)]
        truth = GroundTruth.sample(seed, kind, frames=97, size=model.size)
        video = torch.cat([chunk.frames for chunk in make("latent", truth).follow(truth.path)])
        at = returned(truth.path)
        back.append(psnr(video[at], truth.frames[at]).mean().item())
        ceiling.append(psnr(model.decode(model.encode(truth.frames))[at], truth.frames[at]).mean().item())
    for row, found in (("latent", back), ("ceiling: autoencoder", ceiling)):
        mean, spread = stated(row)
        assert abs(sum(found) / 3 - mean) < spread, (row, found)
