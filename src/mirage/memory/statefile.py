"""The state of a memory in one safetensors file, and beside it whatever a session wants to find again.

`N` points, `C` channels, `M` pages, `K` written frames. In the file:

    memory.position [N,3] ...                the tensors of `LatentSpatialMemory.state`, bit for bit
    extra.<name>                             the caller's own tensors
    header   format, version, conventions    what this is, and how to read its numbers
             memory, extra                   JSON: channels, dtype, policy; the caller's own values
             digests, seal                   BLAKE2b of every tensor, and of all the header says

A save is whole or not at all. A load believes nothing: what is truncated, flipped, edited or impossible is refused in
one line, before a memory is made of it. The digests guard against accidents and not against forgers, so every value is
looked at too (checked.py). A load takes time in proportion to the file, and about twice its size in memory.
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
from mirage.formats.source import reason, regular_file
from mirage.memory.checked import check_state, require

FORMAT, VERSION = "mirage-world", 1
CONVENTIONS = (
    "poses camera-to-world, OpenCV axes (x right, y down, z forward); z-depth in world units; "
    "intrinsics fx fy cx cy as fractions of the image's sides"
)
_HEADER_LIMIT = 16 * 2**20
_MOST_VALUES = 2**20 + 2**16
"""In the JSON of a header, by its brackets and commas, of which a prompt may have some too: what is parsed takes memory
by its values and not by its length."""


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
    check_state(memory, dict(meta), "the memory to save")
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
    with replacing(path, alone=True) as beside:
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
    meta, extra = _said(header, "memory", path), _said(header, "extra", path)
    parts: dict[str, dict[str, Tensor]] = {"memory": {}, "extra": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        require(part in parts, path, f"holds the unknown tensor {name[:80]!r}")
        parts[part][rest] = tensor
    check_state(parts["memory"], meta, str(path))
    return State(parts["memory"], meta, parts["extra"], extra)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header of a file whose every digest is right."""
    _check_length(path)
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            _check_header(header, path)
            # our own: what safetensors gives lies in the file, which somebody may overwrite after it was looked at
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged: {reason(error)}") from error
    digests = _said(header, "digests", path)
    require(digests.keys() == tensors.keys(), path, "is damaged: tensors are missing or too many")
    for name, tensor in tensors.items():
        require(_digest(tensor) == digests[name], path, f"is damaged: {name} is not what was saved")
    return tensors, header


def _check_length(path: Path) -> None:
    regular_file(path, accepts="a world file", limit=2**48)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    require(size > 8, path, f"is no world file: it has {size} bytes")
    require(
        length <= min(size - 8, _HEADER_LIMIT),
        path,
        f"is no world file or damaged: it has {size} bytes and claims a header of {length}",
    )


def _check_header(header: dict[str, str], path: Path) -> None:
    require(header.get("format") == FORMAT, path, "is no world file: expected one written by save_world")
    require(
        header.get("version") == str(VERSION),
        path,
        f"is a world file of version {(header.get('version') or 'none')[:20]}; this program reads version {VERSION}",
    )
    seal = header.get("seal")
    rest = {name: value for name, value in header.items() if name != "seal"}
    expected = {"format", "version", "conventions", "memory", "extra", "digests"}
    require(rest.keys() == expected and seal == _seal(rest), path, "is damaged: its header is not what was saved")
    require(header["conventions"] == CONVENTIONS, path, f"has other conventions: {header['conventions'][:200]!r}")


def _said(header: dict[str, str], name: str, path: str | os.PathLike[str]) -> dict[str, Any]:
    """One entry of the header: a JSON object of a bounded number of values, none of them NaN."""
    text = header[name]
    require(sum(map(text.count, "[{,")) <= _MOST_VALUES, path, f"has too many values in its header's {name}")
    try:
        said = json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: its header's {name} is no JSON ({reason(error)})") from error
    require(isinstance(said, dict), path, f"is damaged: its header's {name} is a {type(said).__name__}")
    return said


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _digest(tensor: Tensor) -> str:
    """Of dtype, shape and bytes."""
    digest = hashlib.blake2b(f"{tensor.dtype} {list(tensor.shape)}".encode(), digest_size=16)
    digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _seal(header: dict[str, str]) -> str:
    return hashlib.blake2b(json.dumps(header, sort_keys=True).encode(), digest_size=16).hexdigest()
