"""Samples have one order, of which each batch takes the next; a batch is the same, to the bit, whoever makes it."""

import json
import pickle
from collections import Counter
from dataclasses import dataclass, fields, is_dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mirage.training import parallel
from mirage.training.autoencoder import AutoencoderConfig, AutoencoderTask
from mirage.training.denoiser import DenoiserConfig, DenoiserTask
from mirage.training.depth_head import DepthHeadConfig, DepthHeadTask
from mirage.training.exercises import Exercises, Mix
from mirage.training.loop import fit
from mirage.training.past import Augment
from mirage.training.samples import Batch, Sample, made, turns
from mirage.training.schedule import Schedule
from toys import batch_of


@dataclass(frozen=True)
class Named(Batch):
    """Which clips a batch has, of `Names`."""

    clips: tuple[int, ...]


@dataclass(frozen=True)
class Names:
    """A maker whose batches differ in size, as those of different exercises do."""

    count: int = 7
    sizes: tuple[int, ...] = (2, 1, 3)

    def size(self, number):
        return self.sizes[number % len(self.sizes)]

    def __call__(self, number, samples):
        return Named(tuple(sample.of(range(self.count)) for sample in samples))


@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 20),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    worlds=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 6)), min_size=1, max_size=4),
)
def test_every_clip_comes_once_an_epoch_whoever_goes_on(seed, count, sizes, worlds):
    """A run goes on again and again, each time with another number of processes and for so many batches."""
    maker, sample, number, order = Names(count, sizes), 0, 0, []
    for world, batches in worlds:
        dealt, end = {}, sample
        for rank in range(world):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(parallel, "rank", lambda rank=rank: rank)
                patch.setattr(parallel, "world_size", lambda world=world: world)
                mine = list(turns(maker, seed=seed, batches=range(number, number + batches), sample=sample))
            dealt |= {one.number: one for turn in mine for one in turn.samples}
            assert sum(len(turn.samples) for turn in mine) * world == (mine[-1].end if mine else sample) - sample
            end = mine[-1].end if mine else end
        assert sorted(dealt) == list(range(sample, end))  # no two have the same one, and none is left out
        order += [dealt[n].of(range(count)) for n in range(sample, end)]
        sample, number = end, number + batches
    for first in range(0, len(order), count):
        epoch = Counter(order[first : first + count])
        assert max(epoch.values()) == 1
    assert order == [Sample(seed, n).of(range(count)) for n in range(sample)]


class Noted:
    """Notes which clips each step saw, a file a process."""

    def __init__(self, folder, *, die_at=None):
        self.module: nn.Module = nn.Linear(1, 1)
        self.maker, self.folder, self.die_at = Names(), folder, die_at

    def loss(self, batch, generator):
        with (self.folder / f"{parallel.world_size()}-{parallel.rank()}.jsonl").open("a") as file:
            file.write(json.dumps(batch.clips) + "\n")
        loss = self.module(torch.randn(1, 1, generator=generator)).square().sum()
        return loss, {"loss": float(loss.detach())}

    def evaluate(self):
        return {}


def _noted(folder, steps):
    schedule = Schedule(steps=steps, warmup=1, accumulate=2, seed=5, checkpoint_seconds=0)
    fit(Noted(folder), schedule, folder)


def test_a_run_goes_on_in_the_middle_of_an_epoch_with_another_number_of_processes(tmp_path):
    """Two processes, then one: together the order of one that was never stopped."""
    parallel.launch(_noted, tmp_path, 2, processes=2)
    _noted(tmp_path, 5)

    def noted(name):
        return [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]

    both = [clip for pair in zip(noted("2-0"), noted("2-1"), strict=True) for batch in pair for clip in batch]
    alone = [clip for batch in noted("1-0") for clip in batch]
    assert len(both) % 7  # in the middle of an epoch
    assert both + alone == [Sample(5, n).of(range(7)) for n in range(len(both) + len(alone))]
    assert len(both) + len(alone) > 2 * 7


def test_what_is_drawn_differs_between_samples_epochs_and_seeds():
    drawn = {
        float(torch.rand((), generator=Sample(seed, number).generator)) for seed in range(3) for number in range(50)
    }
    assert len(drawn) == 150
    orders = {
        tuple(Sample(seed, 9 * epoch + place).of(range(9)) for place in range(9))
        for seed in range(3)
        for epoch in range(5)
    }
    assert len(orders) == 15


def test_every_batch_is_the_same_whoever_makes_it(model, clips, latents):
    """To the bit, by a copy as another process gets it; with the autoencoder and the depth head in it, too."""
    augment = Augment(no_memory=0, pixel_memory=0.5, predicted_depth=0.5)
    exercises = Exercises(latents, augment=augment, batch=2, frames=3, held_out=1)
    tasks = (
        DenoiserTask(model, DenoiserConfig(exercises)),
        DenoiserTask(model, DenoiserConfig(replace(exercises, mix=Mix(chunk=0, relived=1)))),
        DepthHeadTask(model.depth_head, DepthHeadConfig(latents, batch=4, held_out=1)),
        AutoencoderTask(model.vae, AutoencoderConfig(clips, mix=((1, 32, 2), (5, 32, 1)), held_out=1)),
    )
    for task in tasks:
        twin = pickle.loads(pickle.dumps(task.maker))
        one, its, other = (batch_of(maker, n) for maker, n in ((task.maker, 1), (twin, 1), (twin, 2)))
        assert same(one, its)
        assert not same(one, other)


def test_a_worker_makes_what_this_process_makes(model, latents):
    exercises = Exercises(latents, augment=Augment(predicted_depth=0.5), batch=1, frames=3, held_out=1)
    task = DenoiserTask(model, DenoiserConfig(exercises))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker
    try:
        here, there = (
            [batch for _, batch in made(task.maker, seed=3, batches=range(1, 5), sample=1, workers=workers)]
            for workers in (0, 1)
        )
    finally:
        torch.set_num_threads(threads)
    assert all(same(a, b) for a, b in zip(here, there, strict=True))


def same(one, other):
    """Whether two values, or all that is in them, are equal."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if is_dataclass(one):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other
