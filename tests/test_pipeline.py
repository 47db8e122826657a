"""`MiragePipeline` is a session under diffusers' call: loaded and saved as a pipeline is, and the same frames."""

from pathlib import Path

import pytest
import torch
from PIL import Image
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


def test_a_loaded_model_becomes_a_pipeline_and_loses_nothing(model) -> None:
    made = MiragePipeline.from_pipe(model)
    assert all(made.components[name] is part for name, part in model.components.items())
    assert {name: value for name, value in made.config.items() if not name.startswith("_")} == {
        name: value for name, value in model.config.items() if not name.startswith("_")
    }
    assert (made.tiles, made.offload, made.sampler) == (model.tiles, model.offload, model.sampler)
    assert MiragePipeline.from_pipe(model, default_steps=7).sampler.steps == 7


def test_by_name(pipe: MiragePipeline) -> None:
    made = MiragePipeline.from_pretrained("mini")
    assert (made.size, made.drafts) == ((192, 256), True)
    with pytest.raises(InputError, match="accepted"):
        MiragePipeline.from_pretrained("mini", variant="fp16")
    with pytest.raises(InputError, match="no model"):
        MiragePipeline.from_pretrained("nobody")


def test_pictures_in_and_out(pipe: MiragePipeline) -> None:
    """Of any size; as many frames as asked for, of the size asked for, as each kind that diffusers has."""
    photo = Image.new("RGB", (300, 200), (200, 30, 30))
    made = {kind: pipe(photo, "orbit", num_frames=5, height=32, width=64, num_inference_steps=1, output_type=kind)
            for kind in ("pil", "np", "pt", "latent")}  # fmt: skip
    (images,) = made["pil"].frames
    assert [image.size for image in images] == [(64, 32)] * 5
    assert made["np"].frames.shape == (1, 5, 32, 64, 3)
    assert made["pt"].frames.shape == (1, 5, 3, 32, 64)
    assert made["latent"].frames.shape == (1, 48, 2, 2, 4)
    assert torch.equal(torch.from_numpy(made["np"].frames), made["pt"].frames.permute(0, 1, 3, 4, 2))
    frames, session = pipe(photo, "w 4", num_inference_steps=1, memory="none", return_dict=False)
    assert len(frames[0]) == 5
    assert len(session.memory) == 0


def test_what_a_callback_returns_goes_on(pipe: MiragePipeline, image: Tensor) -> None:
    def zero(_, step, timestep, seen):
        assert seen["latents"].shape[:2] == (1, 48)
        return {"latents": torch.zeros_like(seen["latents"])}

    last = pipe(image, PATH, num_inference_steps=1, callback_on_step_end=zero, output_type="latent").frames
    assert torch.equal(torch.as_tensor(last)[0, :, 1:], torch.zeros(48, 2, 4, 6))
    with pytest.raises(InputError, match="latents"):
        pipe(image, PATH, callback_on_step_end_tensor_inputs=["prompt_embeds"])


def test_a_callback_may_interrupt(pipe: MiragePipeline, image: Tensor) -> None:
    """The chunks that are whole are shown, and the session stands at the last of them."""
    path, seen = pan(Camera.looking(aspect=1.5), 1 + 3 * (pipe.chunk_frames - 1)), []

    def stop(made: MiragePipeline, step: int, timestep: int, at: dict[str, Tensor]) -> None:
        seen.append(step)
        made._interrupt = len(seen) == 3

    found = pipe(image, path, num_inference_steps=2, callback_on_step_end=stop, output_type="pt")
    assert pipe.interrupt
    assert len(seen) == 3
    assert found.session.index == 1
    assert torch.as_tensor(found.frames).shape[1] == pipe.chunk_frames
    assert pipe(image, PATH, num_inference_steps=1).session.index > 0
    assert not pipe.interrupt
