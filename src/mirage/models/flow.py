"""Flow matching: the sampling loop, in the open, and the few formulas that training shares with it.

    x_sigma = (1 - sigma) * x0 + sigma * noise        sigma in [0, 1], 0 clean, 1 noise; timestep = 1000 * sigma
    velocity = noise - x0                             what "flow_prediction" networks output; "sample" ones output x0

Letters: `B` batch, `T` latent frames, `C` latent channels, `h w` latent grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from einops import rearrange
from torch import Tensor

from mirage.errors import InputError
from mirage.kinds import Brief
from mirage.models.condition import Condition
from mirage.sampler import Sampler

Predict = Callable[[Tensor, Tensor, Condition], Tensor]  # latents [B,C,T,h,w], timestep [B,T], condition -> [B,C,T,h,w]
Prediction = Literal["flow_prediction", "sample"]

TIMESTEPS = 1000.0


@dataclass(frozen=True)
class Guidance:
    """Memory without a branch: at each step the clean latents that the network predicts are pulled, in known cells,
    towards the memory's readout; mixed with the noise of the next step they are what the network sees then.

    early, late   share of the readout above noise level `until` and from there on: first it decides what is where, then
                  the network has its say about detail and about the seams between known and unknown
    carry         rounds in which the pull spreads into the unknown cells around, so that newly generated regions
                  continue in tone what is known; it reaches about as many cells as the root of that. Where the two
                  agree by themselves there is nothing to carry

    Pull-back with re-noising, as WorldForge (arXiv 2509.15130), done on the prediction, so that a multistep solver's
    history is that of the pulled path. The defaults are measured: docs/wan22.md, "Guidance without training".
    """

    early: float = 1.0
    late: float = 0.7
    until: float = 0.6
    carry: int = 72

    def __post_init__(self) -> None:
        for name in ("early", "late", "until"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"guidance {name} is {getattr(self, name)}; accepted: 0 to 1")
        if self.carry < 0:
            raise InputError(f"guidance carry is {self.carry}; accepted: rounds, 0 or more")

    def pulled(self, x0: Tensor, condition: Condition, sigma: float) -> Tensor:
        """x0 [B,C,T,h,w] as predicted at noise level sigma, with the known cells pulled to the readout."""
        share = self.early if sigma > self.until else self.late
        known = condition.mask.to(x0)
        pull = share * known * (condition.memory.to(x0) - x0)
        return x0 + _carried(pull, known, rounds=self.carry)


@dataclass(frozen=True, eq=False, repr=False)
class Progress(Brief):
    """One denoising step is done: its number of how many, its timestep in [0, 1000], the latents [B,C,T,h,w] so far."""

    step: int
    steps: int
    timestep: float
    latents: Tensor


def denoise(
    predict: Predict,
    condition: Condition,
    *,
    scheduler: UniPCMultistepScheduler,
    sampler: Sampler,
    generator: torch.Generator | Sequence[torch.Generator],
    negative: Condition | None = None,
    memory: Guidance | None = None,
    callback: Callable[[Progress], None] | None = None,
    stop: int | None = None,
) -> Tensor:
    """Latents [B,C,T,h,w] from noise, float32. The first target frame is `condition.first`, before, after, throughout.

    scheduler        gives the kind of solver; it is left as it is, for others may be sampling with it
    sampler          complete. A guidance other than 1 needs `negative`: output = negative + guidance * (positive -
                     negative)
    generator        on the CPU, so that a seed gives the same noise, hence the same video, on every device; one for
                     all rows, or one for each
    memory           how the readout enters through the sampler; None: it does not, the network may see it by a branch
    callback         called after each step; it may change the latents in place; what it raises ends the sampling
    stop             after so many of the steps, with the noise of the next step's level still in; None: none is left
    """
    steps, noise, scale = sampler.steps, sampler.noise, sampler.guidance
    if not sampler.complete:
        raise InputError(f"{sampler} leaves choices open; accepted: one that is complete, see Sampler.over")
    assert steps is not None
    assert noise is not None
    assert scale is not None
    if scale != 1.0 and negative is None:
        raise InputError(f"guidance scale is {scale} without a negative condition; accepted: 1, or give one")
    first = condition.first
    sample = noise * _noise(condition, generator)
    sample = sample.to(first.device)
    its: Any = scheduler.config

    solver = solver_of(scheduler, sampler)
    b, t = first.shape[0], condition.frames
    for step, sigma in enumerate(solver.sigmas[:-1][:stop]):
        latents = torch.cat([first, sample.to(first.dtype)], dim=2)
        timestep = torch.full((b, t), TIMESTEPS * sigma, device=first.device)
        timestep[:, 0] = 0  # the first frame is clean; what the network says about it is not used
        output = predict(latents, timestep, condition)
        if scale != 1.0 and negative is not None:
            away = predict(latents, timestep, negative)
            output = away + scale * (output - away)
        if memory is not None:
            output = _pulled(output.float(), latents.float(), memory, condition, sigma, its.prediction_type)
        fresh = None
        if solver.noisy and step + 1 < steps:
            fresh = noise * _noise(condition, generator).to(first.device)
        sample = solver.step(output[:, :, 1:].float(), step, sample, fresh)
        if callback is not None:
            so_far = torch.cat([first.float(), sample], dim=2)
            callback(Progress(step, steps, float(solver.timesteps[step]), so_far))
            sample = so_far[:, :, 1:]  # which it may have changed in place
    return torch.cat([first.float(), sample], dim=2)


class Solver(Protocol):
    """How one gets from noise to clean latents. `sigmas`: the level at which each step begins, and 0; `timesteps`: what
    people call those levels; `noisy`: whether a step wants fresh noise, as the sample [B,C,T-1,h,w]."""

    sigmas: list[float]
    timesteps: list[float]
    noisy: bool

    def step(self, output: Tensor, step: int, sample: Tensor, fresh: Tensor | None) -> Tensor:
        """The sample at the next level, from the network's output at this one."""
        ...


