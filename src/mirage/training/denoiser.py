"""Training the denoiser, its memory branch and the text encoder, or some of them: flow matching with a memory.

What a step sees is what inference will meet. A chunk begins somewhere in a clip; the memory holds the clip up to there,
written through the same gate with a depth that is off by as much as an estimator's, with latents as imperfect as
generated ones, and is read from the chunk's cameras by the same code. Part of the samples have the depth head's own
depth, a memory of pixels, or none, so that the network serves each of the memories that it is compared with.

    clip latents   0 1 2 ... s | s+1 ... s+8          memory: 0..s     first: s (clean)     target: s+1..s+8
    fresh start              s | s+1 ... s+8          memory and first: frame s, encoded alone as an image
    relived        0 1 ... | s-8 ... s | s+1 ...      memory: the chunk that ends with s is the model's own work

`Chunks` makes all this from files, wherever and whenever it is asked to (samples.py); `DenoiserTask` has what learns:
the network, the words, and the chunks that it relives. Ready-made chunks (chunks.py) come with their memory.
Letters: B batch, T latent frames of a chunk, C latent channels, h w latent grid.
"""

import copy
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from mirage.conditioning import batched, build_condition, drafted_views, pixel_codec
from mirage.depth.freespace import seen_through
from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.memory import LatentSpatialMemory, Readout
from mirage.memory.baselines.rgb import RGBPointMemory
from mirage.memory.references import choose_references
from mirage.models import flow
from mirage.models.condition import Condition
from mirage.models.lora import attach_lora
from mirage.models.transformer import MemoryBranch, predict
from mirage.models.world import WorldModel
from mirage.sampler import Sampler
from mirage.scenes.words import shortened
from mirage.training import parallel
from mirage.training.channels import pixel_weights
from mirage.training.chunks import ReadyChunk, load_chunk
from mirage.training.clips import clip_paths
from mirage.training.draws import chance, draw, normal
from mirage.training.latents import LatentClip, load_latent_clip
from mirage.training.samples import Batch


@dataclass(frozen=True)
class DenoiserConfig:
    """`batch` chunks a step and process. Shares are probabilities, noises are in units of a latent's deviation or
    relative depth. `own_depth`: the share of clips whose depth is that of the model's own depth head; `pixels`: the
    share of memories that hold pixels, which are drawn and encoded again; `brief`: of captions that tell some of it.

    train        the parts that learn; the others are frozen. "detail": of the memory branch its detail path alone;
                 "words": of the transformer what reads the text (cross-attention and the text's embedding)
    lora_rank    > 0: of the transformer only a LoRA on its self-attention learns, of this rank
    per_frame    a timestep for every frame, as published, instead of one for the chunk
    own          the share of steps in which the newest chunk of every memory is the model's own work, in `own_steps`
                 steps; a whole step, because processes that share out weights must call the network equally often
    own_steps    one of these, drawn anew each time; a model that knows one number only is worse with more
    told         the share of the other steps that have chunks of two frames of which nothing is shown, neither a first
                 frame nor a memory: only the words tell what is there. From `views`, too, glances at many more worlds
    apart        the share of the other steps that have more and shorter chunks: `_APART` frames from all over a clip,
                 which show much that only the words tell of
    drafted      the share of those that are the views of a draft of the next chunk, instead of any
    apart_shift  the shift of their timesteps, for what becomes of such is decided where there is little but noise;
                 None: as for all
    sampled      the share of these and of what is left that are the last one of the model's own sampling, in
                 `own_steps` steps, in place of the truth with noise; see `DenoiserTask._sampled_error`
    unknown      what an unknown cell counts in those steps, a known one being 1
    pixel_weighted  errors of a channel count by what it does to the pixels (`channels.pixel_weights`); else all alike
    min_sigma    the loss is that of the velocity; below this sigma it counts for less
    bf16         run the network in bfloat16; what learns is kept in float32
    codec_bf16   the autoencoder of memories of pixels, too; for CPUs that compute in it
    checkpoint   compute activations again in the backward pass instead of keeping them
    cached       clips that are kept in memory
    """

    latents: Path
    batch: int = 4
    frames: int = 9
    shift: float = 3.0
    fresh: float = 0.35
    no_memory: float = 0.2
    pixels: float = 0.0
    own_depth: float = 0.0
    no_text: float = 0.12
    brief: float = 0.0
    max_preceding: int = 1
    max_references: int = 2
    latent_noise: float = 0.15
    depth_noise: float = 0.02
    min_sigma: float = 0.25
    held_out: int = 16
    train: tuple[str, ...] = ("transformer", "memory_branch", "text_encoder")
    lora_rank: int = 0
    per_frame: bool = False
    own: float = 0.0
    told: float = 0.0
    views: Path | None = None
    apart: float = 0.0
    drafted: float = 0.0
    apart_shift: float | None = None
    sampled: float = 0.0
    unknown: float = 0.0
    own_steps: tuple[int, ...] = (4,)
    pixel_weighted: bool = False
    bf16: bool = False
    codec_bf16: bool = False
    checkpoint: bool = False
    cached: int = 1024


