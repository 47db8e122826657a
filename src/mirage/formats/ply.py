"""Point clouds as binary little-endian PLY: what MeshLab, CloudCompare, Blender, open3d and the readers of Gaussian
splatting take. `N`: points.

    save_ply("world.ply", Points(positions, colours, normals, {"frame": frame}))

One element `vertex`: x y z as float, optional nx ny nz as float (3DGS does not start without them) and red green blue
as uchar, then any further columns. Nothing here reads PLY: plyfile, trimesh and open3d do.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.files import replacing

NAMES = {"i1": "char", "u1": "uchar", "<i2": "short", "<i4": "int", "<f4": "float", "<f8": "double"}
NORMAL, RGB = ("nx", "ny", "nz"), ("red", "green", "blue")


@dataclass(frozen=True, eq=False)
class Points:
    """`positions` [N,3] float32; `colours` [N,3] uint8 or None; `normals` [N,3] float32, unit vectors, or None;
    `columns`: further numbers by name, each [N]."""

    positions: Tensor
    colours: Tensor | None = None
    normals: Tensor | None = None
    columns: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.positions)
        if self.positions.shape != (count, 3):
            raise InputError(f"positions are [N,3], got {list(self.positions.shape)}")
        if self.colours is not None and (self.colours.shape != (count, 3) or self.colours.dtype != torch.uint8):
            raise InputError(f"colours are uint8 [{count},3], got {self.colours.dtype} {list(self.colours.shape)}")
        if self.normals is not None and self.normals.shape != (count, 3):
            raise InputError(f"normals are [{count},3], got {list(self.normals.shape)}")
        for name, values in self.columns.items():
            if values.shape != (count,) or not name.isidentifier() or name in ("x", "y", "z", *NORMAL, *RGB):
                raise InputError(f"column {name!r} is {list(values.shape)}; expected a new plain name and [{count}]")

    def __len__(self) -> int:
        return len(self.positions)


def save_ply(path: str | os.PathLike[str], points: Points) -> None:
    """Write the points; 64-bit integers are stored as 32-bit, half floats as float."""
    columns = dict(zip("xyz", points.positions.float().unbind(1), strict=True))
    if points.normals is not None:
        columns |= dict(zip(NORMAL, points.normals.float().unbind(1), strict=True))
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


def _storable(values: Tensor, *, name: str) -> np.ndarray:
    array = values.detach().cpu().numpy()
    if array.dtype == np.int64:
        if len(array) and (array.min() < -(1 << 31) or array.max() >= 1 << 31):
            raise InputError(f"column {name!r} has values beyond 32 bits; a PLY file has none wider")
        return array.astype("<i4")
    return array.astype("u1" if array.dtype == np.bool_ else "<f4" if array.dtype == np.float16 else array.dtype)
