"""What is asked of a step: flow matching, or the last step of the model's own sampler."""

import copy
from dataclasses import replace

import pytest
import torch

from mirage.errors import InputError
from mirage.models import flow
from mirage.training.clips import clip_path, load_latents
from mirage.training.denoiser import DenoiserConfig, DenoiserTask
from mirage.training.exercises import Exercises, Mix
from mirage.training.objective import LastStep, Objective, pixel_weights
from mirage.training.past import Augment
from toys import at, batch_of, seen


def test_a_step_from_the_models_own_sampling_asks_for_what_is_known_alone(model, latents):
    exercises = Exercises(latents, augment=Augment(no_memory=0), batch=2, frames=3, held_out=1)
    task = DenoiserTask(model, DenoiserConfig(exercises, Objective(last_step=LastStep(1.0, (3,)))))
    batch = seen(task, 0)
    assert batch.steps == 3
    known = batch.condition.mask.bool()
    known[:, :, 0] = False  # that frame is given
    assert 0 < known.float().mean() < 1

    def loss(target):
        return task.loss(replace(batch, target=target), torch.Generator().manual_seed(1))[0].item()

    at_first = loss(batch.target)
    assert loss(batch.target + 9 * ~known) == pytest.approx(at_first)
    assert loss(batch.target + 9 * known) > at_first + 1


def test_a_channel_counts_by_what_it_does_to_the_pixels(model, latents):
    """A decoder that hears nothing of channel 0, and then three times as much of channel 2; it is no linear one."""
    model, clip = copy.deepcopy(model), load_latents(clip_path(latents, 0))
    with torch.no_grad():
        conv = model.vae.post_quant_conv
        conv.weight[:, 0] = 0
        before = pixel_weights(model, clip.latents, least=0.01).flatten()
        conv.weight[:, 2] *= 3
        after = pixel_weights(model, clip.latents, least=0.01).flatten()
    assert before[0] == pytest.approx(0.01)
    assert (before[1:] > 0.05).all()
    assert 1.5 < (after[2] / after[3]) / (before[2] / before[3]) < 4.5
    exercises = Exercises(latents, batch=1, frames=3, held_out=1)
    task = DenoiserTask(model, DenoiserConfig(exercises, Objective(pixel_weighted=True)))
    assert torch.equal(task.flow.weights.flatten(), after.clamp_min(0.2))


def test_glimpses_may_lean_to_noise(model, latents, monkeypatch):
    """With a shift of their own; other chunks keep that of all."""
    shifts = []
    draw_timesteps = flow.sample_timesteps

    def noted(size, *, shift, **others):
        shifts.append(shift)
        return draw_timesteps(size, shift=shift, **others)

    monkeypatch.setattr(flow, "sample_timesteps", noted)
    for mix in (Mix(chunk=0, glimpses=1), Mix()):
        exercises = Exercises(latents, mix, batch=1, frames=3, held_out=1)
        at(DenoiserTask(model, DenoiserConfig(exercises, Objective(glimpse_shift=10.0, shift=2.0))), 0)
    assert shifts == [10.0, 2.0]


def test_samplers_of_every_length_asked_for_are_learnt_from_at_their_share(model, latents):
    objective = Objective(last_step=LastStep(0.4, (2, 5)))
    maker = DenoiserTask(model, DenoiserConfig(Exercises(latents, batch=1, frames=3, held_out=1), objective)).maker
    steps = [batch_of(maker, number).steps for number in range(60)]
    assert set(steps) == {0, 2, 5}
    assert 0.2 < 1 - steps.count(0) / 60 < 0.6


def test_a_draft_is_learnt_from_where_its_own_sampler_stands_before_its_last_step(model, latents, monkeypatch):
    """With all of the noise and down to little, and without guidance; a chunk where that of chunks does."""
    asked = []
    sampled = flow.denoise

    def noted(*given, sampler, **others):
        asked.append(sampler)
        return sampled(*given, sampler=sampler, **others)

    monkeypatch.setattr(flow, "denoise", noted)
    objective = Objective(last_step=LastStep(1.0, (2,)), draft_step=LastStep(1.0, (5,)))
    for mix in (Mix(chunk=0, glimpses=1), Mix()):
        exercises = Exercises(latents, mix, batch=1, frames=3, held_out=1)
        at(DenoiserTask(model, DenoiserConfig(exercises, objective)), 0)
    assert asked[0] == replace(model.draft_sampler, steps=5, guidance=1.0)
    assert asked[1] == replace(model.sampler, steps=2)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"share": 1.5}, r"last steps is 1\.5; expected 0 to 1"), ({"steps": ()}, "a last step is of")],
)
def test_a_last_step_checks_itself(wrong, words):
    with pytest.raises(InputError, match=words):
        LastStep(**wrong)


@pytest.mark.parametrize("mix", [Mix(), Mix(chunk=0, glimpses=1)])
def test_pixels_count_where_latents_do_and_steepness_everywhere(model, latents, mix):
    """Of a draft the last frames of the groups, as a rollout looks at it."""
    exercises = Exercises(latents, mix, Augment(no_memory=0), batch=1, frames=5, held_out=1)

    def loss(target=None, **asked):
        last = LastStep(1.0, (3,), **asked)
        objective = Objective(last_step=last, draft_step=last if mix.glimpses else None)
        task = DenoiserTask(model, DenoiserConfig(exercises, objective))
        batch = seen(task, 0)
        some = torch.rand(batch.condition.mask.shape, generator=torch.Generator().manual_seed(2)) > 0.5
        batch = replace(batch, condition=replace(batch.condition, mask=some.float()))
        known = some.clone()
        known[:, :, 0] = True  # that frame is given
        if target is not None:
            batch = replace(batch, target=batch.target + target(known))
        value = task.loss(batch, torch.Generator().manual_seed(1))[0]
        value.backward()
        assert all(p.grad is None for p in model.vae.parameters())
        assert any(p.grad is not None and p.grad.any() for p in model.memory_branch.parameters())
        return float(value.detach())

    plain = loss()
    by_pixels, by_steepness = loss(pixels=1.0) - plain, loss(steepness=1.0) - plain
    assert by_pixels > 1e-6
    assert by_steepness > 1e-6
    assert loss(pixels=2.0, steepness=3.0) == pytest.approx(plain + 2 * by_pixels + 3 * by_steepness, rel=1e-3)
    far = loss(lambda known: 9.0 * ~known, steepness=1.0)
    assert abs(far - plain - by_steepness) > 1e-6  # what nobody knows is still to be as steep
    assert loss(lambda known: 9.0 * ~known) == pytest.approx(plain)
    assert loss(lambda known: 9.0 * ~known, unknown=0.5) > plain + 1
