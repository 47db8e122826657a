"""Depth maps from files, one per video frame of the walk, by somebody else's estimator or a renderer.

folder/*.png|pgm|npy|npz, in the natural order of their names;  or one .npz with depth [F,H,W] in world units, which the
published code's geometry.npz calls depths
"""

from pathlib import Path

import torch

from mirage.depth.protocol import Views
from mirage.errors import InputError
from mirage.formats.depth import load_depth
from mirage.formats.source import read_npz
from mirage.geometry.depthmap import DepthMap
from mirage.natural import natural

SUFFIXES = {".png", ".pgm", ".npy", ".npz"}
ACCEPTS = "a folder of depth maps (PNG, PGM, npy, npz), or an .npz with depth (or depths) [F,H,W]"


class DepthFiles:
    """`DepthEstimator`: map n for video frame n of the walk."""

    def __init__(self, path: str | Path) -> None:
        path = Path(path).expanduser()
        self.path, self.maps, self.files = path, None, []
        if path.is_dir():
            self.files = sorted(
                (file for file in path.iterdir() if file.suffix.lower() in SUFFIXES),
                key=natural,
            )
        elif path.suffix.lower() == ".npz" and path.is_file():
            arrays = read_npz(path, accepts=ACCEPTS)
            stored = arrays.get("depth", arrays.get("depths"))
            if stored is None or stored.ndim != 3 or stored.dtype.kind != "f":
                found = {name: list(array.shape) for name, array in list(arrays.items())[:6]}
                raise InputError(f"{path} holds {found}; accepted: {ACCEPTS}, floating point")
            self.maps = torch.tensor(stored, dtype=torch.float32)
        if self.maps is None and not self.files:
            raise InputError(f"{path} is no depth; accepted: {ACCEPTS}")

    def __len__(self) -> int:
        return len(self.files) if self.maps is None else len(self.maps)

    def __call__(self, views: Views, /) -> DepthMap:
        number = views.number
        if int(number.max()) >= len(self):
            raise InputError(f"{self.path} has {len(self)} depth maps; the walk needs one of frame {int(number.max())}")
        if self.maps is not None:
            return DepthMap(self.maps[number])
        frames = views.frames
        size = (frames.shape[-2], frames.shape[-1])
        maps = [load_depth(self.files[n], size=size) for n in number.tolist()]
        if len({depth.shape for depth in maps}) > 1:
            raise InputError(f"{self.path} has depth maps of several sizes: {sorted({tuple(d.shape) for d in maps})}")
        return DepthMap.concatenate([depth[None] for depth in maps])
