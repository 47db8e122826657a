"""The exercises that the denoiser learns from, mixed by one table of shares.

    chunk      a chunk of a clip, with what the clip showed before it as memory            T = `frames`
    relived    the same, where the newest chunk of the memory is the model's own work      T = `frames`
    glimpses   a frame and two more from anywhere in the clip, near or far                 T = 3
    drafts     a frame and the two more that a draft of the next chunk shows               T = 3
    words      a frame of which nothing is known but the prompt                            T = 2

A step has one shape, because processes that share out weights must call the network equally often; so glimpses and
drafts share steps, and are mixed within them. What these show much of, and a chunk little, is what only words tell.

What a step sees is a function of its number, of its samples and of files (samples.py), never of what learns.
Letters: B batch, T latent frames of a chunk, C latent channels, h w latent grid.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, Literal

import torch

from mirage.conditioning import drafted_views
from mirage.errors import InputError
from mirage.models.world import WorldModel
from mirage.training.clips import LatentClip, Place, ReadyChunk, latent_frames, load_sample
from mirage.training.draws import chance, draw, generator_of
from mirage.training.objective import Objective
from mirage.training.past import Augment, Observer, Past, Seen
from mirage.training.samples import Batch, Sample

GLIMPSES = 3
"""Frames, the first among them, of a chunk of glimpses: as many as a draft shows."""
Shape = Literal["chunk", "relived", "short", "words"]


@dataclass(frozen=True)
class Mix:
    """What share of the steps is of which exercise; all of them sum to 1."""

    chunk: float = 1.0
    relived: float = 0.0
    glimpses: float = 0.0
    drafts: float = 0.0
    words: float = 0.0

    def __post_init__(self) -> None:
        shares = {row.name: getattr(self, row.name) for row in fields(self)}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise InputError(f"the share of {name} is {share}; expected 0 to 1")
        if not math.isclose(total := sum(shares.values()), 1, abs_tol=1e-6):
            raise InputError(f"the shares of {', '.join(shares)} sum to {total:g}; expected 1")

    def shape(self, generator: torch.Generator) -> Shape:
        """Of a step, by the shares: one row after the other, each taken with its share of what is left."""
        rows: list[tuple[Shape, float]] = [
            ("relived", self.relived),
            ("words", self.words),
            ("short", self.glimpses + self.drafts),
            ("chunk", self.chunk),
        ]
        while len(rows) > 1:
            (shape, share), *others = rows
            if share > 0 and chance(share / sum(of for _, of in rows), generator):
                return shape
            rows = others
        return rows[0][0]

    def drafted(self, generator: torch.Generator) -> bool:
        """Whether one sample of a short step is a draft."""
        return self.drafts > 0 and chance(self.drafts / (self.glimpses + self.drafts), generator)


@dataclass(frozen=True)
class Exercises:
    """Where samples come from and what they are.

    clips        a folder of latent clips, or of ready-made chunks; or its URL
    mix          the exercises; augment: how samples differ from the clips
    batch        chunks a step and process, of `frames` latent frames; of shorter ones as many more
    preceding    most frames before the first one that are shown beside it; references: most earlier views
    held_out     clips that are looked at and not learnt from
    cached       clips that are kept in the main memory
    bf16         the autoencoder of memories of pixels in bfloat16; for CPUs that compute in it
    """

    clips: Place
    mix: Mix = field(default_factory=Mix)
    augment: Augment = field(default_factory=Augment)
    batch: int = 4
    frames: int = 9
    preceding: int = 1
    references: int = 2
    held_out: int = 16
    cached: int = 1024
    bf16: bool = False


@dataclass(frozen=True)
class Relived(Batch):
    """Pasts whose newest chunk the model is still to make, in `steps`, and how many frames to show beside."""

    pasts: tuple[Past, ...]
    steps: int
    preceding: int
    references: int


@dataclass(frozen=True)
class _Asked:
    """What all processes do alike in a step, so that none waits for another."""

    shape: Shape
    preceding: int
    references: int
    steps: int
    last_step: bool


class Exerciser:
    """A `Maker` of what steps see, from the clips at `paths`. `codec`: see `Observer`.

    Where not all clips are longer than a chunk, those that are take the places of others in a step that relives.
    """

    def __init__(
        self,
        exercises: Exercises,
        objective: Objective,
        paths: Sequence[Place],
        channels: int,
        codec: WorldModel | None = None,
    ) -> None:
        self.exercises, self.objective, self.paths = exercises, objective, paths
        self.channels, self.codec = channels, codec
        self.observer = Observer(exercises.augment, channels, codec, bf16=exercises.bf16)
        mix, frames = exercises.mix, exercises.frames
        self.long: Sequence[Place] = []
        if mix.relived:
            with ThreadPoolExecutor(16) as threads:
                lengths = list(threads.map(latent_frames, paths))
            self.long = [path for path, length in zip(paths, lengths, strict=True) if length > frames]
        if mix.relived and not self.long:
            raise InputError(
                f"the share of relived is {mix.relived:g}, and no clip of {exercises.clips} is longer than a chunk; "
                "expected 0"
            )
        if mix.drafts and len(drafted_views(frames)) != GLIMPSES:
            raise InputError(
                f"the share of drafts is {mix.drafts:g}, but chunks have {frames} frames; expected 3 or more"
            )
        self._load = lru_cache(maxsize=exercises.cached)(load_sample)

    def __getstate__(self) -> dict[str, Any]:
        """Another process reads the clips for itself."""
        return {name: value for name, value in vars(self).items() if name != "_load"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _load=lru_cache(maxsize=state["exercises"].cached)(load_sample))

    def size(self, number: int) -> int:
        """Chunks a process."""
        its = self.exercises
        match self._asked(number).shape:
            case "words":
                return its.batch * its.frames // 2
            case "short":
                return its.batch * its.frames // GLIMPSES
            case _:
                return its.batch

    def __call__(self, number: int, samples: Sequence[Sample]) -> Seen | Relived:
        asked, objective = self._asked(number), self.objective
        beside = asked.preceding, asked.references
        if asked.shape == "relived":
            pasts = tuple(self.relived(one.of(self.long), one.generator) for one in samples)
            return Relived(pasts, asked.steps, *beside)
        if asked.shape == "words":
            return Seen.of([self.words(one.of(self.paths), one.generator) for one in samples])
        steps = asked.steps if asked.last_step else 0
        if asked.shape == "short":
            seen = Seen.of([self.glimpses(one.of(self.paths), one.generator) for one in samples])
            return replace(seen, steps=steps, shift=objective.glimpse_shift, draft=objective.draft_step is not None)
        return replace(
            Seen.of([self.chunk(one.of(self.paths), *beside, one.generator) for one in samples]), steps=steps
        )

    def _asked(self, number: int) -> _Asked:
        its, objective, generator = self.exercises, self.objective, generator_of("batch", number)
        shape = its.mix.shape(generator)
        preceding, references = draw(its.preceding + 1, generator), draw(its.references + 1, generator)
        last = objective.last(draft=shape == "short")
        return _Asked(
            shape=shape,
            preceding=preceding,
            references=references,
            steps=last.steps[draw(len(last.steps), generator)],
            last_step=chance(last.share, generator),
        )

    def chunk(self, path: Place, preceding: int, references: int, generator: torch.Generator) -> Seen:
        """A chunk [B=1] of a clip."""
        clip = self._load(path)
        if isinstance(clip, ReadyChunk):
            return self.observer.ready(clip, preceding, references, generator)
        start = draw(len(clip.latents) - self.exercises.frames + 1, generator)
        fresh = chance(self.exercises.augment.fresh, generator)
        past = self.observer.past(clip, start, self._chunk(start), generator, fresh=fresh)
        return self.observer.seen(past, preceding, references, generator)

    def relived(self, path: Place, generator: torch.Generator) -> Past:
        """What a clip shows before one of its chunks, though not the first one."""
        clip = self.clip(path)
        start = 1 + draw(len(clip.latents) - self.exercises.frames, generator)
        return self.observer.past(clip, start, self._chunk(start), generator, fresh=False)

    def glimpses(self, path: Place, generator: torch.Generator) -> Seen:
        """A frame and others of the same clip as a chunk [B=1] of `GLIMPSES` frames: what a draft is
        (`mirage.rollout.draft`). Half of the time of an image, half with all that the clip showed before."""
        clip = self.clip(path)
        length, fresh = len(clip.latents), chance(0.5, generator)
        if self.exercises.mix.drafted(generator):
            start = draw(length - self.exercises.frames + 1, generator)
            others = [start + view for view in drafted_views(self.exercises.frames)[1:]]
        else:
            start = draw(length - (0 if fresh else GLIMPSES - 1), generator)
            behind = torch.arange(start + 1, length)
            drawn = torch.cat([torch.arange(start), behind]) if fresh else behind
            drawn = drawn[torch.randperm(len(drawn), generator=generator)[: GLIMPSES - 1]]
            others = sorted(drawn.tolist(), key=lambda other: abs(other - start))
        past = self.observer.past(clip, start, [start, *others], generator, fresh=fresh)
        return self.observer.seen(past, 0, 0, generator, pixels=False)  # which are dear, and glimpses come by the dozen

    def words(self, path: Place, generator: torch.Generator) -> Seen:
        """A frame of a clip as a chunk [B=1] of two."""
        clip = self.clip(path)
        shown = 1 + draw(len(clip.latents) - 1, generator)
        return self.observer.words_alone(clip, draw(shown, generator), shown, generator)

    def clip(self, path: Place) -> LatentClip:
        """A clip that is more than a ready-made chunk."""
        clip = self._load(path)
        if isinstance(clip, ReadyChunk):
            raise InputError(f"the chunks of {self.exercises.clips} are ready-made; expected a mix of chunk=1 alone")
        return clip

    def _chunk(self, start: int) -> range:
        return range(start, start + self.exercises.frames)
