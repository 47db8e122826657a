"""Clips of the procedural scenes, as pixels or as latents; and pictures of nothing.

A file that is there is not made again, so a killed run goes on, and processes share the work.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from mirage.models.world import WorldModel
from mirage.scenes import Clip, sample_clip, training_seed
from mirage.scenes.leaves import leaves
from mirage.training import parallel
from mirage.training.clips import clip_path, load_pixels, save_latents, save_pixels, save_stills
from mirage.training.latents import encode_clip
from mirage.training.photographs import Photographs
from mirage.training.turning import turning_clip


def render_clips(
    folder: Path,
    *,
    count: int,
    size: tuple[int, int],
    frames: int = 97,
    first: int = 0,
    kind: str | None = None,
    minutes: float | None = None,
    device: torch.device | str = "cpu",
    photographs: Photographs | None = None,
) -> None:
    """Render training clips number `first`..`first + count` (of `kind`, if given) into `folder` as pixels, or as many
    as so many minutes allow. With `photographs` half of the scenes are dressed in them, and one clip in eight turns
    inside a panorama. Of kind "hurried", as cameras in hands are: any walk, half of them such turns, two to four times
    as fast."""
    for i in _share(folder, first, count, minutes=minutes):
        if kind == "hurried":
            every, turns, dress = 2 + i // 2 % 3, i % 2 == 1, i % 4 == 0
        else:
            every, turns, dress = 1, i % 8 == 7, i % 2 == 1
        long, seed = 1 + every * (frames - 1), training_seed(i)
        if photographs is not None and turns:
            clip = turning_clip(seed, photographs, frames=long, size=size)
        else:
            walk, pictures = None if kind == "hurried" else kind, photographs if dress else None
            clip = sample_clip(seed, frames=long, size=size, kind=walk, device=device, photographs=pictures)
        save_pixels(clip_path(folder, i), hurried(clip, every))


def hurried(clip: Clip, every: int) -> Clip:
    """One in so many frames of a clip: the camera moves so many times as fast."""
    seen = slice(None, None, every)
    return replace(clip, rgb=clip.rgb[seen], depth=clip.depth[seen], moving=clip.moving[seen], camera=clip.camera[seen])


def encode_clips(
    model: WorldModel,
    source: Path,
    folder: Path,
    *,
    count: int,
    first: int = 0,
    minutes: float | None = None,
    bf16: bool = False,
) -> None:
    """The same clips from `source` as latents in `folder`."""
    for i in _share(folder, first, count, minutes=minutes):
        clip: Clip = load_pixels(clip_path(source, i))
        save_latents(clip_path(folder, i), encode_clip(model, clip, bf16=bf16))


def draw_stills(folder: Path, *, count: int, each: int, size: tuple[int, int]) -> None:
    """`count` files of `each` pictures that are of no scene (`mirage.scenes.leaves`)."""
    for i in _share(folder, 0, count):
        generator = torch.Generator().manual_seed(i)
        save_stills(clip_path(folder, i), torch.stack([leaves(size, generator) for _ in range(each)]))


def _share(folder: Path, first: int, count: int, *, minutes: float | None = None) -> Iterator[int]:
    """This process's part of first..first+count that is not there yet, for so many minutes at most, with a line on
    stderr now and then."""
    folder.mkdir(parents=True, exist_ok=True)
    rank, processes = parallel.rank(), parallel.world_size()
    numbers = [i for i in range(first, first + count) if i % processes == rank and not clip_path(folder, i).exists()]
    started = told = time.monotonic()
    for done, i in enumerate(numbers):
        if minutes is not None and time.monotonic() - started > 60 * minutes:
            return
        if rank == 0 and time.monotonic() - told > 20:
            told = time.monotonic()
            print(f"{folder.name}: clip {done}/{len(numbers)} of this process", file=sys.stderr, flush=True)
        yield i
