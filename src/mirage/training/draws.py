"""Random choices from a generator that is handed in: a sample is what (seed, its number) says and nothing else."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def generator_of(*key: int | str) -> torch.Generator:
    """One for each key, the same in every process: `generator_of("noise", seed, number)`."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def draw(n: int, generator: torch.Generator) -> int:
    """One of 0..n-1."""
    return int(torch.randint(n, (), generator=generator))


def chance(share: float, generator: torch.Generator) -> bool:
    """True with this probability."""
    return bool(torch.rand((), generator=generator) < share)


def normal(shape: Sequence[int], generator: torch.Generator, device: torch.device) -> Tensor:
    """Standard normal numbers. A GPU draws its own, seeded from the generator: a processor would hold it up."""
    if device.type == "cpu":
        return torch.randn(shape, generator=generator)
    there = torch.Generator(device).manual_seed(draw(2**62, generator))
    return torch.randn(shape, generator=there, device=device)
