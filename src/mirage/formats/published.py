"""The training data of the published code (github.com/microsoft/LatentSpatialMemory): ready-made chunks, packed or not.

    FOLDER/shard_000.lmdb/data.mdb, shard_001.lmdb/...     or one data.mdb in the folder itself
        key    name of a sample, eight digits
        value  a pickle of {file name: its bytes}, among them
            train_target_rgb.pt, train_target_scene_proj_rgb.pt          latents [T,C,h,w]
            train_preceding_rgb.pt, train_preceding_scene_proj_rgb.pt    latents [P,C,h,w], the second optional
            train_reference_rgb.pt (optional)                            latents [C,R,h,w] or [1,R*C,h,w]
            train_target_rgb.txt                                         the caption
    FOLDER/NAME/train_target_rgb.pt, ...     the same files as they were before they were packed, a folder per sample

A pickle can run code. These are read by an unpickler that knows no names at all, so what is not plain tables and bytes
is refused before anything happens; the tensors inside by torch's own weights-only one. `T` latent frames, `P`
preceding, `R` references, `C` latent channels, `h w` latent grid. It has neither cameras nor depth, and a hole of the
projection is a cell of zeros.
"""

import io
import os
import pickle
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor

from mirage.errors import InputError
from mirage.formats.source import reason
from mirage.optional import optional

TARGET, PROJECTION = "train_target_rgb.pt", "train_target_scene_proj_rgb.pt"
PRECEDING_PROJECTION = "train_preceding_scene_proj_rgb.pt"
PRECEDING, REFERENCES, CAPTION = "train_preceding_rgb.pt", "train_reference_rgb.pt", "train_target_rgb.txt"


@dataclass(frozen=True, eq=False)
class PublishedSample:
    """`target` and `projection` [T,C,h,w], `preceding` [P,C,h,w] with its own projection (None where there is none),
    `references` [R,C,h,w], `caption`."""

    target: Tensor
    projection: Tensor
    preceding: Tensor
    references: Tensor
    caption: str
    preceding_projection: Tensor | None = None


def is_published(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is one of these."""
    return bool(_shards(Path(folder)) or _unpacked(Path(folder)))


def sample_names(folder: str | os.PathLike[str]) -> list[tuple[Path, str]]:
    """Every sample as (shard, name), in order; of an unpacked one the shard is the folder that it lies in."""
    names = [(sample.parent, sample.name) for sample in _unpacked(Path(folder))]
    for shard in _shards(Path(folder)):
        with _opened(shard) as transaction:
            names += [(shard, key.decode("utf-8", errors="replace")) for key, _ in transaction.cursor()]
    if not names:
        raise InputError(f"{folder} holds no samples; expected shard_000.lmdb, ... or a folder per sample of the "
                         f"published layout")  # fmt: skip
    return names


def read_sample(shard: Path, name: str) -> PublishedSample:
    """One sample; `InputError` says what is wrong with it."""
    where = f"{shard.name}/{name}"
    if (shard / name).is_dir():
        wanted = (TARGET, PROJECTION, PRECEDING, PRECEDING_PROJECTION, REFERENCES, CAPTION)
        files = {file: (shard / name / file).read_bytes() for file in wanted if (shard / name / file).is_file()}
    else:
        with _opened(shard) as transaction:
            value = transaction.get(name.encode())
        if value is None:
            raise InputError(f"{shard} has no sample {name}")
        files = plain_files(value, where=where)
    lacking = [file for file in (TARGET, PROJECTION, PRECEDING, CAPTION) if file not in files]
    if lacking:
        raise InputError(f"{where} lacks {', '.join(lacking)}; it holds {', '.join(sorted(files))[:200]}")
    target, projection, preceding = (_latents(files[n], where=f"{where}: {n}") for n in (TARGET, PROJECTION, PRECEDING))
    c, (h, w) = target.shape[1], target.shape[2:]
    references = target[:0]
    if REFERENCES in files:
        references = _latents(files[REFERENCES], where=f"{where}: {REFERENCES}")
        if references.shape[0] == 1 and references.shape[1] % c == 0:
            references = rearrange(references, "1 (r c) h w -> r c h w", c=c)
        else:
            references = rearrange(references, "c r h w -> r c h w")
    before = None
    if PRECEDING_PROJECTION in files:
        before = _latents(files[PRECEDING_PROJECTION], where=f"{where}: {PRECEDING_PROJECTION}")
    same = projection.shape == target.shape and all(x.shape[1:] == (c, h, w) for x in (preceding, references))
    same &= before is None or before.shape == preceding.shape
    if not same:
        shapes = {
            n: list(x.shape)
            for n, x in (
                ("target", target),
                ("projection", projection),
                ("preceding", preceding),
                ("references", references),
                ("preceding projection", before),
            )
            if x is not None
        }
        raise InputError(f"{where}: its parts do not fit together: {shapes}")
    caption = files[CAPTION].decode("utf-8", errors="replace")
    return PublishedSample(target, projection, preceding, references, " ".join(caption.split()), before)


def plain_files(value: bytes, *, where: str) -> dict[str, bytes]:
    """A pickle of {name: bytes}, read without ever looking up a class or a function."""
    try:
        found = _Nameless(io.BytesIO(value)).load()
    except InputError as error:
        raise InputError(f"{where} {error}") from error
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        AttributeError,
        OverflowError,
        MemoryError,
        UnicodeDecodeError,
    ) as error:
        raise InputError(f"{where} is no sample of the published layout ({reason(error)})") from error
    if not isinstance(found, dict) or not all(isinstance(k, str) and isinstance(v, bytes) for k, v in found.items()):
        raise InputError(f"{where} is no table of files; expected {{name: bytes}}")
    return found


class _Nameless(pickle.Unpickler):
    """Builds dictionaries, lists, text, bytes and numbers; whoever names anything else is refused."""

    def find_class(self, module_name: str, global_name: str) -> None:
        raise InputError(f"is a pickle that asks for {module_name}.{global_name}; only plain bytes are accepted")

    def persistent_load(self, pid: object) -> None:
        raise InputError("is a pickle with references to elsewhere; only plain bytes are accepted")


def _latents(content: bytes, *, where: str) -> Tensor:
    try:
        found = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(f"{where} is no file of tensors ({reason(error)[:100]})") from error
    latents = found.get("latent") if isinstance(found, dict) else found
    if not isinstance(latents, Tensor) or latents.ndim != 4 or not latents.is_floating_point():
        raise InputError(f"{where} holds no latents; expected a float tensor of four axes, by itself or as 'latent'")
    if not torch.isfinite(latents).all():
        raise InputError(f"{where} holds latents that are not finite")
    return latents.float()


def _shards(folder: Path) -> list[Path]:
    if (folder / "data.mdb").is_file():
        return [folder]
    return sorted(path.parent for path in folder.glob("*.lmdb/data.mdb"))


def _unpacked(folder: Path) -> list[Path]:
    return sorted(file.parent for file in folder.glob(f"*/{TARGET}"))


def _opened(shard: Path):
    """A read-only transaction. Closing the environment with it keeps no lock and no map."""
    with optional("lmdb", wanted=f"reading the LMDB {shard}"):
        import lmdb
    try:
        return _Reading(lmdb.open(str(shard), readonly=True, lock=False, readahead=False, max_readers=64))
    except lmdb.Error as error:
        raise InputError(f"{shard} is no LMDB that can be read ({reason(error)})") from error


class _Reading:
    def __init__(self, environment) -> None:
        self.environment = environment

    def __enter__(self):
        return self.environment.begin(write=False)

    def __exit__(self, *_) -> None:
        self.environment.close()
