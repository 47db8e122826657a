"""The weights in the package give the figures of docs/results.md."""

import re
from pathlib import Path

import torch

from mirage.evaluation.metrics import psnr
from mirage.evaluation.options import SyntheticOptions
from mirage.evaluation.truth import GroundTruth, returned
from mirage.evaluation.variants import session_maker
from mirage.models.loading import load_world_model

RESULTS = Path(__file__).parents[2] / "docs" / "results.md"


def stated(row: str) -> tuple[float, float]:
    """PSNR on return and its spread over worlds, from the table of held-out worlds."""
    found = re.search(r"<!-- made: worlds -->(.*?)<!-- end -->", RESULTS.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    cell = re.search(rf"^\| {re.escape(row)} \| ([\d.]+) ± ([\d.]+) \|", found[1], re.MULTILINE)
    assert cell is not None, row
    return float(cell[1]), float(cell[2])


@torch.no_grad()
def test_five_scenes_come_back_as_the_results_say():
    model = load_world_model("mini")
    make = session_maker(model, ["latent"])
    options = SyntheticOptions()
    back, ceiling = [], []
    for seed in range(5):
        kind = options.kinds[seed % len(options.kinds)]
        truth = GroundTruth.sample(seed, kind, frames=97, size=model.size)
        video = torch.cat([chunk.frames for chunk in make("latent", truth).follow(truth.path)])
        at = returned(truth.path)
        back.append(psnr(video[at], truth.frames[at]).mean().item())
        ceiling.append(psnr(model.decode(model.encode(truth.frames))[at], truth.frames[at]).mean().item())
    for row, found in (("latent", back), ("ceiling: autoencoder", ceiling)):
        mean, spread = stated(row)
        assert abs(sum(found) / 5 - mean) < spread, (row, found)
