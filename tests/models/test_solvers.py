"""Euler and DMD against their plain restatement, with networks whose answer is known; and what a sampler may ask."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from helpers import refusal
from mirage.models import flow
from mirage.models.condition import Condition
from mirage.sampler import Sampler

OWN = Sampler(steps=4, shift=5.0, last=0.0, noise=1.0, guidance=1.0)
SHAPE = (1, 2, 3, 4, 5)
Network = Callable[[Tensor, float], Tensor]


def scheduler(prediction: Any = "flow_prediction") -> Any:
    return UniPCMultistepScheduler(prediction_type=prediction, use_flow_sigmas=True, flow_shift=5.0)


def condition() -> Condition:
    b, c, t, h, w = SHAPE
    return Condition(
        memory=torch.zeros(SHAPE), mask=torch.zeros(b, 1, t, h, w), offset=torch.zeros(b, 2, t, h, w),
        rays=torch.zeros(b, 6, t, h, w), first=torch.full((b, c, 1, h, w), 0.5), preceding=torch.zeros(b, c, 0, h, w),
        references=torch.zeros(b, c, 0, h, w), text=torch.zeros(b, 1, 8),
    )  # fmt: skip


def run(sampler: Sampler, network: Network, prediction: str = "flow_prediction", seed: int = 3) -> Tensor:
    """The new frames; `network` of the sample and its level gives the velocity."""

    def predict(latents: Tensor, timestep: Tensor, seen: Condition) -> Tensor:
        sigma = float(timestep[0, 1]) / 1000
        velocity = network(latents, sigma)
        return velocity if prediction == "flow_prediction" else latents - sigma * velocity

    return flow.denoise(
        predict,
        condition(),
        scheduler=scheduler(prediction),
        sampler=sampler.over(OWN),
        generator=torch.Generator().manual_seed(seed),
    )[:, :, 1:]


def plainly(levels: list[float], network: Network, *, fresh: bool, seed: int = 3) -> Tensor:
    """Euler, x += (next - now) v; or DMD: x0 = x - now v, then noise of the next level."""
    generator = torch.Generator().manual_seed(seed)
    shape = (1, 2, 2, 4, 5)
    x = torch.randn(shape, generator=generator)
    first = torch.full((1, 2, 1, 4, 5), 0.5)
    for now, then in zip(levels, [*levels[1:], 0.0], strict=True):
        v = network(torch.cat([first, x], dim=2), now)[:, :, 1:]
        if fresh and then:
            x = (1 - then) * (x - now * v) + then * torch.randn(shape, generator=generator)
        else:
            x = x + (then - now) * v
    return x


def curved(latents: Tensor, sigma: float) -> Tensor:
    """A field that is no straight line."""
    return torch.sin(3 * latents) + sigma * latents.roll(1, dims=-1)


@pytest.mark.parametrize("prediction", ["flow_prediction", "sample"])
@pytest.mark.parametrize("solver", ["euler", "dmd"])
@given(steps=st.integers(1, 6), shift=st.floats(0.5, 12))
def test_solvers_are_their_plain_restatement(solver, prediction, steps, shift):
    even = [1 - k / steps for k in range(steps)]
    levels = [shift * u / (1 + (shift - 1) * u) for u in even]
    got = run(Sampler(solver=solver, steps=steps, shift=shift), curved, prediction)
    assert_close(got, plainly(levels, curved, fresh=solver == "dmd"), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("solver", ["euler", "dmd", None])
def test_timesteps_are_run_as_they_are_given(solver):
    """1000, 757, 522: those of FastWan's distilled models."""
    seen = []

    def network(latents: Tensor, sigma: float) -> Tensor:
        seen.append(round(1000 * sigma, 3))
        return curved(latents, sigma)

    got = run(Sampler(solver=solver, timesteps=(1000, 757, 522)), network)
    assert seen == [1000, 757, 522]
    assert_close(got, plainly([1.0, 0.757, 0.522], curved, fresh=solver != "euler"), atol=2e-5, rtol=1e-4)


def test_four_steps_of_shift_5_are_those_of_wans_step_distilled_loras():
    """1000, 750, 500, 250 of the unshifted schedule, as lightx2v's LoRAs were distilled."""
    sampler = Sampler(solver="euler", steps=4, shift=5.0).over(OWN)
    assert flow.sigmas(scheduler(), sampler) == pytest.approx([1.0, 0.9375, 5 / 6, 0.625])


@pytest.mark.parametrize("solver", ["unipc", "euler", "dmd"])
def test_every_solver_finds_what_a_straight_field_leads_to(solver):
    """The velocity towards one clean sample: however many steps, all of it is there in the end."""
    clean = torch.randn(SHAPE, generator=torch.Generator().manual_seed(8))
    for steps in (1, 2, 5):
        got = run(Sampler(solver=solver, steps=steps), lambda x, sigma: (x - clean) / sigma)
        assert_close(got, clean[:, :, 1:], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("last", [0.1, 0.6])
def test_the_last_step_begins_where_it_is_asked_to(last):
    sampler = Sampler(solver="euler", steps=5, last=last).over(OWN)
    sigmas = flow.sigmas(scheduler(), sampler)
    assert sigmas[0] == pytest.approx(1.0)
    assert sigmas[-1] == pytest.approx(last)


def test_what_a_sampler_may_not_ask():
    refusal(Sampler, solver="heun", words=["unipc, euler, dmd"])
    refusal(Sampler, solver="unipc", timesteps=(1000, 500), words=["not for unipc"])
    refusal(Sampler, timesteps=(500, 1000), words=["falling"])
    refusal(Sampler, timesteps=(1000, 0), words=["above 0"])
    refusal(Sampler, timesteps=(1000, 500), steps=4, words=["steps is 4", "one of the two"])


def test_who_asks_for_steps_does_without_the_timesteps_of_before():
    before = Sampler(timesteps=(1000, 757, 522))
    assert (before.solver, before.steps) == ("dmd", 3)
    asked = Sampler(steps=8).over(before)
    assert (asked.steps, asked.timesteps, asked.solver) == (8, (), "dmd")
    assert Sampler(guidance=2.0).over(before).timesteps == (1000, 757, 522)
