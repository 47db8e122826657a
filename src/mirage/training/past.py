"""What is known before a chunk, as a rollout would know it, and what the denoiser sees of it.

    clip latents   0 1 2 ... s | s+1 ... s+8          memory: 0..s     first: s (clean)     target: s+1..s+8
    fresh start              s | s+1 ... s+8          memory and first: frame s, encoded alone as an image

The memory is written through the same gate as at inference, with a depth that is off by as much as an estimator's and
latents as imperfect as generated ones, and is read from the chunk's cameras by the same code. Part of the samples have
the depth head's own depth, a memory of pixels or none, so one network serves every memory that it is compared with.

Letters: B batch, T latent frames of a chunk, n of what is known before it, C latent channels, h w latent grid.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from einops import rearrange
from torch import Tensor

from mirage.conditioning import build_condition, pixel_codec
from mirage.depth.freespace import seen_through
from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.memory import LatentSpatialMemory, Readout
from mirage.memory.baselines.rgb import RGBPointMemory
from mirage.memory.references import choose_references
from mirage.models.condition import Condition, stacked
from mirage.models.world import WorldModel
from mirage.scenes.words import shortened
from mirage.training.clips import LatentClip, ReadyChunk
from mirage.training.draws import chance, draw
from mirage.training.samples import Batch

NO_TEXT = torch.zeros(1, 0, 0)
"""In the text's place while words are words."""


@dataclass(frozen=True)
class Augment:
    """How a sample differs from the clip as it is. Probabilities, each of its own; noises are in units of a latent's
    deviation or relative depth.

    fresh            a chunk starts from its first frame alone, encoded as an image, as a walk does
    latent_noise     largest deviation of noise on what is known
    depth_noise      deviation of log depth, by frame, and half of it by cell
    predicted_depth  the depth is that of the model's own depth head
    no_memory        there is none
    pixel_memory     of the rest: it holds pixels, which are drawn and encoded again
    no_prompt        there is none
    short_prompt     of the rest: it names some of what the caption names
    """

    fresh: float = 0.35
    latent_noise: float = 0.15
    depth_noise: float = 0.02
    predicted_depth: float = 0.0
    no_memory: float = 0.2
    pixel_memory: float = 0.0
    no_prompt: float = 0.12
    short_prompt: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value <= (1 if "noise" not in field.name else float("inf")):
                raise InputError(f"{field.name} is {value}; expected a probability, or noise of 0 or more")


AS_IT_IS = Augment(fresh=0, latent_noise=0, depth_noise=0, no_memory=0, no_prompt=0)
"""The clip itself, to look at what has been learnt."""


@dataclass(frozen=True)
class Seen(Batch):
    """`condition` [B], all but its text; `prompts`, B of them; `target` [B,C,T,h,w], the clean latents. `steps`: how
    many the model's sampler takes, or with `draft` that of drafts, of which the last one is learnt from; 0: flow
    matching, its timesteps drawn with `shift` (None: that of the objective)."""

    condition: Condition
    prompts: tuple[str, ...]
    target: Tensor
    steps: int = 0
    shift: float | None = None
    draft: bool = False

    @classmethod
    def of(cls, samples: "Sequence[Seen]") -> "Seen":
        """Several as one."""
        return cls(
            stacked([sample.condition for sample in samples]),
            tuple(prompt for sample in samples for prompt in sample.prompts),
            torch.cat([sample.target for sample in samples]),
        )


@dataclass(frozen=True)
class Past:
    """A clip up to a chunk: `known` [n,C,h,w] with `depth` and `camera` of it, and what to `keep` [n,h,w]; the cameras
    [T] and the clean latents, `target` [C,T,h,w], of the `chunk`; the clip's words; the cameras `between` latents,
    [n,3] of what is known and [T,3] of the chunk."""

    known: Tensor
    depth: DepthMap
    camera: Camera
    keep: Tensor
    chunk: Camera
    target: Tensor
    caption: str
    between: tuple[Camera, Camera]


