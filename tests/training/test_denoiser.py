"""What learns when the denoiser is trained."""

from dataclasses import replace

import pytest
import torch

from mirage.errors import InputError
from mirage.training.denoiser import DenoiserConfig, DenoiserTask
from mirage.training.exercises import Exercises
from mirage.training.loop import fit
from mirage.training.past import Augment
from mirage.training.schedule import Schedule
from toys import at, small_model


def test_the_denoiser_learns_and_every_part_gets_a_gradient(model, latents, tmp_path):
    task = DenoiserTask(
        model, DenoiserConfig(Exercises(latents, augment=Augment(no_memory=0), batch=2, frames=3, held_out=1))
    )
    fit(task, Schedule(steps=2, warmup=1), tmp_path)  # projections leave zero, so the next gradient reaches everything
    at(task, 5).backward()
    silent = [name for name, p in task.module.named_parameters() if p.grad is None or not p.grad.any()]
    assert not [name for name in silent if "text" not in name]
    before = task.evaluate()["loss_memory"]
    fit(task, Schedule(steps=30, warmup=2, muon_lr=0.01, average=0.8), tmp_path)
    assert task.evaluate()["loss_memory"] < before


def test_only_the_detail_path_learns_when_it_is_asked_alone(latents):
    model = small_model(detail_channels=8, detail_blocks=1, prediction="sample")
    task = DenoiserTask(model, DenoiserConfig(Exercises(latents, batch=1, frames=3, held_out=1), train=("detail",)))
    at(task, 0).backward()
    parts = DenoiserTask.modules(model).values()
    learns = {name for part in parts for name, p in part.named_parameters() if p.requires_grad}
    assert learns
    assert all(name.startswith("detail.") for name in learns)
    assert all(name.startswith("detail.") for name, _ in task.module.named_parameters())


def test_in_bfloat16_everything_learns_too(latents):
    """As the bundled model does on a GPU: with a detail path, predicting clean latents."""
    model = small_model(detail_channels=8, detail_blocks=1, prediction="sample")
    config = DenoiserConfig(Exercises(latents, batch=2, frames=3, held_out=1))
    exact, rounded = (at(DenoiserTask(model, replace(config, bf16=bf16)), 1) for bf16 in (False, True))
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0)
    assert not torch.equal(rounded, exact)
    rounded.backward()
    branch = model.memory_branch
    assert branch is not None
    assert branch.detail is not None
    gradients = [p.grad for p in branch.detail.leave[-1].parameters()]  # the others wait for it
    assert all(g is not None and torch.isfinite(g).all() and g.any() for g in gradients)


def test_a_part_that_nothing_has_is_refused(latents):
    with pytest.raises(
        InputError, match=r"train names 'words'; accepted: transformer, memory_branch, text_encoder, detail"
    ):
        DenoiserConfig(Exercises(latents), train=("words",))
