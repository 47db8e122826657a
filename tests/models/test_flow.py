"""The sampling loop against problems whose answer is known."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

from mirage.errors import InputError
from mirage.models import flow
from mirage.models.condition import Condition
from mirage.sampler import Sampler

MEAN, STD = 1.5, 0.4


def scheduler(prediction: Any, shift: float = 3.0) -> UniPCMultistepScheduler:
    return UniPCMultistepScheduler(prediction_type=prediction, use_flow_sigmas=True, flow_shift=shift)


def sampler_of(scheduler: UniPCMultistepScheduler, *, steps: int, noise: float = 1.0, guidance: float = 1.0) -> Sampler:
    its: Any = scheduler.config
    return Sampler(steps=steps, shift=its.flow_shift, last=its.shift_terminal or 0.0, noise=noise, guidance=guidance)


def sampled(predict, seen, *, scheduler, steps, noise_scale=1.0, guidance_scale=1.0, **choices) -> Tensor:
    sampler = sampler_of(scheduler, steps=steps, noise=noise_scale, guidance=guidance_scale)
    return flow.denoise(predict, seen, scheduler=scheduler, sampler=sampler, **choices)


def condition(b: int = 1, t: int = 3, h: int = 8, w: int = 8) -> Condition:
    return Condition(
        memory=torch.zeros(b, 2, t, h, w),
        mask=torch.zeros(b, 1, t, h, w),
        offset=torch.zeros(b, 2, t, h, w),
        rays=torch.zeros(b, 6, t, h, w),
        first=torch.full((b, 2, 1, h, w), 7.0),
        preceding=torch.zeros(b, 2, 0, h, w),
        references=torch.zeros(b, 2, 0, h, w),
        text=torch.zeros(b, 1, 4),
    )


def gaussian(prediction: str):
    """The perfect network for data ~ N(MEAN, STD^2) in each cell: x0 given x_sigma, or the velocity to go with it."""

    def predict(latents: Tensor, timestep: Tensor, _: Condition) -> Tensor:
        s = (timestep / 1000)[:, None, :, None, None]
        spread = (1 - s) ** 2 * STD**2 + s**2
        residual = latents - (1 - s) * MEAN
        x0 = MEAN + (1 - s) * STD**2 / spread * residual
        noise = s / spread * residual
        return x0 if prediction == "sample" else noise - x0

    return predict


@pytest.mark.parametrize("prediction", ["flow_prediction", "sample"])
def test_a_gaussian_is_transported_exactly(prediction: str) -> None:
    """The flow of a Gaussian is known: noise n ends at MEAN + STD * n. More steps come closer."""
    seen = condition()
    noise = torch.randn((1, 2, 2, 8, 8), generator=torch.Generator().manual_seed(5))
    errors = []
    for steps in (6, 24, 96):
        latents = sampled(
            gaussian(prediction), seen, scheduler=scheduler(prediction), steps=steps,
            generator=torch.Generator().manual_seed(5),
        )  # fmt: skip
        assert torch.equal(latents[:, :, :1], seen.first)
        errors.append((latents[:, :, 1:] - (MEAN + STD * noise)).abs().max().item())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.005


@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_calmer_noise_ends_nearer_to_the_mean(scale: float) -> None:
    """scale * n ends at MEAN + scale * STD * n; without any noise, at the mean."""
    noise = torch.randn((1, 2, 2, 8, 8), generator=torch.Generator().manual_seed(5))
    latents = sampled(
        gaussian("sample"), condition(), scheduler=scheduler("sample"), steps=96, noise_scale=scale,
        generator=torch.Generator().manual_seed(5),
    )  # fmt: skip
    torch.testing.assert_close(latents[:, :, 1:], MEAN + scale * STD * noise, atol=0.005, rtol=0)
    with pytest.raises(InputError, match=r"noise scale is 1\.5"):
        sampled(
            gaussian("sample"), condition(), scheduler=scheduler("sample"), steps=1, noise_scale=1.5,
            generator=torch.Generator(),
        )  # fmt: skip


def test_the_two_predictions_are_one_model() -> None:
    def once(p: str) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        return sampled(gaussian(p), condition(), scheduler=scheduler(p), steps=5, generator=generator)

    torch.testing.assert_close(once("flow_prediction"), once("sample"), atol=1e-4, rtol=1e-4)


def test_the_network_always_sees_a_clean_first_frame() -> None:
    seen, calls = condition(t=4), []

    def predict(latents: Tensor, timestep: Tensor, _: Condition) -> Tensor:
        calls.append(timestep[0])
        assert torch.equal(latents[:, :, :1], seen.first)
        return latents.new_full(latents.shape, math.pi)

    steps = []
    result = sampled(
        predict, seen, scheduler=scheduler("sample"), steps=4, generator=torch.Generator().manual_seed(0),
        callback=lambda at: steps.append((at.step, at.latents.shape)),
    )  # fmt: skip
    assert torch.allclose(result[:, :, 1:], torch.tensor(math.pi))
    assert [step for step, _ in steps] == [0, 1, 2, 3]
    assert all(t[0] == 0 and (t[1:] == t[1]).all() for t in calls)
    later = [t[1].item() for t in calls]
    assert later == sorted(later, reverse=True)
    assert 999 < later[0] <= 1000


def test_a_seed_is_a_video_and_the_scheduler_keeps_no_trace() -> None:
    shared = scheduler("sample")

    def once(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return sampled(gaussian("sample"), condition(), scheduler=shared, steps=3, generator=generator)

    first, other, again = once(3), once(4), once(3)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_stop_is_where_the_network_would_stand_at_that_step() -> None:
    seen, calls, shared = condition(t=3), [], scheduler("sample")

    def predict(latents: Tensor, timestep: Tensor, _: Condition) -> Tensor:
        calls.append((latents, timestep[0, 1].item()))
        return latents.cos()

    def once(stop: int | None) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return sampled(predict, seen, scheduler=shared, steps=4, generator=generator, stop=stop)

    once(None)
    for stop, (latents, timestep) in enumerate(calls[:4]):
        assert torch.equal(once(stop), latents)
        assert flow.TIMESTEPS * flow.sigmas(shared, sampler_of(shared, steps=4))[stop] == pytest.approx(timestep)
    assert torch.equal(once(4), once(None))


def test_guidance_goes_past_the_positive_away_from_the_negative() -> None:
    positive, negative = condition(), condition()

    def predict(latents: Tensor, _: Tensor, seen: Condition) -> Tensor:
        return torch.full_like(latents, 2.0 if seen is positive else 1.0)

    def once(scale: float, away: Condition | None) -> float:
        result = sampled(
            predict, positive, scheduler=scheduler("sample"), steps=3, generator=torch.Generator(),
            guidance_scale=scale, negative=away,
        )  # fmt: skip
        return result[0, 0, 1, 0, 0].item()

    assert once(1.0, None) == pytest.approx(2.0)
    assert once(3.0, negative) == pytest.approx(4.0)
    with pytest.raises(InputError, match="negative"):
        once(3.0, None)


def test_one_step_and_one_frame_are_enough() -> None:
    g = torch.Generator().manual_seed(0)
    one = sampled(gaussian("sample"), condition(t=1), scheduler=scheduler("sample"), steps=2, generator=g)
    assert torch.equal(one, condition(t=1).first)
    single = sampled(gaussian("sample"), condition(), scheduler=scheduler("sample"), steps=1, generator=g)
    torch.testing.assert_close(single[:, :, 1:], torch.full((1, 2, 2, 8, 8), MEAN), atol=1e-3, rtol=0)
    with pytest.raises(InputError, match="steps is 0"):
        sampled(gaussian("sample"), condition(), scheduler=scheduler("sample"), steps=0, generator=g)


@pytest.mark.parametrize("prediction", ["flow_prediction", "sample"])
def test_the_target_leads_back_to_x0(prediction: flow.Prediction) -> None:
    g = torch.Generator().manual_seed(0)
    x0, noise = torch.randn((2, 3, 4, 5, 6), generator=g), torch.randn((2, 3, 4, 5, 6), generator=g)
    sigma = flow.sample_timesteps((2, 4), generator=g, per_frame=True) / 1000
    noisy = flow.add_noise(x0, noise, sigma)
    torch.testing.assert_close(noisy[:, :, 0], x0[:, :, 0])
    torch.testing.assert_close(flow.to_x0(flow.target(x0, noise, prediction), noisy, sigma, prediction), x0)


@pytest.mark.parametrize("distribution", ["uniform", "logit_normal"])
def test_timesteps_are_spread_as_asked(distribution) -> None:
    g = torch.Generator().manual_seed(0)
    clips = flow.sample_timesteps((4000, 3), generator=g, distribution=distribution)
    assert clips.shape == (4000, 3)
    assert (clips[:, 0] == 0).all()
    assert torch.equal(clips[:, 1], clips[:, 2])
    assert clips.min() >= 0
    assert clips.max() <= 1000
    assert clips[:, 1].median() == pytest.approx(500, abs=25)
    frames = flow.sample_timesteps((4000, 3), generator=g, distribution=distribution, shift=3.0, per_frame=True)
    assert not torch.equal(frames[:, 1], frames[:, 2])
    assert frames[:, 1].median() == pytest.approx(750, abs=25)  # 3 * .5 / (1 + 2 * .5)


def remembered(t: int = 3) -> Condition:
    """The left half is known, to be 3."""
    seen = condition(t=t)
    mask = torch.zeros_like(seen.mask)
    mask[..., :4] = 1
    return replace(seen, memory=3 * mask.expand_as(seen.memory), mask=mask)


def guided(prediction: str, seen: Condition, memory: flow.Guidance | None, steps: int = 6) -> Tensor:
    return sampled(
        gaussian(prediction), seen, scheduler=scheduler(prediction), steps=steps,
        generator=torch.Generator().manual_seed(5), memory=memory,
    )  # fmt: skip


@pytest.mark.parametrize("prediction", ["flow_prediction", "sample"])
def test_guidance_sets_what_is_known_and_nothing_else(prediction: str) -> None:
    """Cells of this network know nothing of each other: what is unknown must come out as without guidance, if nothing
    is carried there."""
    seen = remembered()
    free = guided(prediction, seen, None)
    pulled = guided(prediction, seen, flow.Guidance(early=1, late=1, carry=0))
    torch.testing.assert_close(pulled[:, :, 1:, :, :4], torch.full((1, 2, 2, 8, 4), 3.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(pulled[..., 4:], free[..., 4:], atol=1e-4, rtol=0)
    assert torch.equal(pulled[:, :, :1], seen.first)
    torch.testing.assert_close(guided(prediction, condition(), flow.Guidance()), free, atol=1e-4, rtol=0)
    off = flow.Guidance(early=0, late=0)
    torch.testing.assert_close(guided(prediction, seen, off), free, atol=1e-4, rtol=0)


def test_guidance_is_the_same_for_both_predictions() -> None:
    seen, memory = remembered(), flow.Guidance()
    first, second = (guided(p, seen, memory) for p in ("flow_prediction", "sample"))
    torch.testing.assert_close(first, second, atol=1e-4, rtol=1e-4)
    known = first[:, :, 1:, :, :4].mean().item()
    assert MEAN < known < 3  # the network has its say in the late steps


def test_a_guided_network_sees_the_readout_with_the_noise_of_each_step() -> None:
    seen = remembered()
    noise = torch.randn((1, 2, 2, 8, 8), generator=torch.Generator().manual_seed(5))
    levels = []

    def predict(latents: Tensor, timestep: Tensor, _: Condition) -> Tensor:
        sigma = timestep[0, 1].item() / 1000
        expected = (1 - sigma) * 3 + sigma * noise[..., :4]
        torch.testing.assert_close(latents[:, :, 1:, :, :4], expected, atol=2e-3, rtol=0)
        levels.append(sigma)
        return torch.zeros_like(latents)

    sampled(
        predict, seen, scheduler=scheduler("sample"), steps=5, generator=torch.Generator().manual_seed(5),
        memory=flow.Guidance(early=1, late=1),
    )  # fmt: skip
    assert len(levels) == 5


def scattered(seed: int, known: float, shape: tuple[int, int] = (7, 12)) -> tuple[Tensor, Condition]:
    """A prediction and a readout that have nothing to do with each other, known in that share of cells."""
    g = torch.Generator().manual_seed(seed)
    x0, memory = torch.randn((2, 1, 2, 3, *shape), generator=g)
    mask = (torch.rand((1, 1, 3, *shape), generator=g) < known).float()
    empty = torch.zeros(1, 2, 0, *shape)
    return x0, replace(
        condition(),
        memory=memory * mask,
        mask=mask,
        offset=torch.zeros(1, 2, 3, *shape),
        rays=torch.zeros(1, 6, 3, *shape),
        first=x0[:, :, :1],
        preceding=empty,
        references=empty,
    )


@pytest.mark.parametrize("known", [0.02, 0.3, 0.9])
def test_a_tone_that_is_off_is_off_nowhere(known: float) -> None:
    """What the network makes is the truth and a constant; a few known cells tell the constant for the whole frame."""
    x0, seen = scattered(0, known)
    truth = x0 - torch.tensor([1.0, -2.0])[:, None, None, None]
    told = flow.Guidance(carry=2000).pulled(x0, replace(seen, memory=truth * seen.mask), sigma=1.0)
    some = seen.mask[0, 0].flatten(1).any(1)  # a frame of which nothing is known stays as it is
    torch.testing.assert_close(told[:, :, some], truth[:, :, some], atol=1e-3, rtol=0)
    assert torch.equal(told[:, :, ~some], x0[:, :, ~some])


@pytest.mark.parametrize("known", [0.02, 0.3, 0.9])
def test_what_is_carried_lies_between_what_is_pulled_and_nothing(known: float) -> None:
    x0, seen = scattered(1, known)
    pull = seen.mask * (seen.memory - x0)
    moved = flow.Guidance().pulled(x0, seen, sigma=1.0) - x0
    there = seen.mask.bool().expand_as(pull)
    torch.testing.assert_close(moved[there], pull[there])
    assert (moved[~there].abs() > 1e-3).float().mean() > 0.3
    for frame in range(3):
        for channel in range(2):
            low, high = pull[0, channel, frame].min().clamp_max(0), pull[0, channel, frame].max().clamp_min(0)
            assert ((low - 1e-5 <= moved[0, channel, frame]) & (moved[0, channel, frame] <= high + 1e-5)).all()
    assert torch.equal(flow.Guidance(carry=0).pulled(x0, seen, sigma=1.0)[~there], x0[~there])


def test_where_the_network_agrees_with_the_memory_nothing_is_carried() -> None:
    x0, seen = scattered(2, 0.5)
    agreed = flow.Guidance().pulled(x0, replace(seen, memory=x0 * seen.mask), sigma=1.0)
    torch.testing.assert_close(agreed, x0)


@pytest.mark.parametrize("wrong", [{"early": 1.5}, {"late": -0.1}, {"until": float("nan")}, {"carry": -1}])
def test_guidance_is_a_share(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"accepted: (0 to 1|rounds)"):
        flow.Guidance(**wrong)


@pytest.mark.parametrize("left", ["steps", "shift", "last", "noise", "guidance"])
def test_a_sampler_with_choices_left_open_is_refused(left: str) -> None:
    """Each of them: none is made for the caller without a word."""
    whole = {"steps": 2, "shift": 3.0, "last": 0.0, "noise": 1.0, "guidance": 1.0}
    part = Sampler(**{name: value for name, value in whole.items() if name != left})  # pyright: ignore
    with pytest.raises(InputError, match="leaves choices open"):
        flow.denoise(
            gaussian("sample"), condition(), scheduler=scheduler("sample"), sampler=part, generator=torch.Generator()
        )
