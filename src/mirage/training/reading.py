"""Teaching the text encoder to read, before anything is drawn from what it reads.

Through a whole denoiser, and against all that a first frame and a memory say already, a text encoder hears next to
nothing of what it does wrong. So it is first asked outright: at every thing that a caption names, which colour, which
pattern, and in which room? A linear map of the encoder's output must tell, so that one projection of a cross-attention
can. Captions are the worlds' own with other colours and patterns: there is no end of them.

    a room with  red   striped  walls , a  blue  floor ; the next room has  ...
                                  |                |
                       red, striped, room 0   blue, plain, room 0

B captions, L tokens, D width of the text.
"""

import colorsys
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mirage.models.world import WorldModel
from mirage.scenes import Scene, training_seed
from mirage.scenes.words import COLOURS, PATTERNS, THINGS, shortened
from mirage.training.draws import draw
from mirage.training.samples import Batch, Sample

_NAMED = ("walls", "floor", "ground", *THINGS)
_PATTERNS = ("", *PATTERNS.values())
_ROOMS = 3
_CLAUSE = ";"
HELD_OUT = -1
"""The seed of what is only looked at."""


@dataclass(frozen=True)
class ReadingConfig:
    """`captions` worlds' own captions to begin from; `batch` a step and process; `brief`: the share that is cut."""

    captions: int = 600
    batch: int = 32
    brief: float = 0.5


@dataclass(frozen=True)
class Asked(Batch):
    """Token `ids` and `known` [B,L]; at named things (`named` [B,L] bool) their `colour` [B,L,3] in [0, 1], -1 where no
    colour is named, `pattern` [B,L] and `room` [B,L] as numbers."""

    ids: Tensor
    known: Tensor
    named: Tensor
    colour: Tensor
    pattern: Tensor
    room: Tensor


class ReadingTask:
    """See the module's docstring."""

    def __init__(self, model: WorldModel, config: ReadingConfig) -> None:
        self.model, self.config = model, config
        self.module: nn.Module = self.modules(model).requires_grad_(True)
        self.maker = Reader(model, [Scene.sample(training_seed(i)).caption for i in range(config.captions)], config)

    @staticmethod
    def modules(model: WorldModel) -> nn.ModuleDict:
        """The encoder, and what asks it."""
        head = nn.Linear(model.text_encoder.config.d_model, 3 + len(_PATTERNS) + _ROOMS)
        return nn.ModuleDict({"text_encoder": model.text_encoder, "head": head})

    def loss(self, batch: Asked, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        colour, pattern, room = self._answers(batch)
        wanted = batch.colour[batch.named]
        named = wanted[:, 0] >= 0
        off = (colour[named] - wanted[named]).square().mean()
        which = F.cross_entropy(pattern, batch.pattern[batch.named])
        where = F.cross_entropy(room, batch.room[batch.named])
        return 4 * off + which + where, {"colour": float(off.detach()), "pattern": float(which.detach())}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """On other captions: how far colours are off (RMS); the shares of patterns and rooms that are right."""
        off, which, where = [], [], []
        for number in range(4):
            others = [Sample(HELD_OUT, number * self.config.batch + i) for i in range(self.config.batch)]
            batch = self.maker(number, others)
            colour, pattern, room = self._answers(batch)
            wanted = batch.colour[batch.named]
            off.append((colour - wanted)[wanted[:, 0] >= 0].square().mean())
            which.append((pattern.argmax(-1) == batch.pattern[batch.named]).float().mean())
            where.append((room.argmax(-1) == batch.room[batch.named]).float().mean())
        off, which, where = (float(torch.stack(values).mean()) for values in (off, which, where))
        return {"colour_off": round(off**0.5, 4), "pattern_right": round(which, 4), "room_right": round(where, 4)}

    def _answers(self, batch: Asked) -> tuple[Tensor, Tensor, Tensor]:
        """Of each named thing: colour [n,3], pattern and room as logits."""
        text = self.model.text_encoder(batch.ids, batch.known).last_hidden_state
        module: Any = self.module
        said = module["head"](text[batch.named])
        return said[:, :3], said[:, 3 : 3 + len(_PATTERNS)], said[:, 3 + len(_PATTERNS) :]


class Reader:
    """A `Maker` of captions and what they say."""

    def __init__(self, model: WorldModel, captions: list[str], config: ReadingConfig) -> None:
        self.model, self.captions, self.config = model, captions, config

    def size(self, number: int) -> int:
        """Captions a process."""
        return self.config.batch

    def __call__(self, number: int, samples: Sequence[Sample]) -> Asked:
        captions = []
        for sample in samples:
            rng = random.Random(draw(2**31, sample.generator))
            caption = recoloured(sample.of(self.captions), rng)
            captions.append(shortened(caption, rng) if rng.random() < self.config.brief else caption)
        tokens = [self.model.tokenize(caption) for caption in captions]
        ids, known = (torch.cat(parts) for parts in zip(*tokens, strict=True))
        named = torch.zeros(ids.shape, dtype=torch.bool)
        colour, pattern, room = torch.full((*ids.shape, 3), -1.0), torch.zeros_like(ids), torch.zeros_like(ids)
        for row, caption in enumerate(captions):
            for at, (rgb, which, where) in things(caption).items():
                if at < ids.shape[1]:
                    named[row, at], pattern[row, at], room[row, at] = True, which, where
                    if rgb is not None:
                        colour[row, at] = torch.tensor(rgb)
        return Asked(ids, known, named, colour, pattern, room)


def recoloured(caption: str, rng: random.Random) -> str:
    """The caption with every colour and every pattern another one of the vocabulary."""
    patterns = list(PATTERNS.values())
    words = [rng.choice(list(COLOURS)) if word in COLOURS else rng.choice(patterns) if word in patterns else word
             for word in re.findall(r"\w+|[^\w]+", caption)]  # fmt: skip
    return "".join(words)


def things(caption: str) -> dict[int, tuple[tuple[float, ...] | None, int, int]]:
    """What a caption names, by the number of its token: colour as RGB or None, pattern, room."""
    found, colour, pattern, room = {}, None, 0, 0
    for number, word in enumerate(re.findall(r"\w+|[^\w\s]+", caption)):
        if word == _CLAUSE:
            room = min(room + 1, _ROOMS - 1)
        elif word in COLOURS:
            colour = colorsys.hsv_to_rgb(*COLOURS[word])
        elif word in _PATTERNS:
            pattern = _PATTERNS.index(word)
        elif word in _NAMED:
            found[number] = (colour, pattern, room)
        if word in (",", "and", _CLAUSE) or word in _NAMED:
            colour, pattern = None, 0
    return found
