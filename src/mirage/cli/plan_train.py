"""`mirage plan --train`: the memory that training takes of each GPU, before anything is loaded or downloaded."""

from mirage.cli.arguments import Plan
from mirage.cli.terminal import Result, progress
from mirage.errors import InputError, check_number
from mirage.training.budget import COPIES, training_budget
from mirage.units import parse_bytes

CONTEXT = 640 * 2**20
"""Bytes that CUDA itself takes of a GPU; an allowance."""
SPARE = 0.05
"""Share of the need that is left free: workspaces of convolutions and the allocator's rounding are not counted."""
WORDS = {
    "frozen": "frozen weights, this GPU's share",
    "learning": f"what learns, this GPU's share: {COPIES} float32 numbers each",
    "gathered": "weights that are whole for a while: outside the blocks, two blocks",
    "whole": "text encoder, autoencoder, depth head: not shared out",
    "activations": "activations of one sample, with gradient checkpoints",
}


def plan_training(asked: Plan) -> Result:
    """Count, print the table, and say whether it fits."""
    check_number("--gpus", asked.gpus, kind=int, low=1)
    check_number("--lora-rank", asked.lora_rank, kind=int, low=0)
    if asked.height is not None or asked.frames is not None:
        raise InputError("--train counts the model's own size and chunk; expected no --height, --width or --frames")
    gpu = None if asked.gpu is None else parse_bytes(asked.gpu)
    with progress("counting"):
        parts = training_budget(asked.model, gpus=asked.gpus, lora_rank=asked.lora_rank)
    peak = sum(parts.values())
    print(f"training {asked.model} on {asked.gpus} GPUs, by recipes/wan.py; the fullest GPU has\n")
    for name, size in parts.items():
        print(f"  {size / 2**30:>8.2f} GiB  {WORDS[name]}")
    print(f"  {peak / 2**30:>8.2f} GiB  together")
    summary = {"model": asked.model, "gpus": asked.gpus, "parts": parts, "peak": peak}
    if gpu is not None:
        fits = peak * (1 + SPARE) + CONTEXT <= gpu
        print(f"{asked.gpu}: {'fits' if fits else 'does not fit'} ({CONTEXT / 2**20:.0f} MiB for CUDA and {SPARE:.0%} "
              "to spare are counted in)")  # fmt: skip
        summary["fits"] = fits
    return Result(summary)
