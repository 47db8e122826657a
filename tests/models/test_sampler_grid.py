"""Two grids of UniPC: diffusers' and the published code's, each said again in plain numbers with the solver itself.

The second is that of microsoft/LatentSpatialMemory's FlowUniPCMultistepScheduler with its settings (order 2, bh2, the
corrector at every step but the first), which ours equals to 5e-7 when both run side by side.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

from mirage.errors import InputError
from mirage.models import flow
from mirage.models.condition import Condition
from mirage.models.tiny import tiny_world
from mirage.models.transformer import MemoryBranch
from mirage.rollout.settings import Settings
from mirage.sampler import Sampler

SHIFT = 5.0


def levels(grid: str, steps: int) -> list[float]:
    """Noise levels of both codes, with the clean end."""
    if grid == "diffusers":
        even = np.linspace(1, 1 / 1000, steps + 1)[:-1]
    else:  # alphas linspace(1, 1/1000, 1000), so sigmas from 0.999 to 0
        alphas = np.linspace(1, 1 / 1000, 1000)
        even = np.linspace(1 - alphas[-1], 1 - alphas[0], steps + 1)[:-1]
    shifted = SHIFT * even / (1 + (SHIFT - 1) * even)
    if shifted[0] == 1:
        shifted[0] -= 1e-6
    return [*shifted.tolist(), 0.0]


def network(x: Tensor, level: float) -> Tensor:
    """A velocity that no grid follows exactly."""
    return x - torch.tanh(2 * x + level) * (1 + level)


def unipc(x: Tensor, sigma: list[float]) -> Tensor:
    """From noise to clean latents: order 2, bh2, in the notation of UniPC's paper, x0 predicted."""
    log_snr = [math.log((1 - s) / s) if s else math.inf for s in sigma]
    before, past = x, []  # past: x0 as predicted at each level

    for step, (here, there) in enumerate(itertools.pairwise(sigma)):
        x0 = x - here * network(x, here)
        if step:  # the corrector goes the last step again, knowing where it led
            x = _stride(before, sigma, log_snr, step - 1, past, order=min(2, step), corrected=x0)
        past.append(x0)
        before = x
        x = _stride(x, sigma, log_snr, step, past, order=min(2, step + 1, len(sigma) - 1 - step), corrected=None)
        assert there or step == len(sigma) - 2
    return x


def _stride(x, sigma, log_snr, step, past, *, order, corrected):
    h = -(log_snr[step + 1] - log_snr[step])
    phi = math.expm1(h)
    m0 = past[step]
    x = sigma[step + 1] / sigma[step] * x - (1 - sigma[step + 1]) * phi * m0
    slopes, ratios = [], []
    if order == 2:
        ratios.append((log_snr[step - 1] - log_snr[step]) / (log_snr[step + 1] - log_snr[step]))
        slopes.append((past[step - 1] - m0) / ratios[0])
    if corrected is None:
        weights = [0.5] if slopes else []
    else:
        ratios.append(1.0)
        slopes.append(corrected - m0)
        if len(ratios) == 1:
            weights = [0.5]
        else:
            first = (phi / h - 1) / phi
            second = 2 * ((phi / h - 1) / h - 0.5) / phi
            weights = np.linalg.solve(np.array([[1.0, 1.0], ratios]), np.array([first, second])).tolist()
    for weight, slope in zip(weights, slopes, strict=True):
        x = x - (1 - sigma[step + 1]) * phi * weight * slope
    return x


def ours(grid, steps: int) -> Tensor:
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=SHIFT)
    seen = Condition(
        memory=torch.zeros(1, 2, 3, 4, 4), mask=torch.zeros(1, 1, 3, 4, 4), offset=torch.zeros(1, 2, 3, 4, 4),
        rays=torch.zeros(1, 6, 3, 4, 4), first=torch.zeros(1, 2, 1, 4, 4), preceding=torch.zeros(1, 2, 0, 4, 4),
        references=torch.zeros(1, 2, 0, 4, 4), text=torch.zeros(1, 1, 4),
    )  # fmt: skip

    def predict(latents: Tensor, timestep: Tensor, _: Condition) -> Tensor:
        assert (timestep[:, 0] == 0).all()
        return network(latents, float(timestep[0, 1]) / 1000)  # the network is told the level itself, uncut

    sampler = Sampler(steps=steps, shift=SHIFT, last=0.0, noise=1.0, guidance=1.0, grid=grid)
    drawn = flow.denoise(
        predict, seen, scheduler=scheduler, sampler=sampler, generator=torch.Generator().manual_seed(5)
    )
    return drawn[:, :, 1:]


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 20, 40])
def test_each_grid_is_that_of_its_code(steps: int) -> None:
    noise = torch.randn((1, 2, 2, 4, 4), generator=torch.Generator().manual_seed(5))
    results = {}
    for grid in ("diffusers", "published"):
        results[grid] = ours(grid, steps)
        restated = unipc(noise.double(), levels(grid, steps)).float()
        torch.testing.assert_close(results[grid], restated, atol=5e-5, rtol=5e-5)
    if steps >= 20:
        assert (results["diffusers"] - results["published"]).abs().max() > 5e-4


def test_a_model_with_a_published_branch_is_sampled_on_the_published_grid() -> None:
    model = tiny_world()
    assert model.sampler.grid == "diffusers"
    branch = MemoryBranch.from_transformer(model.transformer, layers=(0, 2), inputs="published")
    model.register_modules(memory_branch=branch)
    assert model.sampler.grid == model.draft_sampler.grid == "published"
    assert Sampler(grid="diffusers").over(model.sampler).grid == "diffusers"
    first = flow.sigmas(model.scheduler, Sampler(steps=20).over(model.sampler))[0]
    assert first == pytest.approx(SHIFT * 0.999 / (1 + (SHIFT - 1) * 0.999), abs=1e-7)
    with pytest.raises(InputError, match="accepted: diffusers, published"):
        Sampler(grid="wan")  # pyright: ignore[reportArgumentType]


def test_a_world_file_keeps_the_grid_that_was_asked_for() -> None:
    for grid in (None, "published"):
        asked = Settings(sampler=Sampler(guidance=1.0, grid=grid), references=None, preceding=3)
        assert Settings.from_stored(asked.stored(), source="a file") == asked
