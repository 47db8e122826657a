"""Clips of the procedural worlds on disk, as pixels: what the autoencoder is trained on.

One safetensors file a clip, with the caption in its header; a file that is there is not made again, so a killed run
goes on. `F` video frames, `T` = 1 + (F - 1)/4:
    rgb uint8 [F,3,H,W], depth f16 and valid [T,H,W] of frames 0, 4, 8, .., c2w [F,4,4], intrinsics [4]
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mirage.errors import InputError
from mirage.files import replacing
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.scenes import Clip, sample_clip, training_seed
from mirage.scenes.leaves import leaves
from mirage.training import parallel


def render_clips(
    folder: Path,
    *,
    count: int,
    size: tuple[int, int],
    frames: int = 97,
    first: int = 0,
    minutes: float | None = None,
    kind: str | None = None,
    device: torch.device | str = "cpu",
    source: Path | None = None,
    kept: Callable[[Clip], dict[str, Tensor]] | None = None,
) -> None:
    """Render training clips number `first`..`first + count` (of `kind`, if given) into `folder`, or as many as so many
    minutes allow; processes share the work. `source`: a folder that has them already. `kept`: the tensors of a clip
    that its file holds; None: its pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in share(first, count, folder, minutes=minutes):
        if source is None:
            clip = sample_clip(training_seed(i), frames=frames, size=size, kind=kind, device=device)
        else:
            clip = load_clip(clip_path(source, i))
        with replacing(clip_path(folder, i)) as beside:
            save_file((kept or _pixels)(clip), beside, metadata={"caption": clip.caption})


def load_clip(path: Path) -> Clip:
    """A clip from its file; of what moves in it nothing is known."""
    with safe_open(path, framework="pt") as file:
        held = {key: file.get_tensor(key) for key in file.keys()}
        caption = (file.metadata() or {}).get("caption", "")
    if not held.keys() >= {"rgb", "depth", "valid", "c2w", "intrinsics"}:
        raise InputError(f"{path} is no clip; it holds {', '.join(sorted(held))}")
    depth = DepthMap(held["depth"].float(), held["valid"])
    camera = Camera(held["c2w"], held["intrinsics"].expand(len(held["c2w"]), 4))
    return Clip(held["rgb"], depth, torch.zeros_like(held["valid"]), camera, caption, seed=-1, kind="")


def draw_stills(folder: Path, *, count: int, each: int, size: tuple[int, int]) -> None:
    """`count` files of `each` pictures that are no world's (`mirage.scenes.leaves`), as the frames of clips."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in share(0, count, folder):
        generator = torch.Generator().manual_seed(i)
        rgb = torch.stack([leaves(size, generator) for _ in range(each)])
        with replacing(clip_path(folder, i)) as beside:
            save_file({"rgb": (rgb * 255).round_().to(torch.uint8)}, beside)


def clip_paths(folder: Path) -> list[Path]:
    """Every clip of a folder, in order."""
    paths = sorted(folder.glob("clip-*.safetensors"))
    if not paths:
        raise InputError(f"{folder} holds no clips; make them first")
    return paths


def clip_path(folder: Path, index: int) -> Path:
    return folder / f"clip-{index:06d}.safetensors"


def _pixels(clip: Clip) -> dict[str, Tensor]:
    return {
        "rgb": clip.rgb.cpu().contiguous(),
        "depth": clip.depth.z.half().cpu(),
        "valid": clip.depth.valid.cpu(),
        "c2w": clip.camera.c2w.contiguous(),
        "intrinsics": clip.camera.intrinsics[0].contiguous(),
    }


def share(first: int, count: int, folder: Path, *, minutes: float | None = None) -> Iterator[int]:
    """This process's part of first..first+count that is not there yet, for so many minutes at most, with a line on
    stderr now and then."""
    mine = [
        i
        for i in range(first, first + count)
        if i % parallel.world_size() == parallel.rank() and not clip_path(folder, i).exists()
    ]
    started = told = time.monotonic()
    for done, i in enumerate(mine):
        if minutes is not None and time.monotonic() - started > 60 * minutes:
            return
        if parallel.rank() == 0 and time.monotonic() - told > 20:
            told = time.monotonic()
            print(f"clip {done}/{len(mine)} (this process)", file=sys.stderr, flush=True)
        yield i
