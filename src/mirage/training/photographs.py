"""Photographs in motion: clips with a photograph's textures, edges and noise, made of pictures that stand still.

A picture seen through a homography that changes with time is what a camera sees that turns, or that moves past a wall.
Others lie before it, each cut out along a soft, wandering edge and moving by itself, so that things come out from
behind things. What moves fast is in it as often as what hardly moves.

Letters: `F` video frames, `H W` pixels; a homography [3,3] takes pixels of the frame (from its middle) to pixels of the
picture (from its middle).
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from mirage.errors import InputError
from mirage.training.draws import chance, draw

KINDS = (".jpg", ".jpeg", ".png", ".webp")
PANORAMAS_HELD_OUT = 4


@dataclass(frozen=True)
class Photographs:
    """The pictures of a folder, but for the last `held_out`, which are looked at and not learnt from; nor are the last
    four of its folder `panoramas`, in any way."""

    folder: Path
    held_out: int = 40
    _kept: dict[Path, Tensor] = field(default_factory=dict, compare=False, repr=False)

    def __reduce__(self) -> tuple[object, ...]:
        """Another process reads the pictures for itself."""
        return Photographs, (self.folder, self.held_out)

    @cached_property
    def paths(self) -> list[Path]:
        """Every picture in order, without the panoramas that are held out."""
        every = {path for path in self.folder.rglob("*") if path.suffix.lower() in KINDS}
        paths = sorted(every - set(self.held_out_panoramas))
        if len(paths) <= self.held_out:
            raise InputError(f"{self.folder} holds {len(paths)} pictures; accepted: more than {self.held_out}")
        return paths

    @property
    def held_out_pictures(self) -> list[Path]:
        """The last `held_out` of `paths`."""
        return self.paths[len(self.paths) - self.held_out :]

    @property
    def held_out_panoramas(self) -> list[Path]:
        """The last four of the folder `panoramas`."""
        return self._panoramas[-PANORAMAS_HELD_OUT:]

    def picture(self, generator: torch.Generator) -> Tensor:
        """One to learn from, uint8 [3,H,W]."""
        return self._read(self.paths[draw(len(self.paths) - self.held_out, generator)])

    def test(self, size: tuple[int, int]) -> Tensor:
        """Those that were held out, shrunk and cut to `size`: uint8 [N,3,H,W]."""
        return torch.stack([fitted(self._read(path), size) for path in self.held_out_pictures])

    def _read(self, path: Path) -> Tensor:
        if path not in self._kept:
            with Image.open(path) as image:
                self._kept[path] = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()
        return self._kept[path]

    def square(self, rng: random.Random, side: int) -> Tensor:
        """See `mirage.scenes.pictures.Source`."""
        generator = torch.Generator().manual_seed(rng.randrange(2**62))
        return self.still(side, generator)[:, 0]

    def panorama(self, rng: random.Random) -> Tensor | None:
        """See `mirage.scenes.pictures.Source`: one of the folder `panoramas` that is not held out."""
        learnt = self._panoramas[:-PANORAMAS_HELD_OUT]
        return self._read(rng.choice(learnt)) if learnt else None

    @cached_property
    def _panoramas(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("panoramas/*") if path.suffix.lower() in KINDS)

    def still(self, size: int, generator: torch.Generator) -> Tensor:
        """A square piece of a picture, shrunk a little and mirrored half of the time: uint8 [3,1,size,size]."""
        picture = self.picture(generator)
        short = min(picture.shape[1:])
        target = min(max(size, round(short * _uniform(0.55, 1.0, generator))), short)
        if short < size:
            target = size
        if target != short:
            height, width = (max(size, round(side * target / short)) for side in picture.shape[1:])
            picture = _resized(picture, (height, width))
        y, x = (draw(side - size + 1, generator) for side in picture.shape[1:])
        piece = picture[:, y : y + size, x : x + size]
        return (piece.flip(-1) if draw(2, generator) else piece)[:, None]

    def clip(self, frames: int, size: int, generator: torch.Generator) -> Tensor:
        """A moving one: uint8 [3,frames,size,size]."""
        speed = 10 ** _uniform(-1.2, 0.3, generator)  # of everything in it
        seen = self._layer(frames, size, speed, generator)
        for _ in range(draw(3, generator)):
            layer = self._layer(frames, size, speed, generator)
            mask = _mask(frames, size, speed, generator)
            seen = torch.lerp(seen, layer, mask)
        return seen.round_().clamp_(0, 255).to(torch.uint8).transpose(0, 1)

    def _layer(self, frames: int, size: int, speed: float, generator: torch.Generator) -> Tensor:
        """A picture under a moving homography, float [F,3,size,size]."""
        picture = self.picture(generator).float()
        if draw(2, generator):
            picture = picture.flip(-1)
        scale = math.exp(_uniform(math.log(0.6), math.log(1.25), generator))
        if draw(2, generator) and min(picture.shape[1:]) > 1.6 * size:
            picture = _resized(picture, tuple(side // 2 for side in picture.shape[1:]))
        room = (torch.tensor(picture.shape[1:]).flip(0) - scale * size).clamp_min(0) / 2
        middle = (torch.rand(2, generator=generator) * 2 - 1) * room
        return _sampled(picture, _path(frames, middle, scale, speed, generator), size)


def _path(frames: int, middle: Tensor, scale: float, speed: float, generator: torch.Generator) -> Tensor:
    """Homographies [F,3,3] that drift, turn, zoom and tilt, with a little unsteadiness."""
    time = torch.arange(frames) - (frames - 1) * torch.rand(1, generator=generator)
    still = chance(0.1, generator)

    def along(amount: float, unsteady: float) -> Tensor:
        rate, bend = torch.randn(2, generator=generator).tolist()
        shake = torch.randn(frames, generator=generator)
        moved = amount * speed * (rate * time + 0.02 * bend * time.square()) + unsteady * speed * shake
        return torch.zeros(frames) if still else moved

    turn = _uniform(-0.25, 0.25, generator) * draw(2, generator) + along(0.012, 0.0)
    zoom = scale * torch.exp(along(0.012, 0.001))
    tilt_x, tilt_y = (_uniform(-1, 1, generator) * 0.0012 + along(0.00006, 0.0) for _ in range(2))
    x, y = (middle[i] + along(2.5, 0.15) for i in range(2))
    c, s, zero, one = turn.cos() * zoom, turn.sin() * zoom, torch.zeros(frames), torch.ones(frames)
    return torch.stack([c, -s, x, s, c, y, tilt_x.clamp(-0.004, 0.004), tilt_y.clamp(-0.004, 0.004), one], -1).view(
        frames, 3, 3
    ) + zero.view(-1, 1, 1)


def _sampled(picture: Tensor, homography: Tensor, size: int) -> Tensor:
    """`picture` float [C,H,W] through homographies [F,3,3], mirrored beyond its borders: [F,C,size,size]."""
    at = torch.arange(size) - (size - 1) / 2
    y, x = torch.meshgrid(at, at, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], -1) @ homography.transpose(1, 2)[:, None]
    places = points[..., :2] / points[..., 2:].clamp_min(0.2)
    grid = places * 2 / torch.tensor([picture.shape[2], picture.shape[1]])
    many = picture[None].expand(len(grid), -1, -1, -1)
    return F.grid_sample(many, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _mask(frames: int, size: int, speed: float, generator: torch.Generator) -> Tensor:
    """Of something before the rest, in [0, 1]: [F,1,size,size]; what noise without fine detail says."""
    cells = 3 + draw(6, generator)
    noise = torch.randn((1, 1, cells, cells), generator=generator)
    noise = F.interpolate(noise, size=(2 * size, 2 * size), mode="bicubic", align_corners=False)[0]
    cut, edge = _uniform(0.1, 1.0, generator), 10 ** _uniform(-2.0, -0.6, generator)
    mask = ((noise - cut) / edge + 0.5).clamp(0, 1)
    return _sampled(mask, _path(frames, torch.zeros(2), 1.0, speed, generator), size)


def fitted(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """A picture uint8 [3,H,W], shrunk and cut about its middle to `size`."""
    height, width = picture.shape[1:]
    factor = max(size[0] / height, size[1] / width)
    grown = _resized(picture, (max(size[0], round(height * factor)), max(size[1], round(width * factor))))
    y, x = (grown.shape[1] - size[0]) // 2, (grown.shape[2] - size[1]) // 2
    return grown[:, y : y + size[0], x : x + size[1]]


def _resized(picture: Tensor, size: tuple[int, ...]) -> Tensor:
    resize: Callable[..., Tensor] = F.interpolate
    small = resize(picture[None].float(), size=size, mode="bicubic", antialias=True, align_corners=False)[0]
    return small.round().clamp(0, 255).to(picture.dtype)


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))