@dataclass(frozen=True)
class Seen(Batch):
    """`condition` [B], all but its text; `prompts`, B of them; `target` [B,C,T,h,w], the clean latents. `steps`: how
    many a sampler takes, of which the last one is learnt from; 0: the truth with noise stands for those before it, its
    timesteps drawn with `shift` (None: that of the configuration)."""

    condition: Condition
    prompts: tuple[str, ...]
    target: Tensor
    steps: int = 0
    shift: float | None = None

    @classmethod
    def of(cls, samples: "Sequence[Seen]") -> "Seen":
        """Several as one."""
        return cls(
            batched([sample.condition for sample in samples]),
            tuple(prompt for sample in samples for prompt in sample.prompts),
            torch.cat([sample.target for sample in samples]),
        )


@dataclass(frozen=True)
class Past:
    """A clip up to a chunk: `known` [n,C,h,w] with `depth` and `camera` of it, and what to `keep` [n,h,w]; the cameras
    [T] and the clean latents, `target` [C,T,h,w], of the `chunk`; the clip's words."""

    known: Tensor
    depth: DepthMap
    camera: Camera
    keep: Tensor
    chunk: Camera
    target: Tensor
    caption: str


@dataclass(frozen=True)
class Relived(Batch):
    """Pasts whose newest chunk the model is still to make, in `steps`, and how many frames to show beside."""

    pasts: tuple[Past, ...]
    steps: int
    preceding: int
    references: int


