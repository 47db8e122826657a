"""What steps see, made ahead of them: always in the same order, by other processes if asked, more than once if asked.

A batch is a function of (seed, number, rank) and of files, never of anything that learns. So it does not matter who
makes it or when, and the curve is the same to the bit with any number of workers (of one thread each).

    step    0 1 2 3   4 5 6 7   8 9 10 11  ...
    batch   0 1 2 3   0 1 2 3   4 5  6  7  ...      with reuse 2 and a RING of 4; noise and timesteps are drawn anew
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mirage.models.condition import Condition
from mirage.training.stopping import leave_interrupts_to_others

RING = 16
"""Batches that are kept to be used again; they lie where the model does."""


@dataclass(frozen=True)
class Batch:
    """What a step sees; a subclass names it."""

    def to(self, device: torch.device | str) -> Self:
        """The same with its tensors elsewhere."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{k: v.to(device) for k, v in held.items() if isinstance(v, Tensor | Condition)})


Maker = Callable[[int, torch.Generator], Batch]
"""The batch of a number, on the CPU. It must pickle, and draw from the generator alone."""


def batches(
    maker: Maker,
    *,
    seed: int,
    rank: int,
    first: int,
    stop: int,
    workers: int = 0,
    reuse: int = 1,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """What the steps `first`..`stop` - 1 see, on `device`. `workers` processes make it ahead; 0: this one, if asked."""
    steps = range(first, stop)
    made = iter(
        DataLoader(
            _Made(maker, seed, rank),
            batch_size=None,
            sampler=(number_of(step, reuse) for step in steps if _use_of(step, reuse) == 0 or step - RING < first),
            num_workers=workers,
            collate_fn=_as_it_is,
            multiprocessing_context="spawn" if workers else None,
            worker_init_fn=leave_interrupts_to_others,
            generator=torch.Generator(),  # or torch's own would be moved on
        )
    )
    held: dict[int, Batch] = {}
    for step in steps:
        number = number_of(step, reuse)
        if number not in held:
            held[number] = next(made).to(device)
        yield held[number]
        if _use_of(step, reuse) == reuse - 1:
            del held[number]


def number_of(step: int, reuse: int) -> int:
    """Which batch a step sees."""
    return step // (RING * reuse) * RING + step % RING


def _use_of(step: int, reuse: int) -> int:
    """Whether that is the first time (0), the second .."""
    return step // RING % reuse


def generator_of(seed: int, step: int, rank: int, *, noise: bool) -> torch.Generator:
    """Where the choices for a batch come from, or (`noise`) those that its loss makes."""
    return torch.Generator().manual_seed(((seed * 1_000_003 + step) * 64 + rank) * 2 + noise)


@dataclass(frozen=True)
class _Made(Dataset):
    maker: Maker
    seed: int
    rank: int

    def __getitem__(self, number: int) -> Batch:
        return self.maker(number, generator_of(self.seed, number, self.rank, noise=False))


def _as_it_is(batch: Any) -> Any:
    return batch