def solver_of(scheduler: UniPCMultistepScheduler, sampler: Sampler) -> Solver:
    """That of a complete sampler; `scheduler` says what the network predicts, and which kind of UniPC it is."""
    its: Any = scheduler.config
    if sampler.solver in (None, "unipc"):
        return _UniPC(scheduler_of(scheduler, sampler))
    return _Levels(levels(sampler), its.prediction_type, noisy=sampler.solver == "dmd")


class _UniPC:
    """diffusers'."""

    noisy = False

    def __init__(self, solver: UniPCMultistepScheduler) -> None:
        self._solver: Any = solver
        self._solver.set_begin_index(0)
        self.sigmas, self.timesteps = self._solver.sigmas.tolist(), self._solver.timesteps.tolist()

    def step(self, output: Tensor, step: int, sample: Tensor, fresh: Tensor | None) -> Tensor:
        return self._solver.step(output, self._solver.timesteps[step], sample, return_dict=False)[0]


class _Levels:
    """Euler, and DMD: what is clean now, and noise of the next level, the same noise or a fresh one."""

    def __init__(self, sigmas: list[float], prediction: Prediction, *, noisy: bool) -> None:
        self.sigmas, self.timesteps = [*sigmas, 0.0], [TIMESTEPS * sigma for sigma in sigmas]
        self.noisy, self._prediction = noisy, prediction

    def step(self, output: Tensor, step: int, sample: Tensor, fresh: Tensor | None) -> Tensor:
        now, then = self.sigmas[step : step + 2]
        if self._prediction == "sample":
            x0, noise = output, (sample - (1 - now) * output) / now
        else:
            x0, noise = sample - now * output, sample + (1 - now) * output
        return (1 - then) * x0 + then * (noise if fresh is None else fresh)


def levels(sampler: Sampler) -> list[float]:
    """Noise levels at which the steps of "euler" and "dmd" begin: those of the timesteps; else evenly from 1 down to 0
    and shifted, as Wan's own code and step-distilled LoRAs have them, with the last step where the sampler says."""
    if sampler.timesteps:
        return [timestep / TIMESTEPS for timestep in sampler.timesteps]
    steps, shift, last = sampler.steps, sampler.shift, sampler.last
    assert steps is not None
    assert shift is not None
    even = [1 - step / steps for step in range(steps)]
    shifted = [shift * u / (1 + (shift - 1) * u) for u in even]
    if last and steps > 1:
        stretch = (1 - last) / (1 - shifted[-1])
        shifted = [1 - (1 - sigma) * stretch for sigma in shifted]
    return shifted


def scheduler_of(scheduler: UniPCMultistepScheduler, sampler: Sampler) -> UniPCMultistepScheduler:
    """A solver of the same kind with the steps of a complete sampler; a new one for every call, because a solver keeps
    its history. A single step begins in all of the noise, so nothing says where it begins."""
    last = sampler.last if sampler.last and sampler.steps != 1 else None
    made: Any = UniPCMultistepScheduler.from_config(
        scheduler.config,
        flow_shift=sampler.shift,
        shift_terminal=last,  # pyright: ignore[reportArgumentType]
    )
    assert sampler.steps is not None
    if sampler.grid == "published":
        made.set_timesteps(sigmas=unshifted(sampler.steps))
    else:
        made.set_timesteps(sampler.steps)
    return made


