"""Which feature of a surface should stay when it is seen again: by what the bundled model's video is worth on return.

    python benchmarks/features.py [OUT]         # a table; 12 walks, half a minute of one core each

Walks there and back and up to a thing and back, 3 chunks, in held-out scenes 7000 to 7003. A stored point is replaced
by a new one if it is more than `ratio` times as coarse: if twice as coarse, if coarser, always.
"""

import sys
from pathlib import Path

import torch

from mirage.evaluation.options import SyntheticOptions
from mirage.evaluation.synthetic import run_synthetic
from mirage.evaluation.synthetic_tables import synthetic_table
from mirage.evaluation.variants import Variant
from mirage.memory import MemoryPolicy
from mirage.models.loading import load_world_model
from mirage.rollout.memories import latent_memory

RATIOS = {"first, unless twice as coarse": 2.0, "closest": 1.0, "newest": 0.0}


def variant(ratio: float) -> Variant:
    return Variant(lambda model: latent_memory(model, MemoryPolicy(resolution_ratio=ratio)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/features")
    options = SyntheticOptions(
        out=out, scenes=4, chunks=3, seed=7, memories=tuple(RATIOS), kinds=("there_and_back", "approach")
    )
    variants = {name: variant(ratio) for name, ratio in RATIOS.items()}
    print(synthetic_table(run_synthetic(load_world_model("mini"), options, variants=variants)))
