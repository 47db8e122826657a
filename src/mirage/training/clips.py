"""Clips on disk: the one place that writes and reads what training learns from.

One safetensors file a clip, written whole, its caption in the header. `F` video frames of `H W` pixels, `T` latent
frames of `C` channels on an `h w` grid, F = 1 + 4 (T - 1); depth is that of video frame 4k:

    pixels   clip-NAME   rgb uint8 [F,3,H,W], depth f16 and valid [T,H,W], c2w [F,4,4], intrinsics [F,4]
    stills   clip-NAME   rgb uint8 [F,3,H,W]: pictures that have nothing to do with each other
    latents  clip-NAME   latents f16 [T,C,h,w], images f16 [T,C,h,w] (each frame 4k encoded alone), depth f16 and
                         valid [T,h,w], c2w [T,4,4], intrinsics [T,4]; keep [T,h,w]: what may enter a memory
    chunks   chunk-NAME  target f16 [T,C,h,w], memory f16 [T,C,h,w], preceding f16 [n,C,h,w], references f16 [n,C,h,w],
                         preceding_memory f16 [n,C,h,w] where it is known

Ready-made chunks are the published training data, with projections in place of cameras and depth: a cell of the memory
whose channels are all zero is a hole, for that is how the published projection says it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from mirage.errors import InputError
from mirage.files import replacing
from mirage.formats.source import open_tensors
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.scenes import Clip


@dataclass(frozen=True)
class LatentClip:
    """`latents` [T,C,h,w] of a clip, `images` [T,C,h,w] the same moments encoded as single images, `depth` [T,h,w] and
    `camera` [T] of video frame 4k, `caption`; `keep` [T,h,w]: what stands still, None: everything."""

    latents: Tensor
    images: Tensor
    depth: DepthMap
    camera: Camera
    caption: str
    keep: Tensor | None = None


@dataclass(frozen=True)
class ReadyChunk:
    """`target` and `memory` [T,C,h,w], `preceding` and `references` [n,C,h,w], `caption`; `preceding_memory` [n,C,h,w],
    seen from the preceding frames, which branches in the published layout are shown (None: not known)."""

    target: Tensor
    memory: Tensor
    preceding: Tensor
    references: Tensor
    caption: str
    preceding_memory: Tensor | None = None

    @property
    def known(self) -> Tensor:
        """Which cells [T,h,w] of the memory are no holes."""
        return (self.memory != 0).any(dim=1)


# -- writing --------------------------------------------------------------------------------------------------------


def save_pixels(path: Path, clip: Clip) -> None:
    """A rendered clip."""
    tensors = {
        "rgb": clip.rgb,
        "depth": clip.depth.z.half(),
        "valid": clip.depth.valid,
        "c2w": clip.camera.c2w,
        "intrinsics": clip.camera.intrinsics,
    }
    _save(path, tensors, {"caption": clip.caption})


def save_stills(path: Path, pictures: Tensor) -> None:
    """Pictures [F,3,H,W] in [0, 1]."""
    _save(path, {"rgb": (pictures * 255).round_().to(torch.uint8)}, {})


def save_latents(path: Path, clip: LatentClip, *, prepared: dict[str, Any] | None = None) -> None:
    """A clip as latents; `prepared`: what the report of `mirage prepare` is to say of it."""
    tensors = {
        "latents": clip.latents.half(),
        "images": clip.images.half(),
        "depth": clip.depth.z.half(),
        "valid": clip.depth.valid,
        "c2w": clip.camera.c2w,
        "intrinsics": clip.camera.intrinsics,
    }
    if clip.keep is not None:
        tensors["keep"] = clip.keep
    _save(path, tensors, {"caption": clip.caption} | ({} if prepared is None else {"prepared": json.dumps(prepared)}))


def save_chunk(path: Path, chunk: ReadyChunk) -> None:
    """A ready-made chunk."""
    tensors = {name: getattr(chunk, name).half() for name in _CHUNK}
    if chunk.preceding_memory is not None:
        tensors["preceding_memory"] = chunk.preceding_memory.half()
    _save(path, tensors, {"caption": chunk.caption})


# -- reading --------------------------------------------------------------------------------------------------------


def load_pixels(path: Path) -> Clip:
    """A rendered clip from its file; of what moves in it nothing is known."""
    held, caption = _load(path, _PIXELS, "clip of pixels")
    depth = DepthMap(held["depth"].float(), held["valid"])
    camera = Camera(held["c2w"], held["intrinsics"].expand(len(held["c2w"]), 4))
    return Clip(held["rgb"], depth, torch.zeros_like(held["valid"]), camera, caption, seed=-1, kind="")


@contextmanager
def opened_rgb(path: Path) -> Iterator[Any]:
    """Pixels uint8 [F,3,H,W] of a clip or of stills, of which only what is sliced is read: `rgb[:9]`, `get_shape()`."""
    with open_tensors(path, accepts="a clip for training") as file:
        if "rgb" not in file.keys():
            raise InputError(f"{path} is no clip of pixels; it holds {', '.join(sorted(file.keys()))}")
        yield file.get_slice("rgb")


def load_latents(path: Path) -> LatentClip:
    """A clip as latents, in float32."""
    held, caption = _load(path, _LATENTS, "latent clip")
    return LatentClip(
        held["latents"].float(),
        held["images"].float(),
        DepthMap(held["depth"].float(), held["valid"]),
        Camera(held["c2w"], held["intrinsics"]),
        caption,
        held.get("keep"),
    )


def load_chunk(path: Path) -> ReadyChunk:
    """A ready-made chunk, in float32."""
    held, caption = _load(path, _CHUNK, "ready-made chunk")
    target, memory, preceding, references = (held[name].float() for name in _CHUNK)
    before = held.get("preceding_memory")
    return ReadyChunk(target, memory, preceding, references, caption, None if before is None else before.float())


def load_sample(path: Path) -> LatentClip | ReadyChunk:
    """What the denoiser learns from, of whichever kind."""
    return load_chunk(path) if path.name.startswith("chunk-") else load_latents(path)


def latent_frames(path: Path) -> int:
    """How many latent frames a clip has; 0: it is a ready-made chunk, before which nothing is known."""
    with open_tensors(path, accepts="a clip for training") as file:
        return file.get_slice("latents").get_shape()[0] if "latents" in file.keys() else 0


def described(path: Path) -> dict[str, Any]:
    """What the report of `mirage prepare` says of a latent clip."""
    with open_tensors(path, accepts="a clip for training") as file:
        header = file.metadata() or {}
    return {
        "name": path.stem.removeprefix("clip-"),
        "latents": latent_frames(path),
        "bytes": path.stat().st_size,
        "caption": bool(header.get("caption")),
        **json.loads(header.get("prepared", "{}")),
    }


# -- where they lie -------------------------------------------------------------------------------------------------


def clip_path(folder: Path, name: int | str) -> Path:
    """Of a clip by its number or its name."""
    return folder / f"clip-{name if isinstance(name, str) else f'{name:06d}'}.safetensors"


def chunk_path(folder: Path, name: str) -> Path:
    """Of a ready-made chunk."""
    return folder / f"chunk-{name}.safetensors"


def clip_paths(folder: Path) -> list[Path]:
    """Every clip of a folder, in order."""
    paths = sorted(folder.glob("clip-*.safetensors"))
    if not paths:
        raise InputError(f"{folder} holds no clips; make them first")
    return paths


def sample_paths(folder: Path) -> list[Path]:
    """Every clip and ready-made chunk of a folder, in order."""
    chunks = sorted(folder.glob("chunk-*.safetensors"))
    return chunks if chunks and not any(folder.glob("clip-*.safetensors")) else clip_paths(folder) + chunks


def split(paths: list[Path], held_out: int) -> tuple[list[Path], list[Path]]:
    """Training clips, and the last `held_out` to look at; at most half of all, and of a single one itself."""
    held_out = min(held_out, len(paths) // 2)
    return (paths[:-held_out], paths[-held_out:]) if held_out else (paths, paths)


_PIXELS = ("rgb", "depth", "valid", "c2w", "intrinsics")
_LATENTS = ("latents", "images", "depth", "valid", "c2w", "intrinsics")
_CHUNK = ("target", "memory", "preceding", "references")


def _load(path: Path, names: tuple[str, ...], kind: str) -> tuple[dict[str, Tensor], str]:
    with open_tensors(path, accepts="a clip for training") as file:
        held = {key: file.get_tensor(key) for key in file.keys()}
        caption = (file.metadata() or {}).get("caption", "")
    if not held.keys() >= {*names}:
        raise InputError(f"{path} is no {kind}; it holds {', '.join(sorted(held))}")
    return held, caption


def _save(path: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    with replacing(path) as beside:
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, beside, metadata=header)
