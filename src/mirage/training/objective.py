"""The objective: flow matching of a chunk's latents, and the last step of a sampler.

    flow matching   x_t = (1 - s) x0 + s noise at a random noise level s; the network's output is read as x0, and its
                    error divided by s is that of the velocity
    last step       x_t is where the model's own sampler stands before its last step, in place of the truth with noise

Letters: B batch, T latent frames of a chunk, C latent channels, h w latent grid; s sigma, the noise level in [0, 1].
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mirage.chunks import TIME_STRIDE
from mirage.errors import InputError
from mirage.models import flow
from mirage.models.autoencode import decode
from mirage.models.codec import statistics
from mirage.models.condition import Condition
from mirage.models.transformer import MemoryBranch, predict
from mirage.models.world import WorldModel
from mirage.sampler import Sampler
from mirage.training.autoencoder import dead_channels, steepness_error
from mirage.training.draws import normal

DECODED = 12
"""Latents of a step that are decoded, at most, where pixels are asked for: decoding is dear."""


@dataclass(frozen=True)
class LastStep:
    """Learning from the last step of the model's own sampler, instead of flow matching.

    share       of the steps on such chunks
    steps       how many steps that sampler takes: one of these, drawn for every step; the same for a relived chunk. A
                model that has met one number only is worse with more
    unknown     what an unknown cell counts, a known one being 1. They have no reason to be as they truly are, and the
                mean of all that they could be is mud
    pixels      the weight of the squared error of the pixels that some of it decodes to, counted by the same
    steepness   the weight of how far those pixels are from being as steep as the true ones
    """

    share: float = 0.0
    steps: tuple[int, ...] = (4,)
    unknown: float = 0.0
    pixels: float = 0.0
    steepness: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise InputError(f"the share of last steps is {self.share}; expected 0 to 1")
        if not self.steps or min(self.steps) < 1:
            raise InputError(f"a last step is of {self.steps} steps; expected numbers of 1 or more, at least one")


@dataclass(frozen=True)
class Objective:
    """How a chunk is learnt from.

    shift           of the timesteps that are drawn: s -> shift s / (1 + (shift - 1) s)
    glimpse_shift   of those of glimpses and drafts, for what becomes of what is unknown is decided where there is
                    little but noise; None: as for all
    per_frame       a timestep for every frame, as published, instead of one for the chunk
    min_sigma       the loss is that of the velocity; below this sigma it counts for less
    last_step       learning from the last step of a sampler, too, of chunks, glimpses and drafts
    draft_step      the same of glimpses and drafts, where the sampler of drafts stands, which begins with all of the
                    noise and goes down to little; None: they stand where that of chunks would
    pixel_weighted  errors of a channel count by what it does to the pixels (`pixel_weights`); else all alike
    """

    shift: float = 3.0
    glimpse_shift: float | None = None
    per_frame: bool = False
    min_sigma: float = 0.25
    last_step: LastStep = field(default_factory=LastStep)
    draft_step: LastStep | None = None
    pixel_weighted: bool = False

    def last(self, *, draft: bool) -> LastStep:
        """What is asked of the last step of a chunk, or of a glimpse or draft."""
        return (self.draft_step if draft else None) or self.last_step


class FlowMatching:
    """An objective for a model: both losses, of the frames after the first one, which is given. `weights` [C,1,1,1]:
    what errors of a channel count."""

    def __init__(self, objective: Objective, model: WorldModel, network: "Network", weights: Tensor) -> None:
        self.objective, self.model, self.network, self.weights = objective, model, network, weights

    def loss(
        self, condition: Condition, x0: Tensor, generator: torch.Generator, *, shift: float | None = None
    ) -> Tensor:
        """Flow matching: the mean over all cells of [B,C,T,h,w]. `shift`: None: the objective's."""
        return (self.errors(condition, x0, generator, shift=shift) * self.weights).mean()

    def errors(
        self, condition: Condition, x0: Tensor, generator: torch.Generator, *, shift: float | None = None
    ) -> Tensor:
        """Squared errors [B,C,T-1,h,w] of the velocity, at drawn noise and timesteps."""
        asked, device = self.objective, self.model.transformer.device
        timestep = flow.sample_timesteps(
            (len(x0), x0.shape[2]), generator=generator, shift=shift or asked.shift, per_frame=asked.per_frame
        )
        noise = normal(x0.shape, generator, device)
        x0, timestep = x0.to(device), timestep.to(device)
        sigma = timestep / flow.TIMESTEPS
        noisy = flow.add_noise(x0, noise, sigma)
        noisy[:, :, :1] = condition.first
        output = self.network(noisy, timestep, condition).float()
        error = flow.to_x0(output, noisy, sigma, self.model.prediction) - x0
        return (error / sigma.clamp_min(asked.min_sigma)[:, None, :, None, None]).square()[:, :, 1:]

    def sampler(self, steps: int, *, draft: bool = False) -> Sampler:
        """The model's own of so many steps; or that of its drafts, without guidance."""
        if draft:
            return Sampler(steps=steps, guidance=1.0).over(self.model.draft_sampler)
        return Sampler(steps=steps).over(self.model.sampler)

    def last_step_loss(
        self, condition: Condition, x0: Tensor, sampler: Sampler, generator: torch.Generator, *, draft: bool = False
    ) -> Tensor:
        """The mean over cells where a sampler stands before its last step; `draft`: the chunk is one of drafts.

        In the truth with noise the network sees half of what it is asked for, and learns to believe that; at inference
        it is its own guess that it sees there, while what is remembered is true. Of unknown cells little is asked, see
        `LastStep`.
        """
        asked = self.objective.last(draft=draft)
        with torch.no_grad():
            assert sampler.steps is not None
            noisy, level = self.sampled(condition, sampler, generator, stop=sampler.steps - 1)
        sigma = noisy.new_full((len(noisy), noisy.shape[2]), level)
        sigma[:, 0] = 0
        output = self.network(noisy, flow.TIMESTEPS * sigma, condition).float()
        made, x0 = flow.to_x0(output, noisy, sigma, self.model.prediction), x0.to(noisy)
        count = condition.mask[:, :, 1:].lerp(torch.ones(()).to(made), asked.unknown)
        error = (made - x0)[:, :, 1:] / sigma[0, 1].clamp_min(self.objective.min_sigma)
        loss = (error.square() * count * self.weights).mean()
        if asked.pixels or asked.steepness:
            loss = loss + self._decoded(torch.cat([x0[:, :, :1], made[:, :, 1:]], 2), x0, count, draft=draft)
        return loss

    def _decoded(self, made: Tensor, x0: Tensor, count: Tensor, *, draft: bool) -> Tensor:
        """What is asked of the pixels of the first `DECODED` latents. Those of a draft do not follow each other: of
        each the last of its four frames, which a rollout would look at."""
        frames = min(x0.shape[2], DECODED)
        some = slice(0, max(1, DECODED // frames)), slice(None), slice(0, frames)
        mean, std = statistics(self.model.vae, made)
        with torch.autocast(made.device.type, torch.bfloat16, enabled=self.network.bf16):
            pixels = decode(self.model.vae, made[some] * std + mean).float()
            with torch.no_grad():
                true = decode(self.model.vae, x0[some] * std + mean).float().clamp(-1, 1)
        every = TIME_STRIDE if draft else 1
        pixels, true = pixels[:, :, every::every], true[:, :, every::every]
        height, width = (side // cells for side, cells in zip(pixels.shape[3:], x0.shape[3:], strict=True))
        shares = count[some[0], :, : frames - 1].repeat_interleave(TIME_STRIDE // every, 2)
        shares = shares.repeat_interleave(height, 3).repeat_interleave(width, 4)
        asked, error = self.objective.last(draft=draft), (pixels - true).square() * shares
        return asked.pixels * error.mean() + asked.steepness * steepness_error(pixels, true)

    def sampled(
        self, condition: Condition, sampler: Sampler, generator: torch.Generator, *, stop: int | None = None
    ) -> tuple[Tensor, float]:
        """What a complete sampler makes [B,C,T,h,w], or where it stands after `stop` of its steps, and the noise level
        there."""
        scheduler = self.model.scheduler
        made = flow.denoise(
            self.network, condition, scheduler=scheduler, sampler=sampler, generator=generator, stop=stop
        )
        levels = [*flow.sigmas(scheduler, sampler), 0.0]
        return made, levels[-1 if stop is None else stop]


class Network(nn.Module):
    """Transformer and branch as one module to call, so that weights that are shared out are gathered for a call."""

    def __init__(self, model: WorldModel, *, bf16: bool = False) -> None:
        super().__init__()
        assert model.memory_branch is not None
        self.transformer, self.branch, self.bf16 = model.transformer, model.memory_branch, bf16

    def forward(self, latents: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        branch: MemoryBranch = self.branch
        with torch.autocast(latents.device.type, torch.bfloat16, enabled=self.bf16):
            return predict(self.transformer, branch, latents, timestep, condition)


@torch.no_grad()
def pixel_weights(model: WorldModel, latents: Tensor, *, amount: float = 0.3, least: float = 0.2) -> Tensor:
    """What an error of each channel is to count [C,1,1,1]: the root of the energy that noise of deviation `amount` on
    it alone adds to the picture, in units of the mean over living channels. Dead ones count `least`, as does what
    counts less, so that they stay at their mean. `latents` [T,C,h,w]: a corner of the first frames is taken."""
    z = latents[:3, :, :16, :16].to(model.vae.device)
    before = model.decode(z)
    generator = torch.Generator().manual_seed(0)
    energy = torch.zeros(z.shape[1])
    for channel in range(z.shape[1]):
        moved = z.clone()
        moved[:, channel] += amount * normal(z[:, channel].shape, generator, z.device)
        energy[channel] = (model.decode(moved) - before).square().mean()
    energy[dead_channels(energy)] = 0
    roots = energy.sqrt()
    return (roots / roots[roots > 0].mean()).clamp_min(least)[:, None, None, None].to(model.transformer.device)
