"""Train the bundled model on a lent GPU: four commands of the machine, each under ten minutes, in one lease.

    python3 benchmarks/lease.py STAGE [--home runs/gpu] [--out $OUT]      there: stages 1, 2, 3, 4, one after the other
    python benchmarks/lease.py unpack FOLDER [--home runs/gpu]            here, or there after a lease that was lost
    python benchmarks/lease.py export [--home runs/gpu]                   here: home/mini, to look at and to measure

What is made lies in --home, which the machine keeps from one command to the next; what has come so far goes to --out
after every recipe, as shards of float16 of at most 16 MiB. A stage that was cut short goes on when it is given again.
docs/training.md, "On a lent GPU", has the commands, the times and what to do before and after.
"""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

import torch

from mirage.errors import InputError
from mirage.training.run import chosen_device, run
from mirage.training.shards import pack, unpack

STAGES = {
    "1": ("mini_gpu_clips", "mini_gpu_images", "mini_gpu_autoencoder", "mini_gpu_decoder"),
    "2": ("mini_gpu_latents", "mini_gpu_views", "mini_gpu_depth_head"),
    "3": ("mini_gpu_denoiser",),
    "4": ("mini_gpu_memories", "mini_gpu_detail", "mini_gpu_words", "mini_export"),
}
MAKERS = ("mini_gpu_clips", "mini_gpu_latents", "mini_gpu_views")
"""Recipes whose work is shared out among processes: a world takes a core longer than the GPU takes to draw it."""
PROCESSES = 14
WORLDS = 8
"""Held-out worlds that the last stage walks through; all fifty are for the machine that has hours."""


def main(argv: list[str]) -> int:
    """Run a stage, or put shards together; the exit code."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("what", choices=(*STAGES, "unpack", "export"))
    parser.add_argument("folder", nargs="?", type=Path, help="of shards, for unpack")
    parser.add_argument("--home", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "outputs/lease")))
    asked = parser.parse_args(argv)
    if (asked.what == "unpack") != (asked.folder is not None):
        parser.error("unpack takes the folder of the shards, and nothing else does")
    try:
        if asked.what == "unpack":
            tell(f"{', '.join(unpack(asked.folder, asked.home))} in {asked.home}")
            return 0
        for name in STAGES.get(asked.what, ("mini_export",)):
            started = time.monotonic()
            run(name, asked.home, processes=PROCESSES if name in MAKERS else 1)
            if asked.what in STAGES:
                pack(asked.home, asked.out)
            tell(f"{name} took {time.monotonic() - started:.0f} s")
        if asked.what == "4":
            evaluate(asked.home / "mini", asked.out)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def evaluate(model: Path, out: Path) -> None:
    """A short look at held-out worlds where the GPU is; report.md and results.json go to `out`."""
    # here, because every process that a stage starts imports this file too
    from mirage.evaluation.options import SyntheticOptions
    from mirage.evaluation.synthetic import run_synthetic
    from mirage.models.loading import load_world_model

    world = load_world_model(model, dtype=torch.float32, device=chosen_device())
    options = SyntheticOptions(
        out=model.parent / "evaluation", scenes=WORLDS, chunks=3, memories=("latent", "rgb", "none")
    )
    run_synthetic(world, options, progress=lambda what, done, of: tell(f"{what} {done}/{of}"))
    for name in ("report.md", "results.json"):
        shutil.copy(options.out / name, out / name)


def tell(what: str) -> None:
    print(f"{time.strftime('%X')} {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