class DenoiserTask:
    """Flow-matching loss on the frames after the first. The network's output is read as `world.prediction` says; the
    loss is that of the velocity, with 1/sigma held below 1/`min_sigma`."""

    def __init__(self, model: WorldModel, config: DenoiserConfig) -> None:
        if model.memory_branch is not None and model.memory_branch.published:
            raise InputError("the branch is in the published layout, which runs here but is not trained; expected ours")
        self.model, self.config = model, config
        for part in self.modules(model).values():
            part.requires_grad_(False)
        self.module: nn.Module = self.modules(model, config.train).requires_grad_(True)
        if config.lora_rank:
            attach_lora(model.transformer, rank=config.lora_rank)
        self.network = Network(model, bf16=config.bf16)
        if config.checkpoint:
            for part in (model.transformer, self.network.branch):
                part.enable_gradient_checkpointing()
        self._tokens = lru_cache(maxsize=None)(model.tokenize)
        train, self.test = split(_paths(config.latents), config.held_out)
        self.maker = Chunks(config, train, model.channels, _codec(model, config))
        self.weights = torch.ones((), device=model.transformer.device)
        if config.pixel_weighted:
            self.weights = pixel_weights(model, self.maker.whole(train[0]).latents)

    @staticmethod
    def modules(
        model: WorldModel, names: Sequence[str] = ("transformer", "memory_branch", "text_encoder")
    ) -> nn.ModuleDict:
        """What is trained, by the names that a checkpoint has."""
        return nn.ModuleDict({name: _part(model, name) for name in names})

    def shard(self) -> None:
        """Share the network out among the processes; before the first step."""
        blocks: Any = [*self.model.transformer.blocks, *self.network.branch.blocks]
        parallel.shard(self.network, blocks, bf16=self.config.bf16)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Within the block `world.denoise` works too, which calls the network's parts and not the network."""
        network: nn.Module = self.network
        if not isinstance(network, FSDPModule):
            yield
            return
        network.unshard()
        try:
            yield
        finally:
            network.reshard()

    def loss(self, batch: Seen | Relived, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        if isinstance(batch, Relived):
            pasts = [replace(past, known=self._relived(past, batch.steps, generator)) for past in batch.pasts]
            batch = Seen.of(
                [self.maker.seen(past, batch.preceding, batch.references, generator, augment=True) for past in pasts]
            )
        condition = self._worded(batch)
        if batch.steps:
            error = self._sampled_error(condition, batch.target, batch.steps, generator)
            return error, {"sampled": float(error.detach())}
        error = self._error(condition, batch.target, generator, shift=batch.shift)
        error = (error * self.weights).mean()
        return error, {"loss": float(error.detach())}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """The loss on held-out clips, at the same noise, with the memory and without."""
        sums = {"loss_memory": 0.0, "loss_none": 0.0}
        for i, path in enumerate(self.test):
            sample = self.maker.sample(path, 1, 1, torch.Generator().manual_seed(i), augment=False)
            condition = self._worded(sample)
            for name, seen in (("loss_memory", condition), ("loss_none", condition.without_memory())):
                noise = torch.Generator().manual_seed(i)
                sums[name] += float(self._error(seen, sample.target, noise).mean()) / len(self.test)
        return sums

    def _error(
        self, condition: Condition, x0: Tensor, generator: torch.Generator, *, shift: float | None = None
    ) -> Tensor:
        config, device = self.config, self.model.transformer.device
        timestep = flow.sample_timesteps(
            (len(x0), x0.shape[2]), generator=generator, shift=shift or config.shift, per_frame=config.per_frame
        )
        noise = normal(x0.shape, generator, device)
        x0, timestep = x0.to(device), timestep.to(device)
        sigma = timestep / flow.TIMESTEPS
        noisy = flow.add_noise(x0, noise, sigma)
        noisy[:, :, :1] = condition.first
        output = self.network(noisy, timestep, condition).float()
        error = flow.to_x0(output, noisy, sigma, self.model.prediction) - x0
        weight = sigma.clamp_min(config.min_sigma)[:, None, :, None, None]
        return (error / weight).square()[:, :, 1:]

    def _sampled_error(self, condition: Condition, x0: Tensor, steps: int, generator: torch.Generator) -> Tensor:
        """The mean loss over cells where a sampler stands before the last of its steps.

        In the truth with noise the network sees half of what it is asked for, and learns to believe that; at inference
        it is its own guess that it sees there, while what is remembered is true. Of unknown cells little is asked:
        they have no reason to be as they truly are, and the mean of all that they could be is mud; seams are faults.
        """
        sampler = Sampler(steps=steps).over(self.model.sampler)
        with torch.no_grad():
            noisy = flow.denoise(
                self.network,
                condition,
                scheduler=self.model.scheduler,
                sampler=sampler,
                generator=generator,
                stop=steps - 1,
            )
        last = flow.sigmas(self.model.scheduler, sampler)[-1]
        sigma = noisy.new_full((len(noisy), noisy.shape[2]), last)
        sigma[:, 0] = 0
        output = self.network(noisy, flow.TIMESTEPS * sigma, condition).float()
        error = flow.to_x0(output, noisy, sigma, self.model.prediction) - x0.to(noisy)
        count = condition.mask[:, :, 1:].lerp(torch.ones(()).to(error), self.config.unknown)
        weighted = (error[:, :, 1:] / sigma[0, 1].clamp_min(self.config.min_sigma)).square() * count * self.weights
        return weighted.sum() / (count.sum() * x0.shape[1]).clamp_min(1)

    @torch.no_grad()
    def _relived(self, past: Past, steps: int, generator: torch.Generator) -> Tensor:
        """Its `known` [n,C,h,w] with the last chunk as the model itself makes it, from a memory of what was before."""
        known, keep = past.known, past.keep
        begin = max(len(known) - self.config.frames, 0)
        before = slice(0, begin + 1)
        memory = LatentSpatialMemory(known.shape[1])
        memory.write(known[before], past.depth[before], past.camera[before], keep=keep[before])
        chunk = past.camera[begin:]
        readout = memory.read(chunk, (known.shape[-2], known.shape[-1]))
        condition = build_condition(
            readout, chunk, history=known[begin : begin + 1], references=known[:0], text=_NO_TEXT
        )
        made = flow.denoise(
            self.network,
            self._worded(Seen(condition, (past.caption,), past.target[None])),
            scheduler=self.model.scheduler,
            sampler=Sampler(steps=steps).over(self.model.sampler),
            generator=generator,
        )
        return torch.cat([known[before], made[0, :, 1:].transpose(0, 1).to(known)])

    def _worded(self, sample: Seen) -> Condition:
        """The condition with its text, where the network is; `WorldModel.encode_prompt` for a batch, with gradients if
        the text encoder learns."""
        tokens = [self._tokens(prompt) for prompt in sample.prompts]
        ids, known = (torch.cat(parts) for parts in zip(*tokens, strict=True))
        with torch.set_grad_enabled(torch.is_grad_enabled() and "text_encoder" in self.config.train):
            text = self.model.text_encoder(ids, known).last_hidden_state
            text = text.masked_fill(known[..., None] == 0, 0)
        return replace(sample.condition.to(self.model.transformer.device), text=text)


class Chunks:
    """What a step sees, from clips at `paths`: a `Maker`. `codec`: an autoencoder and a depth head that do not learn,
    on the CPU, where the samples ask for them."""

    def __init__(
        self, config: DenoiserConfig, paths: Sequence[Path], channels: int, codec: WorldModel | None = None
    ) -> None:
        self.config, self.paths, self.channels, self.codec = config, paths, channels, codec
        self.long = [path for path in paths if config.own and _longer(path, config.frames)]
        if config.own and not self.long:
            raise InputError(f"own is {config.own}, and no clip of {config.latents} is longer than a chunk; expected 0")
        if config.drafted and len(drafted_views(config.frames)) != _APART:
            raise InputError(f"drafted is {config.drafted}, but chunks have {config.frames} frames; expected 3 or more")
        self.views = [] if config.views is None else clip_paths(config.views)
        self._load = lru_cache(maxsize=config.cached)(_load)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process reads the clips for itself."""
        return Chunks, (self.config, self.paths, self.channels, self.codec)

    def __call__(self, number: int, generator: torch.Generator) -> Seen | Relived:
        shared = torch.Generator().manual_seed(number)  # one shape for all processes, so none waits for another
        preceding = draw(self.config.max_preceding + 1, shared)
        references = draw(self.config.max_references + 1, shared)
        own_steps = self.config.own_steps[draw(len(self.config.own_steps), shared)]
        if self.config.own > 0 and chance(self.config.own, shared):
            clips = [self._load(self.long[draw(len(self.long), generator)]) for _ in range(self.config.batch)]
            pasts = [self._past(clip, generator, relive=True) for clip in clips if isinstance(clip, LatentClip)]
            return Relived(tuple(pasts), own_steps, preceding, references)
        if self.config.told and chance(self.config.told, shared):
            return Seen.of([self._told(generator) for _ in range(self.config.batch * self.config.frames // 2)])
        apart = self.config.apart > 0 and chance(self.config.apart, shared)
        steps = own_steps if chance(self.config.sampled, shared) else 0
        if apart:
            count = self.config.batch * self.config.frames // _APART
            glimpses = Seen.of([self._glimpses(generator) for _ in range(count)])
            return replace(glimpses, steps=steps, shift=self.config.apart_shift)
        seen = Seen.of(
            [
                self.sample(self.paths[draw(len(self.paths), generator)], preceding, references, generator)
                for _ in range(self.config.batch)
            ]
        )
        return replace(seen, steps=steps)

    def _told(self, generator: torch.Generator) -> Seen:
        """A frame of a clip, from the words alone, as a chunk [B=1] of two."""
        paths = [*self.paths, *self.views]
        clip = self.whole(paths[draw(len(paths), generator)])
        shown = 1 + draw(len(clip.latents) - 1, generator)
        chunk = [draw(shown, generator), shown]
        nothing = torch.zeros_like(clip.latents[:1])
        camera, grid = clip.camera[chunk], (nothing.shape[-2], nothing.shape[-1])
        condition = build_condition(
            Readout.holes(2, nothing.shape[1], grid), camera, history=nothing, references=nothing[:0], text=_NO_TEXT
        )
        return Seen(condition, (self.words(clip.caption, generator),), clip.latents[chunk].transpose(0, 1)[None])

    def whole(self, path: Path) -> LatentClip:
        """A clip that is more than a ready-made chunk."""
        clip = self._load(path)
        if isinstance(clip, ReadyChunk):
            raise InputError(f"the chunks of {self.config.latents} are ready-made; expected apart and told 0")
        return clip

    def _glimpses(self, generator: torch.Generator) -> Seen:
        """A start and frames of the same clip, near and far, as a chunk [B=1] of `_APART` frames: what a draft is
        (`mirage.rollout.draft`). Half of the time of an image, half with all that the clip showed before."""
        clip = self.whole(self.paths[draw(len(self.paths), generator)])
        fresh = chance(0.5, generator)
        if self.config.drafted and chance(self.config.drafted, generator):
            start = draw(len(clip.latents) - self.config.frames + 1, generator)
            others = [start + view for view in drafted_views(self.config.frames)[1:]]
        else:
            start = draw(len(clip.latents) - (0 if fresh else _APART - 1), generator)
            behind = torch.arange(start + 1, len(clip.latents))
            drawn = torch.cat([torch.arange(start), behind]) if fresh else behind
            drawn = drawn[torch.randperm(len(drawn), generator=generator)[: _APART - 1]]
            others = sorted(drawn.tolist(), key=lambda other: abs(other - start))
        past = slice(start, start + 1) if fresh else slice(0, start + 1)
        begun = self._started(clip, past, [start, *others], generator, fresh=fresh)
        return self.seen(begun, 0, 0, generator, augment=True, pixels=False)  # which are dear, and drawn by the dozen

    def sample(
        self, path: Path, preceding: int, references: int, generator: torch.Generator, *, augment: bool = True
    ) -> Seen:
        """A chunk [B=1] of a clip."""
        clip = self._load(path)
        if isinstance(clip, ReadyChunk):
            return self.ready(clip, preceding, references, generator, augment=augment)
        past = self._past(clip, generator, augment=augment)
        return self.seen(past, preceding, references, generator, augment=augment)

    def ready(
        self, chunk: ReadyChunk, preceding: int, references: int, generator: torch.Generator, *, augment: bool
    ) -> Seen:
        """A ready-made chunk [B=1]."""
        prompt = self.words(chunk.caption, generator) if augment else chunk.caption
        condition = chunk.condition(_NO_TEXT, preceding=preceding, references=references)
        if augment and chance(self.config.no_memory, generator):
            condition = condition.without_memory()
        return Seen(condition, (prompt,), chunk.target.transpose(0, 1)[None])

    def _past(
        self, clip: LatentClip, generator: torch.Generator, *, augment: bool = True, relive: bool = False
    ) -> Past:
        """What a clip shows before one of its chunks (`relive`: not the first one)."""
        config = self.config
        start = relive + draw(len(clip.latents) - config.frames + 1 - relive, generator)
        fresh = augment and not relive and chance(config.fresh, generator)
        past = slice(start, start + 1) if fresh else slice(0, start + 1)
        chunk = list(range(start, start + config.frames))
        return self._started(clip, past, chunk, generator, fresh=fresh, augment=augment)

    def _started(
        self,
        clip: LatentClip,
        past: slice,
        chunk: list[int],
        generator: torch.Generator,
        *,
        fresh: bool,
        augment: bool = True,
    ) -> Past:
        """The frames `past` of a clip, known as images if `fresh`, and those of a chunk."""
        config = self.config
        known = clip.images[past] if fresh else clip.latents[past]
        depth, camera = clip.depth[past], clip.camera[past]
        if augment:
            level = config.latent_noise * torch.rand((), generator=generator)
            known = known + level * torch.randn(known.shape, generator=generator)
            if self.codec is not None and chance(config.own_depth, generator):
                depth = self.codec.depth(known, camera, first=True)
            else:
                depth = noisy_depth(depth, config.depth_noise, generator)
        keep = ~seen_through(depth, camera)
        return Past(
            known,
            depth,
            camera,
            keep if clip.keep is None else keep & clip.keep[past],
            clip.camera[chunk],
            clip.latents[chunk].transpose(0, 1),
            clip.caption,
        )

    def seen(
        self,
        past: Past,
        preceding: int,
        references: int,
        generator: torch.Generator,
        *,
        augment: bool,
        pixels: bool = True,
    ) -> Seen:
        """What is written, and what the chunk's cameras read of it: [B=1]. `pixels`: the memory may be of pixels."""
        known, chunk = past.known, past.chunk
        grid = (known.shape[-2], known.shape[-1])
        memory = self.memory(augment, generator, pixels=pixels)
        readout = Readout.holes(len(chunk), known.shape[1], grid)
        if memory is not None:
            memory.write(known, past.depth, past.camera, keep=past.keep)
            readout = memory.read(chunk, grid)
        condition = build_condition(
            readout,
            chunk,
            history=_last(known, 1 + preceding),
            references=self._references(past, readout, references, generator),
            text=_NO_TEXT,
        )
        prompt = self.words(past.caption, generator) if augment else past.caption
        return Seen(condition, (prompt,), past.target[None])

    def words(self, caption: str, generator: torch.Generator) -> str:
        """What is told of a clip: nothing, some of its caption, or all of it."""
        if chance(self.config.no_text, generator):
            return ""
        if self.config.brief and chance(self.config.brief, generator):
            return shortened(caption, random.Random(draw(2**31, generator)))
        return caption

    def memory(
        self, augment: bool, generator: torch.Generator, *, pixels: bool = True
    ) -> LatentSpatialMemory | RGBPointMemory | None:
        """An empty memory of the kind that this sample has."""
        if augment and chance(self.config.no_memory, generator):
            return None
        asked = augment and pixels and self.codec is not None and self.config.pixels > 0
        if asked and chance(self.config.pixels, generator):
            assert self.codec is not None
            precision = torch.autocast("cpu", torch.bfloat16, enabled=self.config.codec_bf16)
            decode, encode = map(precision, pixel_codec(self.codec))
            return RGBPointMemory(self.channels, decode=decode, encode=encode)
        return LatentSpatialMemory(self.channels)

    def _references(self, past: Past, readout: Readout, count: int, generator: torch.Generator) -> Tensor:
        """Latents of past views [R,C,h,w], chosen as a rollout chooses them; where that gives fewer than the batch
        needs (an empty memory, a short past), views drawn at random fill up."""
        chosen = choose_references(readout, past.chunk, past.camera, past.depth, count=count) if count else []
        while len(chosen) < count:
            chosen.append(draw(len(past.known), generator))
        return past.known[sorted(chosen)]


_NO_TEXT = torch.zeros(1, 0, 0)
"""In the text's place while words are words."""
_APART = 3
"""Frames, the start among them, of a chunk of glimpses."""


def _part(model: WorldModel, name: str) -> nn.Module:
    """A part of a world model by the name that `DenoiserConfig.train` has for it."""
    match name:
        case "detail":
            return getattr(model.memory_branch, name)
        case "words":
            transformer = model.transformer
            blocks: Any = transformer.blocks
            return nn.ModuleDict({
                "embedder": transformer.condition_embedder.text_embedder,
                "attention": nn.ModuleList([block.attn2 for block in blocks]),
                "norms": nn.ModuleList([block.norm2 for block in blocks]),
            })  # fmt: skip
        case _:
            return getattr(model, name)


def _codec(model: WorldModel, config: DenoiserConfig) -> WorldModel | None:
    """The parts of a world that samples ask for, by themselves and on the CPU; None where none do."""
    if not (config.own_depth or config.pixels):
        return None
    codec = copy.copy(model)
    parts = {name: copy.deepcopy(getattr(model, name)).cpu().requires_grad_(False) for name in ("vae", "depth_head")}
    codec.register_modules(transformer=None, memory_branch=None, text_encoder=None, tokenizer=None, **parts)
    return codec


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


def split(paths: list[Path], held_out: int) -> tuple[list[Path], list[Path]]:
    """Training clips, and the last `held_out` to look at; at most half of all, and of a single one itself."""
    held_out = min(held_out, len(paths) // 2)
    return (paths[:-held_out], paths[-held_out:]) if held_out else (paths, paths)


def _paths(folder: Path) -> list[Path]:
    """Clips and ready-made chunks."""
    chunks = sorted(folder.glob("chunk-*.safetensors"))
    return chunks if chunks and not any(folder.glob("clip-*.safetensors")) else clip_paths(folder) + chunks


def _longer(path: Path, frames: int) -> bool:
    with safe_open(path, framework="pt") as file:
        return "latents" in file.keys() and file.get_slice("latents").get_shape()[0] > frames


def _load(path: Path) -> LatentClip | ReadyChunk:
    return load_chunk(path) if path.name.startswith("chunk-") else load_latent_clip(path)


def noisy_depth(depth: DepthMap, amount: float, generator: torch.Generator) -> DepthMap:
    """Off by a factor per frame and by half as much per cell, both log-normal of deviation `amount`."""
    frame = torch.randn((len(depth), 1, 1), generator=generator) * amount
    cell = torch.randn(depth.shape, generator=generator) * amount / 2
    return DepthMap(depth.z * (frame + cell).exp(), depth.valid)


def _last(known: Tensor, count: int) -> Tensor:
    """The last `count` of [n,C,h,w]; the oldest repeats where there are fewer."""
    missing = count - len(known)
    return known[-count:] if missing <= 0 else torch.cat([known[:1].expand(missing, -1, -1, -1), known])
