"""Training the denoiser, its memory branch and the small text encoder: flow matching on chunks with a memory.

What a step sees is what inference will meet. A chunk begins somewhere in a clip; the memory holds the clip up to there,
written through the same gate with a depth that is off by as much as an estimator's, with latents as imperfect as
generated ones, and is read from the chunk's cameras by the same code. Part of the samples have the depth head's own
depth, a memory of pixels, or none, so that the network serves each of the memories that it is compared with.

    clip latents   0 1 2 ... s | s+1 ... s+8          memory: 0..s     first: s (clean)     target: s+1..s+8
    fresh start              s | s+1 ... s+8          memory and first: frame s, encoded alone as an image

Letters: B batch, T latent frames of a chunk, C latent channels, h w latent grid.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mirage.conditioning import batched, build_condition, pixel_codec
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.memory import LatentSpatialMemory, Readout
from mirage.memory.references import choose_references
from mirage.memory.rgb import RGBPointMemory
from mirage.models import flow
from mirage.models.condition import Condition
from mirage.models.transformer import predict
from mirage.models.world import WorldModel
from mirage.training.clips import clip_paths
from mirage.training.draws import chance, draw
from mirage.training.latents import LatentClip, load_latent_clip


@dataclass(frozen=True)
class DenoiserConfig:
    """`batch` chunks a step and process. Shares are probabilities, noises are in units of a latent's deviation or
    relative depth. `own_depth`: the share of clips whose depth is that of the model's own depth head; `pixels`: the
    share of memories that hold pixels, which are drawn and encoded again."""

    latents: Path
    batch: int = 4
    frames: int = 9
    shift: float = 3.0
    fresh: float = 0.35
    no_memory: float = 0.2
    pixels: float = 0.0
    own_depth: float = 0.0
    no_text: float = 0.12
    max_preceding: int = 1
    max_references: int = 2
    latent_noise: float = 0.15
    depth_noise: float = 0.02
    min_sigma: float = 0.25
    held_out: int = 16


class DenoiserTask:
    """Flow-matching loss on the frames after the first. The network's output is read as `world.prediction` says; the
    loss is that of the velocity, with 1/sigma held below 1/`min_sigma`."""

    def __init__(self, world: WorldModel, config: DenoiserConfig) -> None:
        self.module: nn.Module = self.modules(world)
        self.world, self.config = world, config
        clips = [load_latent_clip(path) for path in clip_paths(config.latents)]
        self.train, self.test = clips[: -config.held_out], clips[-config.held_out :]

    @staticmethod
    def modules(world: WorldModel) -> nn.ModuleDict:
        """What is trained, by the names that a checkpoint has."""
        assert world.memory_branch is not None
        return nn.ModuleDict(
            {"transformer": world.transformer, "memory_branch": world.memory_branch, "text_encoder": world.text_encoder}
        )

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        shared = torch.Generator().manual_seed(step)  # one shape for all processes, so none waits for another
        preceding = draw(self.config.max_preceding + 1, shared)
        references = draw(self.config.max_references + 1, shared)
        pairs = [
            self._sample(self.train[draw(len(self.train), generator)], preceding, references, generator)
            for _ in range(self.config.batch)
        ]
        condition = batched([c for c, _ in pairs])
        x0 = torch.stack([x for _, x in pairs])
        error = self._error(condition, x0, generator)
        return error.mean(), {"loss": float(error.detach().mean())}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """The loss on held-out clips, at the same noise, with the memory and without."""
        sums = {"loss_memory": 0.0, "loss_none": 0.0}
        for i, clip in enumerate(self.test):
            generator = torch.Generator().manual_seed(i)
            condition, x0 = self._sample(clip, 1, 1, generator, augment=False)
            for name, seen in (("loss_memory", condition), ("loss_none", condition.without_memory())):
                noise = torch.Generator().manual_seed(i)
                sums[name] += float(self._error(seen, x0[None], noise).mean()) / len(self.test)
        return sums

    def _error(self, condition: Condition, x0: Tensor, generator: torch.Generator) -> Tensor:
        timestep = flow.sample_timesteps((len(x0), self.config.frames), generator=generator, shift=self.config.shift)
        sigma = timestep / flow.TIMESTEPS
        noise = torch.randn(x0.shape, generator=generator)
        noisy = flow.add_noise(x0, noise, sigma)
        noisy[:, :, :1] = condition.first
        output = predict(self.world.transformer, self.world.memory_branch, noisy, timestep, condition)
        error = flow.to_x0(output, noisy, sigma, self.world.prediction) - x0
        weight = sigma.clamp_min(self.config.min_sigma)[:, None, :, None, None]
        return (error / weight).square()[:, :, 1:]

    def _sample(
        self, clip: LatentClip, preceding: int, references: int, generator: torch.Generator, *, augment: bool = True
    ) -> tuple[Condition, Tensor]:
        """A chunk of a clip: its condition [B=1] and its clean latents [C,T,h,w]."""
        config = self.config
        start = draw(len(clip.latents) - config.frames + 1, generator)
        fresh = augment and chance(config.fresh, generator)
        past = slice(start, start + 1) if fresh else slice(0, start + 1)
        known = clip.images[past] if fresh else clip.latents[past]
        depth, camera = clip.depth[past], clip.camera[past]
        chunk = clip.camera[start : start + config.frames]
        if augment:
            level = config.latent_noise * torch.rand((), generator=generator)
            known = known + level * torch.randn(known.shape, generator=generator)
            if chance(config.own_depth, generator):
                depth = self.world.depth(known, camera, first=True)
            else:
                depth = noisy_depth(depth, config.depth_noise, generator)
        memory = self._memory(augment, generator)
        if memory is not None:
            memory.write(known, depth, camera)
        grid = (known.shape[-2], known.shape[-1])
        readout = Readout.holes(len(chunk), known.shape[1], grid) if memory is None else memory.read(chunk, grid)
        history = _last(known, 1 + preceding)
        chosen = self._references(known, depth, camera, chunk, readout, references, generator)
        prompt = "" if augment and chance(config.no_text, generator) else clip.caption
        text = self._text(prompt)
        condition = build_condition(readout, chunk, history=history, references=chosen, text=text)
        return condition, clip.latents[start : start + config.frames].transpose(0, 1)

    def _memory(self, augment: bool, generator: torch.Generator) -> LatentSpatialMemory | RGBPointMemory | None:
        """An empty memory of the kind that this sample has."""
        if augment and chance(self.config.no_memory, generator):
            return None
        if augment and self.config.pixels and chance(self.config.pixels, generator):
            decode, encode = pixel_codec(self.world)
            return RGBPointMemory(self.world.channels, decode=decode, encode=encode)
        return LatentSpatialMemory(self.world.channels)

    def _references(
        self,
        known: Tensor,
        depth: DepthMap,
        camera: Camera,
        chunk: Camera,
        readout: Readout,
        count: int,
        generator: torch.Generator,
    ) -> Tensor:
        """Latents of past views [R,C,h,w], chosen as a rollout chooses them; where that gives fewer than the batch
        needs (an empty memory, a short past), views drawn at random fill up."""
        chosen = choose_references(readout, chunk, camera, depth, count=count) if count else []
        while len(chosen) < count:
            chosen.append(draw(len(known), generator))
        return known[sorted(chosen)]

    def _text(self, prompt: str) -> Tensor:
        """`WorldModel.encode_prompt`, with gradients."""
        tokens = self.world.tokenize(prompt)
        text = self.world.text_encoder(*tokens).last_hidden_state
        return text.masked_fill(tokens[1][..., None] == 0, 0)


def noisy_depth(depth: DepthMap, amount: float, generator: torch.Generator) -> DepthMap:
    """Off by a factor per frame and by half as much per cell, both log-normal of deviation `amount`."""
    frame = torch.randn((len(depth), 1, 1), generator=generator) * amount
    cell = torch.randn(depth.shape, generator=generator) * amount / 2
    return DepthMap(depth.z * (frame + cell).exp(), depth.valid)


def _last(known: Tensor, count: int) -> Tensor:
    """The last `count` of [n,C,h,w]; the oldest repeats where there are fewer."""
    missing = count - len(known)
    return known[-count:] if missing <= 0 else torch.cat([known[:1].expand(missing, -1, -1, -1), known])