class Observer:
    """Pasts of clips, and what is seen of them. `codec`: an autoencoder and a depth head that do not learn, on the CPU,
    where `augment` asks for them (else None); in bfloat16 with `bf16`."""

    def __init__(self, augment: Augment, channels: int, codec: WorldModel | None = None, *, bf16: bool = False) -> None:
        self.augment, self.channels, self.codec, self.bf16 = augment, channels, codec, bf16

    def past(
        self, clip: LatentClip, start: int, frames: Sequence[int], generator: torch.Generator, *, fresh: bool
    ) -> Past:
        """A clip up to its frame `start`, of which with `fresh` nothing but that frame is known, as an image, and a
        chunk of these `frames`."""
        augment, past = self.augment, slice(start if fresh else 0, start + 1)
        known = clip.images[past] if fresh else clip.latents[past]
        depth, camera = clip.depth[past], clip.camera[past]
        level = augment.latent_noise * torch.rand((), generator=generator)
        known = known + level * torch.randn(known.shape, generator=generator)
        if self.codec is not None and chance(augment.predicted_depth, generator):
            depth = self.codec.depth(known, camera, first=True)
        else:
            depth = noisy_depth(depth, augment.depth_noise, generator)
        keep = ~seen_through(depth, camera)
        return Past(
            known,
            depth,
            camera,
            keep if clip.keep is None else keep & clip.keep[past],
            clip.camera[list(frames)],
            clip.latents[list(frames)].transpose(0, 1),
            clip.caption,
            (clip.cameras_between[past], clip.cameras_between[list(frames)]),
        )

    def seen(
        self, past: Past, preceding: int, references: int, generator: torch.Generator, *, pixels: bool = True
    ) -> Seen:
        """What is written, and what the chunk's cameras read of it: [B=1]. `pixels`: the memory may be of pixels."""
        known, chunk = past.known, past.chunk
        grid = (known.shape[-2], known.shape[-1])
        memory = self.memory(generator, pixels=pixels)
        readout = Readout.holes(len(chunk), known.shape[1], grid)
        if memory is not None:
            memory.write(known, past.depth, past.camera, keep=past.keep)
            readout = memory.read(chunk, grid)
        condition = build_condition(
            readout,
            chunk,
            history=_last(known, 1 + preceding),
            references=_references(past, readout, references, generator),
            text=NO_TEXT,
            between=begun(chunk, past.between[1]),
        )
        if memory is not None and preceding:  # for branches in the published layout
            places = torch.arange(len(known) - 1 - preceding, len(known) - 1).clamp_min(0)
            before = memory.read(past.camera[places], grid).latents.to(known)
            condition = replace(condition, preceding_memory=rearrange(before, "p c h w -> 1 c p h w"))
        else:
            condition = replace(condition, preceding_memory=torch.zeros_like(condition.preceding))
        return Seen(condition, (self.prompt(past.caption, generator),), past.target[None])

    def words_alone(self, clip: LatentClip, frame: int, shown: int, generator: torch.Generator) -> Seen:
        """Frame `shown` of a clip as a chunk [B=1] of two, with nothing to go by but the prompt and how far the camera
        is from an earlier `frame`."""
        nothing = torch.zeros_like(clip.latents[:1])
        camera, grid = clip.camera[[frame, shown]], (nothing.shape[-2], nothing.shape[-1])
        readout = Readout.holes(2, nothing.shape[1], grid)
        between = begun(camera, clip.cameras_between[[frame, shown]])
        condition = build_condition(
            readout, camera, history=nothing, references=nothing[:0], text=NO_TEXT, between=between
        )
        target = clip.latents[[frame, shown]].transpose(0, 1)[None]
        return Seen(condition, (self.prompt(clip.caption, generator),), target)

    def ready(self, chunk: ReadyChunk, preceding: int, references: int, generator: torch.Generator) -> Seen:
        """A ready-made chunk [B=1]."""
        prompt = self.prompt(chunk.caption, generator)
        condition = ready_condition(chunk, preceding=preceding, references=references)
        if chance(self.augment.no_memory, generator):
            condition = condition.without_memory()
        return Seen(condition, (prompt,), chunk.target.transpose(0, 1)[None])

    def prompt(self, caption: str, generator: torch.Generator) -> str:
        """Nothing, some of a caption, or all of it."""
        if chance(self.augment.no_prompt, generator):
            return ""
        if self.augment.short_prompt and chance(self.augment.short_prompt, generator):
            return shortened(caption, random.Random(draw(2**31, generator)))
        return caption

    def memory(self, generator: torch.Generator, *, pixels: bool = True) -> LatentSpatialMemory | RGBPointMemory | None:
        """An empty memory of the kind that this sample has."""
        augment = self.augment
        if chance(augment.no_memory, generator):
            return None
        if pixels and self.codec is not None and augment.pixel_memory and chance(augment.pixel_memory, generator):
            precision = torch.autocast("cpu", torch.bfloat16, enabled=self.bf16)
            decode, encode = map(precision, pixel_codec(self.codec))
            return RGBPointMemory(self.channels, decode=decode, encode=encode)
        return LatentSpatialMemory(self.channels)


