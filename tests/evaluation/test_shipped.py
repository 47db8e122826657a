"""The weights in the package give the figures of docs/results.md."""

import re
from pathlib import Path

import torch

from mirage.evaluation.metrics import psnr
from mirage.evaluation.synthetic import Scene, SyntheticOptions, returned, session_maker
from mirage.models.world import load_world_model

RESULTS = Path(__file__).parents[2] / "docs" / "results.md"


def stated(row: str) -> tuple[float, float]:
    """PSNR on return and its spread over worlds, from the table of held-out worlds."""
    found = re.search(r"<!-- made: worlds -->(.*?)<!-- end -->", RESULTS.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    cell = re.search(rf"^\| {re.escape(row)} \| ([\d.]+) ± ([\d.]+) \|", found[1], re.MULTILINE)
    assert cell is not None, row
    return float(cell[1]), float(cell[2])


@torch.no_grad()
def test_five_worlds_come_back_as_the_results_say():
    world = load_world_model("mini")
    make = session_maker(world, ["latent"])
    options = SyntheticOptions(Path())
    back, ceiling = [], []
    for seed in range(5):
        kind = options.kinds[seed % len(options.kinds)]
        scene = Scene.sample(seed, kind, frames=97, size=world.size)
        video = torch.cat([chunk.frames for chunk in make("latent", scene).follow(scene.path)])
        at = returned(scene.path)
        back.append(psnr(video[at], scene.frames[at]).mean().item())
        ceiling.append(psnr(world.decode(world.encode(scene.frames))[at], scene.frames[at]).mean().item())
    for row, found in (("latent", back), ("ceiling: autoencoder", ceiling)):
        mean, spread = stated(row)
        assert abs(sum(found) / 5 - mean) < spread, (row, found)
