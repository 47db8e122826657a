"""The weights in the package give the figures of docs/results.md."""

import re
from pathlib import Path

from mirage.evaluation.synthetic import SyntheticOptions, run_synthetic
from mirage.models.world import load_world_model

RESULTS = Path(__file__).parents[2] / "docs" / "results.md"


def stated(row: str) -> tuple[float, float]:
    """PSNR on return and its spread over worlds, from the table of held-out worlds."""
    found = re.search(r"<!-- made: worlds -->(.*?)<!-- end -->", RESULTS.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    cell = re.search(rf"^\| {re.escape(row)} \| ([\d.]+) ± ([\d.]+) \|", found[1], re.MULTILINE)
    assert cell is not None, row
    return float(cell[1]), float(cell[2])


def test_five_worlds_come_back_as_the_results_say(tmp_path):
    options = SyntheticOptions(tmp_path, worlds=5, chunks=3, memories=("latent",))
    told = run_synthetic(load_world_model("mini"), options)
    assert not told["failures"]
    for row, found in (("latent", told["return"]["latent"]), ("ceiling: autoencoder", told["ceiling"])):
        mean, spread = stated(row)
        assert found["n"] == 5
        assert abs(found["psnr"] - mean) < spread
