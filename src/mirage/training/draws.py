"""Random choices from a generator that is handed in: a step sees what (seed, step, rank) says and nothing else."""

import torch


def draw(n: int, generator: torch.Generator) -> int:
    """One of 0..n-1."""
    return int(torch.randint(n, (), generator=generator))


def chance(share: float, generator: torch.Generator) -> bool:
    """True with this probability."""
    return bool(torch.rand((), generator=generator) < share)
