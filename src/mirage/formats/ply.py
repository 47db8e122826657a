"""Point clouds as binary little-endian PLY: what MeshLab, CloudCompare, Blender and open3d read. `N`: points.

    save_ply("world.ply", Points(positions, colours, {"frame": frame}))

One element `vertex`: x y z as float, optional red green blue as uchar, then any further columns.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.files import replacing
from mirage.formats.source import MIB, read_bytes

ACCEPTS = "a binary little-endian PLY of points"
LIMIT = 4096 * MIB
TYPES = {
    "char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "uint8": "u1",
    "short": "<i2",
    "int16": "<i2",
    "ushort": "<u2",
    "uint16": "<u2",
    "int": "<i4",
    "int32": "<i4",
    "uint": "<u4",
    "uint32": "<u4",
    "float": "<f4",
    "float32": "<f4",
    "double": "<f8",
    "float64": "<f8",
}
NAMES = {"i1": "char", "u1": "uchar", "<i2": "short", "<i4": "int", "<f4": "float", "<f8": "double"}
RGB = ("red", "green", "blue")


@dataclass(frozen=True, eq=False)
class Points:
    """`positions` [N,3] float32; `colours` [N,3] uint8 or None; `columns`: further numbers by name, each [N]."""

    positions: Tensor
    colours: Tensor | None = None
    columns: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.positions)
        if self.positions.shape != (count, 3):
            raise InputError(f"positions are [N,3], got {list(self.positions.shape)}")
        if self.colours is not None and (self.colours.shape != (count, 3) or self.colours.dtype != torch.uint8):
            raise InputError(f"colours are uint8 [{count},3], got {self.colours.dtype} {list(self.colours.shape)}")
        for name, values in self.columns.items():
            if values.shape != (count,) or not name.isidentifier() or name in ("x", "y", "z", *RGB):
                raise InputError(f"column {name!r} is {list(values.shape)}; expected a new plain name and [{count}]")

    def __len__(self) -> int:
        return len(self.positions)


def save_ply(path: str | os.PathLike[str], points: Points) -> None:
    """Write the points; 64-bit integers are stored as 32-bit, half floats as float."""
    columns = dict(zip("xyz", points.positions.float().unbind(1), strict=True))
    if points.colours is not None:
        columns |= dict(zip(RGB, points.colours.unbind(1), strict=True))
    arrays = {name: _storable(values, name=name) for name, values in (columns | dict(points.columns)).items()}
    kind = np.dtype([(name, array.dtype.str.replace("|", "")) for name, array in arrays.items()])
    table = np.empty(len(points), dtype=kind)
    for name, array in arrays.items():
        table[name] = array
    properties = [f"property {NAMES[array.dtype.str.replace('|', '')]} {name}" for name, array in arrays.items()]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}", *properties, "end_header"]
    with replacing(path) as beside, beside.open("wb") as file:
        file.write("\n".join(header).encode() + b"\n")
        file.write(table.tobytes())


def load_ply(path: str | os.PathLike[str]) -> Points:
    """Read points back. Refuses ASCII and big-endian files, elements other than vertices, lists, and any byte too few
    or too many."""
    data = read_bytes(path, accepts=ACCEPTS, limit=LIMIT)
    head, found, body = data[:65_536].partition(b"end_header\n")
    body = memoryview(data)[len(head) + len(found) :]
    lines = head.decode("ascii", errors="replace").splitlines()
    lines = [words for line in lines if (words := line.split()) and words[0] not in ("comment", "obj_info")]
    if not found or lines[:1] != [["ply"]]:
        raise InputError(f"{path} is not a PLY file; expected {ACCEPTS}")
    if lines[1:2] != [["format", "binary_little_endian", "1.0"]]:
        raise InputError(f"{path} has the header {' '.join(lines[1] if lines[1:] else [])[:60]!r}; expected {ACCEPTS}")
    if len(lines) < 3 or lines[2][:2] != ["element", "vertex"] or len(lines[2]) != 3 or not lines[2][2].isdecimal():
        raise InputError(f"{path} does not begin with 'element vertex N'; expected {ACCEPTS}")
    count, kinds = int(lines[2][2]), {}
    for words in lines[3:]:
        if len(words) != 3 or words[0] != "property" or words[1] not in TYPES or words[2] in kinds:
            raise InputError(f"{path} has the header line {' '.join(words)[:60]!r}; expected properties, no lists")
        kinds[words[2]] = TYPES[words[1]]
    if not {"x", "y", "z"} <= kinds.keys():
        raise InputError(f"{path} has the properties {list(kinds)[:12]}; expected x, y, z among them")
    table = np.dtype(list(kinds.items()))
    if len(body) != count * table.itemsize:
        raise InputError(
            f"{path} is cut or damaged: {count} points need {count * table.itemsize} bytes, {len(body)} follow"
        )
    return _points(np.frombuffer(body, dtype=table), path)


def _points(table: np.ndarray, path: str | os.PathLike[str]) -> Points:
    def column(name: str) -> Tensor:
        values = table[name]
        wide = values.astype({"<u2": np.int32, "<u4": np.int64}.get(values.dtype.str, values.dtype.newbyteorder("=")))
        return torch.from_numpy(wide)

    names = table.dtype.names or ()
    colours = None
    if set(RGB) <= set(names):
        if any(table.dtype[name].str != "|u1" for name in RGB):
            raise InputError(f"{path} has colours of type {table.dtype['red'].name}; expected uchar")
        colours = torch.stack([column(name) for name in RGB], dim=1)
    positions = torch.stack([column(name).float() for name in "xyz"], dim=1)
    rest = {name: column(name) for name in names if name not in ("x", "y", "z", *(RGB if colours is not None else ()))}
    return Points(positions, colours, rest)


def _storable(values: Tensor, *, name: str) -> np.ndarray:
    array = values.detach().cpu().numpy()
    if array.dtype == np.int64:
        if len(array) and (array.min() < -(1 << 31) or array.max() >= 1 << 31):
            raise InputError(f"column {name!r} has values beyond 32 bits; a PLY file has none wider")
        return array.astype("<i4")
    return array.astype("u1" if array.dtype == np.bool_ else "<f4" if array.dtype == np.float16 else array.dtype)
