"""Other people's weight files, read without believing them: safetensors, shards of it, and PyTorch pickles.

    weights = open_checkpoint("Wan2.2_VAE.pth")
    weights.shapes["conv1.weight"]              # names and shapes at once; nothing large is read
    weights.read("conv1.weight")                # one tensor, mapped from the file

A pickle is a program. Only PyTorch's own reader of bare tensors sees it (`weights_only`), which knows no other program;
anything else in there is refused. Whatever is wrong with a file is an `InputError` of one line.
"""

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mirage.errors import InputError
from mirage.formats.source import check_fetched, read_object

Shape = tuple[int, ...]
PICKLES = (".pth", ".pt", ".ckpt", ".bin")
GGUF = ".gguf"
SHARD = re.compile(r"(.+)-(\d+)-of-(\d+)\.safetensors")
INDEX = ".safetensors.index.json"
SHOWN = 3  # names of each kind in a message
DAMAGED = (
    OSError, ValueError, RuntimeError, TypeError, KeyError, IndexError, AttributeError, AssertionError, EOFError,
    OverflowError, MemoryError, struct.error, pickle.UnpicklingError, zipfile.BadZipFile, NotImplementedError,
)  # fmt: skip
"""All that PyTorch's reader was seen to raise for bytes that are no checkpoint (test_checkpoint.py)."""


@dataclass(frozen=True)
class Checkpoint:
    """Named tensors in one or more files.

    source      the file or folder, for messages
    shapes      of every tensor
    metadata    of a safetensors file; empty for others
    """

    source: Path
    shapes: Mapping[str, Shape]
    dtypes: Mapping[str, torch.dtype]
    metadata: Mapping[str, str]
    read: Callable[[str], Tensor]

    def only(self, names: Iterable[str]) -> "Checkpoint":
        """The same file, of which only these tensors are looked at."""
        return replace(self, shapes={name: self.shapes[name] for name in names})

    def check_numbers(self) -> None:
        """`InputError` if a tensor holds anything but floating point numbers, which no network here is made of."""
        for name in self.shapes:
            if not self.dtypes[name].is_floating_point:
                raise InputError(f"{self.source} holds {name} as {str(self.dtypes[name]).removeprefix('torch.')}; "
                                 f"accepted: floating point numbers, fp8 with a scale among them")  # fmt: skip


def open_checkpoint(path: str | Path) -> Checkpoint:
    """The tensors of a .safetensors or PyTorch file, of an index of shards, or of a folder with either."""
    path = Path(path)
    if path.is_dir():
        return _open_folder(path)
    if not path.is_file():
        fault = "it is a pipe or a device" if path.exists() else "no such file"
        raise InputError(f"no weights at {path}: {fault}")
    check_content(path)
    if path.suffix == ".safetensors":
        if (shard := SHARD.fullmatch(path.name)) and int(shard[3]) > 1:
            raise InputError(f"{path} is one of {int(shard[3])} shards; expected their folder {path.parent}")
        return _open_safetensors(path, [path])
    if path.name.endswith(INDEX):
        return _open_index(path)
    if path.suffix in PICKLES:
        return _open_pickle(path)
    if path.suffix == GGUF:
        from mirage.models.files.gguffile import open_gguf  # which is one more kind of what this file opens

        return open_gguf(path)
    raise InputError(f"{path} is no weight file; accepted: .safetensors, {', '.join(PICKLES)}, {GGUF}, or an index of "
                     f"shards")  # fmt: skip


def check_content(path: Path) -> None:
    """`InputError` if a file holds something else than its name says, of the kinds that people have in its place."""
    check_fetched(path)
    try:
        with path.open("rb") as file:
            begins = file.read(64).lstrip()
    except OSError as error:
        raise InputError(f"{path} is not read: {one_line(error)}") from error
    if begins.startswith(b"GGUF") and path.suffix != GGUF:
        raise InputError(f"{path} is GGUF by another name; accepted: with the suffix {GGUF}")
    if begins[:14].lower().startswith((b"<!doctype html", b"<html")):
        raise InputError(f"{path} is a web page, not weights: the download gave a page in place of the file")


