"""The state of a memory in one safetensors file, and beside it whatever a session wants to find again.

`N` points, `C` channels, `M` pages, `K` written frames. In the file:

    memory.position [N,3] ...                the tensors of `LatentSpatialMemory.state`, bit for bit
    extra.<name>                             the caller's own tensors
    header   format, version, conventions    what this is, and how to read its numbers
             memory, extra                   JSON: channels, dtype, policy; the caller's own values
             digests, seal                   BLAKE2b of every tensor, and of all the header says

A save is whole or not at all. A load believes nothing: what is truncated, flipped, edited or impossible is refused in
one line, before a memory is made of it. The digests guard against accidents and not against forgers.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mirage.errors import InputError
from mirage.files import replacing
from mirage.memory.points import PAGE
from mirage.memory.policy import MemoryPolicy

FORMAT, VERSION = "mirage-world", 1
CONVENTIONS = (
    "poses camera-to-world, OpenCV axes (x right, y down, z forward); z-depth in world units; "
    "intrinsics fx fy cx cy as fractions of the image's sides"
)
_HEADER_LIMIT = 16 * 2**20
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}
_FEATURES = {"float16": torch.float16, "float32": torch.float32, "int8": torch.int8}


def write_state(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    meta: Mapping[str, Any],
    *,
    extra_tensors: Mapping[str, Tensor] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """What `LatentSpatialMemory.state` gave, to `path`; a kill at any moment leaves there what was there before, or the
    whole new file. `extra_tensors` and `extra` (what JSON can say) come back from `read_state` as they are."""
    memory = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    _check_memory(memory, dict(meta), "the memory to save")
    everything = {f"memory.{name}": tensor for name, tensor in memory.items()}
    for name, tensor in (extra_tensors or {}).items():
        everything[f"extra.{name}"] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    header = {
        "format": FORMAT,
        "version": str(VERSION),
        "conventions": CONVENTIONS,
        "memory": json.dumps(meta),
        "extra": json.dumps(extra or {}, allow_nan=False),
        "digests": json.dumps({name: _digest(tensor) for name, tensor in everything.items()}),
    }
    with replacing(path) as beside:
        save_file(everything, beside, metadata=header | {"seal": _seal(header)})
        _order_header(beside)


def _order_header(path: Path) -> None:
    """Write the header's entries in the order of their names: safetensors has those of its metadata in an order that
    differs from run to run, and the same world is the same bytes."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        entries = json.loads(file.read(length))
        entries["__metadata__"] = dict(sorted(entries["__metadata__"].items()))
        ordered = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
        assert len(ordered) <= length, "the same entries cannot be longer"
        file.seek(8)
        file.write(ordered.ljust(length))  # what is left was padding, and is


@dataclass(frozen=True, eq=False)
class State:
    """What a file held: `tensors` and `meta` of a memory, checked, and a session's own `extra_tensors` and `extra`."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]
    extra_tensors: dict[str, Tensor]
    extra: dict[str, Any]


def read_state(path: str | os.PathLike[str]) -> State:
    """The state that a file holds. Raises `InputError` that says what is wrong with it."""
    tensors, header = _read(Path(path))
    meta, extra = json.loads(header["memory"]), json.loads(header["extra"])
    parts: dict[str, dict[str, Tensor]] = {"memory": {}, "extra": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        _require(part in parts, path, f"holds the unknown tensor {name!r}")
        parts[part][rest] = tensor
    _check_memory(parts["memory"], meta, str(path))
    return State(parts["memory"], meta, parts["extra"], extra)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header of a file whose every digest is right."""
    _check_length(path)
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            _check_header(header, path)
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise InputError(f"{path} is damaged: {' '.join(str(error).split())}") from error
    digests = json.loads(header["digests"])
    _require(digests.keys() == tensors.keys(), path, "is damaged: tensors are missing or too many")
    for name, tensor in tensors.items():
        _require(_digest(tensor) == digests[name], path, f"is damaged: {name} is not what was saved")
    return tensors, header


