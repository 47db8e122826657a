"""What the denoiser sees of a past: what a rollout would read, and how it is made worse."""

import pytest
import torch

from helpers import walls
from mirage.conditioning import motion
from mirage.depth.freespace import seen_through
from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.memory import LatentSpatialMemory
from mirage.training.clips import load_latents
from mirage.training.denoiser import DenoiserConfig, DenoiserTask
from mirage.training.exercises import Exercises
from mirage.training.past import Augment, noisy_depth
from toys import at


def test_a_training_sample_is_the_readout_of_inference(model, latents):
    task = DenoiserTask(model, DenoiserConfig(Exercises(latents, frames=3, held_out=1)))
    path = task.maker.paths[0]
    clip = load_latents(path)
    sample = task.plain.chunk(path, 1, 1, torch.Generator().manual_seed(3))
    condition, x0 = sample.condition, sample.target[0]
    starts = [s for s in range(3) if torch.equal(x0.transpose(0, 1), clip.latents[s : s + 3])]
    assert len(starts) == 1
    start = starts[0]
    memory = LatentSpatialMemory(model.channels)
    depth, camera = clip.depth[: start + 1], clip.camera[: start + 1]
    memory.write(clip.latents[: start + 1], depth, camera, keep=~seen_through(depth, camera))
    readout = memory.read(clip.camera[start : start + 3], (8, 12))
    assert torch.equal(condition.memory[0].transpose(0, 1), readout.latents)
    assert torch.equal(condition.mask[0, 0].bool(), readout.mask)
    assert torch.equal(condition.first[0, :, 0], clip.latents[start])
    between = Camera.concatenate(
        [Camera.stack([clip.camera[start]] * 3)[None], clip.cameras_between[start + 1 : start + 3]]
    )
    assert condition.motion is not None
    assert torch.equal(condition.motion[0].transpose(0, 1), motion(readout, clip.camera[start : start + 3], between))


def test_prompts_are_whole_short_or_nothing(model, latents):
    augment = Augment(no_prompt=0.2, short_prompt=0.5)
    task = DenoiserTask(model, DenoiserConfig(Exercises(latents, augment=augment, frames=3, held_out=1)))
    caption = "a room with red walls, a blue floor and a green box; dim light"
    told = [task.maker.observer.prompt(caption, torch.Generator().manual_seed(seed)) for seed in range(200)]
    assert 0.1 < told.count("") / 200 < 0.3
    assert 0.4 < told.count(caption) / 200 < 0.7  # some that are cut keep everything
    assert len(set(told)) > 6


def test_noisy_depth_is_off_by_about_as_much_as_told():
    depth = walls(200, (8, 8), 3.0)
    noisy = noisy_depth(depth, 0.05, torch.Generator().manual_seed(0))
    assert torch.equal(noisy.valid, depth.valid)
    assert 0.03 < (noisy.z / 3).log().std() < 0.08


def test_a_sample_may_have_another_memory_and_the_models_own_depth(model, latents):
    augment = Augment(no_memory=0.4, pixel_memory=0.5, predicted_depth=0.5)
    task = DenoiserTask(model, DenoiserConfig(Exercises(latents, augment=augment, frames=3, held_out=1)))
    observer = task.maker.observer
    kinds = {type(observer.memory(torch.Generator().manual_seed(seed))).__name__ for seed in range(40)}
    assert kinds == {"LatentSpatialMemory", "RGBPointMemory", "NoneType"}
    for step in range(4):
        assert torch.isfinite(at(task, step))


def test_what_is_no_probability_is_refused():
    with pytest.raises(InputError, match=r"no_memory is 1\.5; expected a probability"):
        Augment(no_memory=1.5)
    with pytest.raises(InputError, match=r"depth_noise is -1"):
        Augment(depth_noise=-1)