def check_tensors(
    source: object, what: str, expected: Mapping[str, Shape], found: Mapping[str, Shape], *, given: Mapping[str, str]
) -> None:
    """Raise `InputError` unless `found` is exactly `expected`; `given`: what the file itself calls a found tensor."""

    def listed(kind: str, names: Iterable[str], of: Callable[[str], str]) -> list[str]:
        names = sorted(names)
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        return [f"{kind} {', '.join(map(of, names[:SHOWN]))}{more}"] if names else []

    shared = expected.keys() & found.keys()
    faults = listed("lacks", expected.keys() - shared, lambda name: f"{name} {list(expected[name])}")
    faults += listed("has unknown", found.keys() - shared, lambda name: f"{given[name]} {list(found[name])}")
    faults += listed(
        "has wrong shapes in",
        [name for name in shared if expected[name] != found[name]],
        lambda name: f"{given[name]} {list(found[name])} (expected {list(expected[name])})",
    )
    if faults:
        raise InputError(f"{source} does not match {what}: it {'; '.join(faults)}")


def open_folder(folder: Path) -> list[Checkpoint]:
    """Every checkpoint in a folder and those inside it, two deep; shards are one, told by their index or names."""
    inside = sorted(file for depth in ("*", "*/*", "*/*/*") for file in folder.glob(depth) if file.is_file())
    opened: list[Checkpoint] = []
    done: set[Path] = set()
    for index in (file for file in inside if file.name.endswith(INDEX)):
        opened.append(_open_index(index))
        stem = index.name.removesuffix(INDEX)
        done |= {
            file
            for file in inside
            if file.parent == index.parent and (s := SHARD.fullmatch(file.name)) and s[1] == stem
        }
    for file in inside:
        if file in done or not file.name.endswith((".safetensors", GGUF, *PICKLES)):
            continue
        if shard := SHARD.fullmatch(file.name):
            shards = [one for one in inside if one.parent == file.parent and (s := SHARD.fullmatch(one.name))
                      and (s[1], s[3]) == (shard[1], shard[3])]  # fmt: skip
            opened.append(_open_shards(file.parent, shards))
            done |= set(shards)
        else:
            opened.append(open_checkpoint(file))
    return opened


def _open_folder(folder: Path) -> Checkpoint:
    """The one checkpoint of a folder."""
    indices = sorted(folder.glob(f"*{INDEX}"))
    files = sorted(folder.glob("*.safetensors"))
    if len(indices) == 1:
        return _open_index(indices[0])
    if len(indices) > 1:
        raise InputError(f"{folder} has {len(indices)} indices of shards; expected one")
    shards = [shard for file in files if (shard := SHARD.fullmatch(file.name))]
    if len(files) == 1 and not shards:
        return _open_safetensors(folder, files)
    pickles = sorted(file for file in folder.iterdir() if file.suffix in PICKLES)
    if not files and len(pickles) == 1:
        return replace(open_checkpoint(pickles[0]), source=folder)
    if not files or len(shards) != len(files) or len({(s[1], s[3]) for s in shards}) != 1:
        raise InputError(f"{folder} has {len(files)} .safetensors files; expected one, or the shards of one network")
    return _open_shards(folder, files)


def _open_shards(folder: Path, files: list[Path]) -> Checkpoint:
    """All shards of one network, which no index names."""
    shards = [shard for file in files if (shard := SHARD.fullmatch(file.name))]
    lacking = set(range(1, int(shards[0][3]) + 1)) - {int(shard[2]) for shard in shards}
    if lacking:
        raise InputError(f"{folder} lacks shard {min(lacking)} of {int(shards[0][3])}")
    return _open_safetensors(folder, files)


