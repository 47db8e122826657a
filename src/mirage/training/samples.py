"""What steps see: one endless order of samples, given out to processes, made ahead by workers if asked.

An epoch is a permutation of the clips, and the epochs follow each other. Of that order each batch of each process takes
the next samples, so no two see the same one and none is left out; a batch may end one epoch and begin the next.

    sample    0   1   2   3   4   5   6   7   8   9  10  11  ..       of 7 clips the epochs begin at 0, 7, 14, ..
    process   0   0   1   1   0   0   1   1   0   0   1   1           two processes, two samples a batch
    batch     0               1               2

What a sample is depends on the seed, its number and files, never on who makes it or on anything that learns. So the
curve is the same to the bit with any number of workers (of one thread each), and a run that knows the number of its
next sample goes on in the middle of an epoch, with whatever number of processes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mirage.models.condition import Condition
from mirage.training import parallel
from mirage.training.draws import generator_of
from mirage.training.stopping import leave_interrupts_to_others

T = TypeVar("T")


@dataclass(frozen=True)
class Sample:
    """One of the order, by its `number`."""

    seed: int
    number: int

    def of(self, clips: Sequence[T]) -> T:
        """Its clip."""
        epoch, place = divmod(self.number, len(clips))
        return clips[_permutation(self.seed, epoch, len(clips))[place]]

    @cached_property
    def generator(self) -> torch.Generator:
        """What else is drawn for it comes from here."""
        return generator_of("sample", self.seed, self.number)


@dataclass(frozen=True)
class Turn:
    """What one process makes batch `number` of: its `samples`, of those that begin with `start` and end before `end`
    for all processes together."""

    number: int
    start: int
    end: int
    samples: tuple[Sample, ...]

    @property
    def noise(self) -> torch.Generator:
        """For the choices that the loss makes."""
        return generator_of("noise", self.samples[0].seed, self.samples[0].number)


@dataclass(frozen=True)
class Batch:
    """What a step sees; a subclass names it."""

    def to(self, device: torch.device | str) -> Self:
        """The same with its tensors elsewhere."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{k: v.to(device) for k, v in held.items() if isinstance(v, Tensor | Condition)})


class Maker(Protocol):
    """Makes batches, on the CPU. It must pickle."""

    def size(self, number: int) -> int:
        """Samples of a process in the batch of this number."""
        ...

    def __call__(self, number: int, samples: Sequence[Sample]) -> Batch:
        """The batch. What processes must have in common is drawn from its number, all else from its samples."""
        ...


def turns(maker: Maker, *, seed: int, batches: range, sample: int) -> Iterator[Turn]:
    """This process's turns at these batches; the first of them begins with `sample`."""
    for number in batches:
        size = maker.size(number)
        first, end = sample + parallel.rank() * size, sample + parallel.world_size() * size
        yield Turn(number, sample, end, tuple(Sample(seed, n) for n in range(first, first + size)))
        sample = end


def made(
    maker: Maker, *, seed: int, batches: range, sample: int, workers: int = 0, device: torch.device | str = "cpu"
) -> Iterator[tuple[Turn, Batch]]:
    """The turns with their batches, on `device`. `workers` processes make them ahead; 0: this one, when it is asked."""
    order = (turns(maker, seed=seed, batches=batches, sample=sample) for _ in range(2))
    ahead = DataLoader(
        _Made(maker),
        batch_size=None,
        sampler=next(order),
        num_workers=workers,
        collate_fn=_as_it_is,
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=leave_interrupts_to_others,
        generator=torch.Generator(),  # or torch's own would be moved on
    )
    for turn, batch in zip(next(order), ahead, strict=True):
        yield turn, batch.to(device)


@lru_cache(maxsize=8)
def _permutation(seed: int, epoch: int, count: int) -> list[int]:
    return torch.randperm(count, generator=generator_of("epoch", seed, epoch)).tolist()


@dataclass(frozen=True)
class _Made(Dataset[Batch]):
    maker: Maker

    def __getitem__(self, turn: Turn) -> Batch:
        return self.maker(turn.number, turn.samples)


def _as_it_is(batch: Any) -> Any:
    return batch