def _check_length(path: Path) -> None:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    _require(size > 8, path, f"is no world file: it has {size} bytes")
    _require(
        length <= min(size - 8, _HEADER_LIMIT),
        path,
        f"is no world file or damaged: it has {size} bytes and claims a header of {length}",
    )


def _check_header(header: dict[str, str], path: Path) -> None:
    _require(header.get("format") == FORMAT, path, "is no world file: expected one written by save_world")
    _require(
        header.get("version") == str(VERSION),
        path,
        f"is a world file of version {header.get('version')}; this program reads version {VERSION}",
    )
    seal = header.get("seal")
    rest = {name: value for name, value in header.items() if name != "seal"}
    expected = {"format", "version", "conventions", "memory", "extra", "digests"}
    _require(rest.keys() == expected and seal == _seal(rest), path, "is damaged: its header is not what was saved")
    _require(header["conventions"] == CONVENTIONS, path, f"has other conventions: {header['conventions'][:200]}")


def _check_memory(tensors: dict[str, Tensor], meta: dict[str, Any], source: str) -> None:
    """All that a memory takes for granted: names, shapes, dtypes, finite numbers, indices that point somewhere."""
    complete = isinstance(meta, dict) and meta.keys() == {"channels", "policy", "dtype"} and meta["dtype"] in _DTYPES
    _require(complete, source, "does not say its channels, policy and dtype")
    channels = meta["channels"]
    _require(type(channels) is int and 0 < channels <= 2**16, source, f"claims {channels!r} channels")
    try:
        policy = MemoryPolicy(**meta["policy"])
    except (TypeError, InputError) as error:
        raise InputError(f"{source} has a policy that this program does not know: {error}") from error

    n, k = (len(tensors[name]) if name in tensors else 0 for name in ("position", "camera_index"))
    f32, f16, i32, i64 = torch.float32, torch.float16, torch.int32, torch.int64
    expected = {
        "position": (f32, (n, 3)),
        "feature": (_FEATURES[policy.features], (n, channels)),
        "frame": (i32, (n,)),
        "footprint": (f32, (n,)),
        "read": (i64, (-(-n // PAGE),)),
        "camera_index": (i32, (k,)),
        "c2w": (f32, (k, 4, 4)),
        "intrinsics": (f32, (k, 4)),
    }
    if policy.features == "int8":
        expected["scale"] = (f16, (n,))
    _require(
        tensors.keys() == expected.keys(),
        source,
        f"holds {', '.join(sorted(tensors))}; expected {', '.join(sorted(expected))}",
    )
    for name, (dtype, shape) in expected.items():
        found = tensors[name]
        _require(
            found.dtype == dtype and found.shape == shape,
            source,
            f"holds {name} as {found.dtype} {list(found.shape)}; expected {dtype} {list(shape)}",
        )
        _require(
            not dtype.is_floating_point or bool(torch.isfinite(found).all()),
            source,
            f"holds NaN or infinite numbers in {name}",
        )
    frames = tensors["camera_index"]
    _require(
        not k or (int(frames[0]) >= 0 and bool((frames.diff() > 0).all())), source, "numbers its frames out of order"
    )
    last = int(frames[-1]) if k else -1
    _require(
        not n or (int(tensors["frame"].min()) >= 0 and int(tensors["frame"].max()) <= last),
        source,
        f"holds points of frames that it does not have (frames 0 to {last})",
    )


def _digest(tensor: Tensor) -> str:
    """Of dtype, shape and bytes."""
    digest = hashlib.blake2b(f"{tensor.dtype} {list(tensor.shape)}".encode(), digest_size=16)
    digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _seal(header: dict[str, str]) -> str:
    return hashlib.blake2b(json.dumps(header, sort_keys=True).encode(), digest_size=16).hexdigest()


def _require(true: bool, source: object, message: str) -> None:
    if not true:
        raise InputError(f"{source} {message}")