def ready_condition(chunk: ReadyChunk, *, preceding: int, references: int) -> Condition:
    """The condition [B=1] of a ready-made chunk, but for its text. As many preceding and reference frames as asked, the
    newest and the first ones; where there are fewer, the chunk's own first frame stands in. Cameras are not known:
    offsets and rays are 0, as are memory's holes."""
    memory = rearrange(chunk.memory, "t c h w -> 1 c t h w")
    first = chunk.target[:1]
    before = torch.cat([first.expand(preceding, -1, -1, -1), chunk.preceding])[len(chunk.preceding) :]
    seen = torch.zeros_like(chunk.preceding) if chunk.preceding_memory is None else chunk.preceding_memory
    seen = torch.cat([chunk.memory[:1].expand(preceding, -1, -1, -1), seen])[len(seen) :]
    views = torch.cat([chunk.references, first.expand(references, -1, -1, -1)])[:references]
    return Condition(
        memory=memory,
        mask=rearrange(chunk.known.float(), "t h w -> 1 1 t h w"),
        offset=torch.zeros_like(memory[:, :1]).expand(-1, 2, -1, -1, -1),
        rays=torch.zeros_like(memory[:, :1]).expand(-1, 6, -1, -1, -1),
        first=rearrange(first, "t c h w -> 1 c t h w"),
        preceding=rearrange(before, "t c h w -> 1 c t h w"),
        references=rearrange(views, "t c h w -> 1 c t h w"),
        text=NO_TEXT,
        preceding_memory=rearrange(seen, "t c h w -> 1 c t h w"),
    )


def begun(camera: Camera, between: Camera) -> Camera:
    """The cameras `between` [T,3] those of a chunk [T], which begins with its first: that stands for one frame."""
    start = camera[:1, None][:, [0] * between.shape[1]]
    return Camera.concatenate([start, between[1:]])


def noisy_depth(depth: DepthMap, amount: float, generator: torch.Generator) -> DepthMap:
    """Off by a factor per frame and by half as much per cell, both log-normal of deviation `amount`."""
    frame = torch.randn((len(depth), 1, 1), generator=generator) * amount
    cell = torch.randn(depth.shape, generator=generator) * amount / 2
    return DepthMap(depth.z * (frame + cell).exp(), depth.valid)


def _last(known: Tensor, count: int) -> Tensor:
    """The last `count` of [n,C,h,w]; the oldest repeats where there are fewer."""
    missing = count - len(known)
    return known[-count:] if missing <= 0 else torch.cat([known[:1].expand(missing, -1, -1, -1), known])


def _references(past: Past, readout: Readout, count: int, generator: torch.Generator) -> Tensor:
    """Latents of past views [R,C,h,w], chosen as a rollout chooses them; where that gives fewer than the batch needs
    (an empty memory, a short past), views drawn at random fill up."""
    chosen = choose_references(readout, past.chunk, past.camera, past.depth, count=count) if count else []
    while len(chosen) < count:
        chosen.append(draw(len(past.known), generator))
    return past.known[sorted(chosen)]
