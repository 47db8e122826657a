"""`MiragePipeline` is a session under diffusers' call: loaded and saved as a pipeline is, and the same frames."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import pan
from mirage.models import flow
from mirage.pipeline import MiragePipeline
from mirage.rollout import Session
from mirage.rollout.settings import Settings
from mirage.sampler import Sampler


@pytest.fixture(scope="module")
def pipe(saved: Path) -> MiragePipeline:
    return MiragePipeline.from_pretrained(saved)


PATH = pan(Camera.looking(aspect=1.5), 9)


def test_the_call_is_a_session(pipe: MiragePipeline, image: Tensor) -> None:
    steps: list[int] = []
    found = pipe(
        image,
        PATH,
        "a red room",
        num_inference_steps=2,
        output_type="pt",
        callback_on_step_end=lambda _, step, timestep, seen: steps.append(step),
    )
    session = Session(pipe, image, camera=PATH[0], prompt="a red room", settings=Settings(sampler=Sampler(steps=2)))
    frames = torch.cat([chunk.frames for chunk in session.follow(PATH)])
    assert torch.equal(torch.as_tensor(found.frames)[0], frames)
    assert len(found.session.memory) == len(session.memory)
    assert steps == [0, 1] * (len(steps) // 2)
    assert steps


def test_the_callback_is_given_the_timesteps_that_ran(pipe: MiragePipeline, image: Tensor) -> None:
    """Not those of the model's own scheduler, which no call touches."""
    seen: list[int] = []
    pipe(
        image,
        PATH,
        num_inference_steps=4,
        callback_on_step_end=lambda _, step, timestep, at: seen.append(timestep),
    )
    ran = flow.sigmas(pipe.scheduler, Sampler(steps=4).over(pipe.sampler))
    assert seen == [int(1000 * sigma) for sigma in ran]


def test_the_seed_comes_from_the_generator(pipe: MiragePipeline, image: Tensor) -> None:
    def seeded(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.as_tensor(pipe(image, PATH, num_inference_steps=1, generator=generator).frames)

    assert torch.equal(seeded(1), seeded(1))
    assert not torch.equal(seeded(1), seeded(2))


def test_arrays_have_channels_last(pipe: MiragePipeline, image: Tensor) -> None:
    frames, _ = pipe(image, PATH, num_inference_steps=1)
    assert frames.shape == (1, 9, 64, 96, 3)


def test_a_path_is_a_row_of_cameras(pipe: MiragePipeline, image: Tensor) -> None:
    with pytest.raises(InputError, match="path"):
        pipe(image, PATH[0])