def _open_index(index: Path) -> Checkpoint:
    """All shards that an index names, with exactly the tensors it names."""
    said = read_object(index, accepts="an index of shards").get("weight_map")
    if not isinstance(said, dict):
        raise InputError(f"{index} is no index of shards: it has no weight_map")
    where = {name: index.parent / Path(str(file)).name for name, file in said.items()}
    files = sorted(set(where.values()))
    for file in files:
        if not file.is_file():
            raise InputError(f"{index.parent} lacks the shard {file.name} that {index.name} names")
    opened = _open_safetensors(index.parent, files)
    shapes = {name: opened.shapes.get(name, ()) for name in where}
    check_tensors(index.parent, index.name, shapes, opened.shapes, given={name: name for name in opened.shapes})
    return opened


def _open_safetensors(source: Path, files: list[Path]) -> Checkpoint:
    shapes: dict[str, Shape] = {}
    dtypes: dict[str, torch.dtype] = {}
    home: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    for file in files:
        check_content(file)
        try:
            opened = safe_open(file, framework="pt").__enter__()  # closed with the last tensor that is mapped from it
            metadata |= opened.metadata() or {}
            for name in opened.keys():
                if name in home:
                    raise InputError(f"{source} holds {name} twice, in {file.name} too")
                part = opened.get_slice(name)
                home[name], shapes[name] = opened, tuple(part.get_shape())
                dtypes[name] = _dtype(part.get_dtype(), file)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{file} is damaged: {one_line(error)}") from error
    return Checkpoint(source, shapes, dtypes, metadata, lambda name: home[name].get_tensor(name))


def _open_pickle(path: Path) -> Checkpoint:
    """Dictionaries of tensors; those in dictionaries are named by both keys, a.b."""
    size = path.stat().st_size
    try:
        zipped = zipfile.is_zipfile(path)
        if zipped:
            with zipfile.ZipFile(path) as archive:
                stored = all(part.compress_type == zipfile.ZIP_STORED for part in archive.infolist())
            if not stored:
                raise InputError(f"{path} is compressed, which PyTorch's own files never are; it is not read")
        with warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        named = re.search(r"(?:GLOBAL|global) (\S+)", str(error))
        wish = f": it wants to run {named[1].rstrip('.,')}" if named else ", as PyTorch's reader of bare tensors says"
        raise InputError(f"{path} holds more than tensors and is not read{wish}") from error
    except DAMAGED as error:
        raise InputError(f"{path} is no PyTorch checkpoint or damaged: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}; expected a dictionary of tensors")
    tensors = dict(_flat(content, path))
    if sum(tensor.nbytes for tensor in tensors.values()) > size:
        raise InputError(f"{path} claims more numbers than its {size} bytes hold")
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return Checkpoint(path, shapes, {name: t.dtype for name, t in tensors.items()}, {}, tensors.__getitem__)


def _flat(content: dict[Any, Any], path: Path, depth: int = 0) -> Iterable[tuple[str, Tensor]]:
    for key, value in content.items():
        if isinstance(value, Tensor):
            if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
                raise InputError(f"{path} holds {key} as something other than plain numbers")
            yield str(key), value
        elif isinstance(value, dict) and depth < 4:
            yield from ((f"{key}.{name}", tensor) for name, tensor in _flat(value, path, depth + 1))


def _dtype(name: str, file: Path) -> torch.dtype:
    known = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
             "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
             "U8": torch.uint8,  # bytes: ComfyUI keeps a tokenizer and notes as such
             "I64": torch.int64, "I32": torch.int32, "BOOL": torch.bool}  # an alpha, a flag  # fmt: skip
    if name not in known:
        raise InputError(f"{file} holds numbers of type {name}; accepted: {', '.join(known)}")
    return known[name]


def one_line(error: BaseException) -> str:
    """What a library said, shortened."""
    return " ".join(str(error).split())[:200] or type(error).__name__