def unshifted(steps: int) -> np.ndarray:
    """Noise levels [steps] of the "published" grid before the shift. diffusers begins in pure noise, Wan's own UniPC in
    0.999 of it, and spaces its steps down to 0 where diffusers does to 1/1000. The network's timestep is 1000 times the
    shifted level, uncut, as in training; only the published inference cuts it to a whole number."""
    return np.linspace(1 - 1 / TIMESTEPS, 0, steps + 1)[:-1]


def sigmas(scheduler: UniPCMultistepScheduler, sampler: Sampler) -> list[float]:
    """The noise level at which each step of a complete sampler begins."""
    return solver_of(scheduler, sampler).sigmas[:-1]


def _noise(condition: Condition, generator: torch.Generator | Sequence[torch.Generator]) -> Tensor:
    """Of the frames after the first, [B,C,T-1,h,w], on the CPU."""
    b, c, t, h, w = condition.memory.shape
    if isinstance(generator, torch.Generator):
        return torch.randn((b, c, t - 1, h, w), generator=generator)
    if len(generator) != b:
        raise InputError(f"{len(generator)} generators for {b} rows; accepted: one, or one for each row")
    return torch.cat([torch.randn((1, c, t - 1, h, w), generator=row) for row in generator])


def sample_timesteps(
    size: tuple[int, int],
    *,
    generator: torch.Generator,
    shift: float = 1.0,
    distribution: Literal["uniform", "logit_normal"] = "uniform",
    per_frame: bool = False,
) -> Tensor:
    """Training timesteps [B,T] in [0, 1000], on the CPU; the first frame's is 0.

    per_frame draws one for every frame, otherwise one for every clip. `shift` > 1 leans towards noise, exactly as the
    sampler's schedule does: sigma = shift * u / (1 + (shift - 1) * u).
    """
    b, t = size
    shape = (b, t if per_frame else 1)
    if distribution == "uniform":
        u = torch.rand(shape, generator=generator)
    else:
        u = torch.randn(shape, generator=generator).sigmoid()
    timestep = (TIMESTEPS * shift * u / (1 + (shift - 1) * u)).expand(b, t).clone()
    timestep[:, 0] = 0
    return timestep


def add_noise(x0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """x0 and noise [B,C,T,h,w] mixed at sigma [B,T]."""
    sigma = _per_frame(sigma, x0)
    return (1 - sigma) * x0 + sigma * noise


def target(x0: Tensor, noise: Tensor, prediction: Prediction) -> Tensor:
    """What the network should output, [B,C,T,h,w]."""
    return x0 if prediction == "sample" else noise - x0


def to_x0(output: Tensor, noisy: Tensor, sigma: Tensor, prediction: Prediction) -> Tensor:
    """The clean latents [B,C,T,h,w] that the network's output stands for; noisy [B,C,T,h,w], sigma [B,T]."""
    return output if prediction == "sample" else noisy - _per_frame(sigma, noisy) * output


def _carried(pull: Tensor, known: Tensor, *, rounds: int) -> Tensor:
    """The pull [B,C,T,h,w], 0 where not known [B,1,T,h,w], spread into unknown cells like heat: in each round they take
    the mean of what is around them, and known cells stay."""
    pull, known = (rearrange(part, "b c t h w -> t b c h w") for part in (pull, known))
    spread = pull
    for _ in range(rounds):
        around = F.avg_pool2d(spread.flatten(0, 1), 3, stride=1, padding=1, count_include_pad=False)
        spread = torch.lerp(around.view_as(spread), pull, known)
    return rearrange(spread, "t b c h w -> b c t h w")


def _pulled(
    output: Tensor, noisy: Tensor, memory: Guidance, condition: Condition, sigma: float, prediction: Prediction
) -> Tensor:
    """The network's output with its x0 pulled to the memory, as an output of the same kind again."""
    every = torch.full(output.shape[:1] + output.shape[2:3], sigma)
    x0 = memory.pulled(to_x0(output, noisy, every, prediction), condition, sigma)
    return x0 if prediction == "sample" else (noisy - x0) / sigma


def _per_frame(sigma: Tensor, like: Tensor) -> Tensor:
    return sigma.to(like)[:, None, :, None, None]
