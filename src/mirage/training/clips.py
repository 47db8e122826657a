"""Clips on disk: the one place that writes and reads what training learns from.

One safetensors file a clip, written whole, its caption in the header. `F` video frames of `H W` pixels, `T` latent
frames of `C` channels on an `h w` grid, F = 1 + 4 (T - 1); depth is that of video frame 4k:

    pixels   clip-NAME   rgb uint8 [F,3,H,W], depth f16 and valid [T,H,W], c2w [F,4,4], intrinsics [F,4]
    stills   clip-NAME   rgb uint8 [F,3,H,W]: pictures that have nothing to do with each other
    latents  clip-NAME   latents f16 [T,C,h,w], images f16 [T,C,h,w] (each frame 4k encoded alone), depth f16 and
                         valid [T,h,w], c2w [T,4,4], intrinsics [T,4]; keep [T,h,w]: what may enter a memory;
                         between_c2w [T,3,4,4] and between_intrinsics [T,3,4] of the three video frames before each
    chunks   chunk-NAME  target f16 [T,C,h,w], memory f16 [T,C,h,w], preceding f16 [n,C,h,w], references f16 [n,C,h,w],
                         preceding_memory f16 [n,C,h,w] where it is known

A folder of latents or chunks may be a URL: then a clip is read there when its turn comes, and nothing of it is kept on
disk. Ready-made chunks are the published training data, with projections in place of cameras and depth: a cell of the
memory whose channels are all zero is a hole, for that is how the published projection says it.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor

from mirage.chunks import frame_count
from mirage.conditioning import frames_between
from mirage.errors import InputError
from mirage.files import replacing
from mirage.formats.remote import Tensors, is_url, listed
from mirage.formats.source import open_tensors
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.edits import through
from mirage.scenes import Clip

Place = Path | str
"""A file or a folder: its path, or its URL (mirage/formats/remote.py)."""
CLIP = "a clip for training"
T = TypeVar("T")


@dataclass(frozen=True)
class LatentClip:
    """`latents` [T,C,h,w] of a clip, `images` [T,C,h,w] the same moments encoded as single images, `depth` [T,h,w] and
    `camera` [T] of video frame 4k, `caption`; `keep` [T,h,w]: what stands still, None: everything; `kind` of walk;
    `between` [T,3]: cameras of the three video frames before each (`mirage.conditioning.frames_between`), None: not
    known."""

    latents: Tensor
    images: Tensor
    depth: DepthMap
    camera: Camera
    caption: str
    keep: Tensor | None = None
    kind: str = ""
    between: Camera | None = None

    @cached_property
    def cameras_between(self) -> Camera:
        """`between`; where that is not known, on a smooth path through the cameras."""
        if self.between is not None:
            return self.between
        path = through(self.camera, frame_count(len(self.camera)))
        return frames_between(path[0], path[1:])


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
    _save(path, tensors, {"caption": clip.caption, "kind": clip.kind})


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
    if clip.between is not None:
        tensors |= {"between_c2w": clip.between.c2w, "between_intrinsics": clip.between.intrinsics}
    _save(
        path,
        tensors,
        {"caption": clip.caption, "kind": clip.kind} | ({} if prepared is None else {"prepared": json.dumps(prepared)}),
    )


def save_chunk(path: Path, chunk: ReadyChunk) -> None:
    """A ready-made chunk."""
    tensors = {name: getattr(chunk, name).half() for name in _CHUNK}
    if chunk.preceding_memory is not None:
        tensors["preceding_memory"] = chunk.preceding_memory.half()
    _save(path, tensors, {"caption": chunk.caption})


# -- reading --------------------------------------------------------------------------------------------------------


def load_pixels(path: Path) -> Clip:
    """A rendered clip from its file; of what moves in it nothing is known."""
    held, said = _load(path, _PIXELS, "clip of pixels")
    depth = DepthMap(held["depth"].float(), held["valid"])
    camera = Camera(held["c2w"], held["intrinsics"].expand(len(held["c2w"]), 4))
    return Clip(
        held["rgb"], depth, torch.zeros_like(held["valid"]), camera, said.get("caption", ""), -1, said.get("kind", "")
    )


@contextmanager
def opened_rgb(path: Path) -> Iterator[Any]:
    """Pixels uint8 [F,3,H,W] of a clip or of stills, of which only what is sliced is read: `rgb[:9]`, `get_shape()`."""
    with open_tensors(path, accepts=CLIP) as file:
        if "rgb" not in file.keys():
            raise InputError(f"{path} is no clip of pixels; it holds {', '.join(sorted(file.keys()))}")
        yield file.get_slice("rgb")


def load_latents(path: Place) -> LatentClip:
    """A clip as latents, in float32."""
    held, said = _load(path, _LATENTS, "latent clip")
    return LatentClip(
        held["latents"].float(),
        held["images"].float(),
        DepthMap(held["depth"].float(), held["valid"]),
        Camera(held["c2w"], held["intrinsics"]),
        said.get("caption", ""),
        held.get("keep"),
        said.get("kind", ""),
        Camera(held["between_c2w"], held["between_intrinsics"]) if "between_c2w" in held else None,
    )


def load_chunk(path: Place) -> ReadyChunk:
    """A ready-made chunk, in float32."""
    held, said = _load(path, _CHUNK, "ready-made chunk")
    target, memory, preceding, references = (held[name].float() for name in _CHUNK)
    before = held.get("preceding_memory")
    before = None if before is None else before.float()
    return ReadyChunk(target, memory, preceding, references, said.get("caption", ""), before)


def load_sample(path: Place) -> LatentClip | ReadyChunk:
    """What the denoiser learns from, of whichever kind."""
    return load_chunk(path) if name_of(path).startswith("chunk-") else load_latents(path)


def clip_kind(path: Place) -> str:
    """What kind of walk a clip is, of those that know it."""
    with _opened(path) as file:
        return (file.metadata() or {}).get("kind", "")


def latent_frames(path: Place) -> int:
    """How many latent frames a clip has; 0: it is a ready-made chunk, before which nothing is known."""
    with _opened(path) as file:
        return file.get_slice("latents").get_shape()[0] if "latents" in file.keys() else 0


def described(path: Path) -> dict[str, Any]:
    """What the report of `mirage prepare` says of a latent clip."""
    with open_tensors(path, accepts=CLIP) as file:
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


def name_of(path: Place) -> str:
    """Of a file, without its folder."""
    return str(path).rsplit("/", 1)[-1]


def clip_paths(folder: Path) -> list[Path]:
    """Every clip of a folder, in order."""
    return _there(folder, sorted(folder.glob("clip-*.safetensors")))


def latent_paths(folder: Place) -> Sequence[Place]:
    """Every clip of a folder or URL, in order."""
    return clip_paths(folder) if isinstance(folder, Path) else _there(folder, listed(folder, "clip-*.safetensors"))


def sample_paths(folder: Place) -> Sequence[Place]:
    """Every clip of a folder or URL, in order, and then every ready-made chunk."""
    names = ("clip-*.safetensors", "chunk-*.safetensors")
    if isinstance(folder, Path):
        return _there(folder, [path for name in names for path in sorted(folder.glob(name))])
    return _there(folder, [url for name in names for url in listed(folder, name)])


def split(paths: Sequence[T], held_out: int) -> tuple[Sequence[T], Sequence[T]]:
    """Training clips, and the last `held_out` to look at; at most half of all, and of a single one itself."""
    held_out = min(held_out, len(paths) // 2)
    return (paths[:-held_out], paths[-held_out:]) if held_out else (paths, paths)


_PIXELS = ("rgb", "depth", "valid", "c2w", "intrinsics")
_LATENTS = ("latents", "images", "depth", "valid", "c2w", "intrinsics")
_CHUNK = ("target", "memory", "preceding", "references")


def _there(folder: Place, paths: list[T]) -> list[T]:
    if not paths:
        raise InputError(f"{folder} holds no clips; make them first")
    return paths


@contextmanager
def _opened(path: Place) -> Iterator[Any]:
    """Its tensors, read as they are asked for."""
    if isinstance(path, str) and is_url(path):
        yield Tensors(path, accepts=CLIP)
        return
    with open_tensors(path, accepts=CLIP) as file:
        yield file


def _load(path: Place, names: tuple[str, ...], kind: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    with _opened(path) as file:
        held = {key: file.get_tensor(key) for key in file.keys()}
        said = file.metadata() or {}
    if not held.keys() >= {*names}:
        raise InputError(f"{path} is no {kind}; it holds {', '.join(sorted(held))}")
    return held, said


def _save(path: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    with replacing(path, alone=True) as beside:
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, beside, metadata=header)
