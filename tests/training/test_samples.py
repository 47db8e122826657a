"""A batch is the same, to the bit, whoever makes it."""

import pickle
from dataclasses import fields, is_dataclass

import torch

from mirage.training.autoencoder import AutoencoderConfig, AutoencoderTask
from mirage.training.denoiser import DenoiserConfig, DenoiserTask
from mirage.training.depth_head import DepthHeadConfig, DepthHeadTask
from mirage.training.exercises import Exercises
from mirage.training.past import Augment
from mirage.training.samples import batches


def test_every_batch_is_the_same_whoever_makes_it(model, clips, latents):
    """To the bit, by a copy as another process gets it; with the autoencoder and the depth head in it, too."""
    augment = Augment(no_memory=0, pixel_memory=0.5, predicted_depth=0.5)
    exercises = Exercises(latents, augment=augment, batch=2, frames=3, held_out=1)
    tasks = (
        DenoiserTask(model, DenoiserConfig(exercises)),
        DepthHeadTask(model.depth_head, DepthHeadConfig(latents, batch=4, held_out=1)),
        AutoencoderTask(model.vae, AutoencoderConfig(clips, mix=((1, 32, 2), (5, 32, 1)), held_out=1)),
    )
    for task in tasks:
        twin = pickle.loads(pickle.dumps(task.maker))
        one, its, other = (
            maker(n, torch.Generator().manual_seed(n)) for maker, n in ((task.maker, 1), (twin, 1), (twin, 2))
        )
        assert same(one, its)
        assert not same(one, other)


def test_a_worker_makes_what_this_process_makes(model, latents):
    exercises = Exercises(latents, augment=Augment(predicted_depth=0.5), batch=1, frames=3, held_out=1)
    task = DenoiserTask(model, DenoiserConfig(exercises))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker
    try:
        here, there = (
            list(batches(task.maker, seed=3, rank=0, first=1, stop=5, workers=workers)) for workers in (0, 1)
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
    return one == other
