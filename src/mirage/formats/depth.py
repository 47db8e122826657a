"""Depth maps from files: 16-bit PNG and PGM in millimetres, .npy and .npz in metres. `H W`: pixels of the map.

Of the published code's geometry.npz (depths [F,H,W]; github.com/microsoft/LatentSpatialMemory) it is the first.

z-depth. 0 and 65535 of integer files, and NaN, infinity, 0 and below of float files, mean "not measured": a mask.
"""

import os
from pathlib import Path

import numpy as np
import torch

from mirage.errors import InputError
from mirage.formats.image import DAMAGED, open_image
from mirage.formats.source import read_bytes, read_npy, read_npz, reason
from mirage.geometry.depthmap import DepthMap

ACCEPTS = "a depth map: 16-bit PNG or PGM (millimetres), or .npy / .npz (metres; array depth or z)"
MAX_PIXELS = 64_000_000
UNITS = {"integer": 0.001, "float": 1.0}  # metres per stored number
ASPECT_TOLERANCE = 0.02


def load_depth(
    path: str | os.PathLike[str], *, unit: float | None = None, size: tuple[int, int] | None = None
) -> DepthMap:
    """[H,W] float32 in world units, at the file's own resolution.

    `unit`: world units per stored number (default 0.001 for integers, 1 for floats). `size` (H, W) of the image that
    the map belongs to: another resolution is fine, another aspect (by more than 2 %) is refused, since the two would
    not show the same view.
    """
    stored = _stored(Path(path))
    if stored.ndim != 2 or 0 in stored.shape:
        raise InputError(f"{path} has the shape {list(stored.shape)}; a depth map is [H,W]")
    if stored.size > MAX_PIXELS:
        raise InputError(
            f"{path} has {stored.size / 1e6:.1f} million pixels; at most {MAX_PIXELS / 1e6:.1f} million are accepted"
        )
    if unit is not None and not (np.isfinite(unit) and unit > 0):
        raise InputError(f"a depth unit is world units per stored number, above 0; got {unit}")
    height, width = stored.shape
    if size is not None and abs(width * size[0] / (height * size[1]) - 1) > ASPECT_TOLERANCE:
        raise InputError(
            f"{path} is {width} x {height} and the image {size[1]} x {size[0]}: different aspect; "
            "expected a depth map of the same view"
        )
    integer = stored.dtype.kind in "iu"
    known = (stored > 0) & (stored != 65535) if integer else stored > 0
    scale = unit or UNITS["integer" if integer else "float"]
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and so invalid
        z = (stored.astype(np.float64) * scale).astype(np.float32)
    depth = DepthMap(torch.from_numpy(z), torch.from_numpy(known))
    if not depth.valid.any():
        raise InputError(f"{path} has no valid depth: every value is 0, 65535, negative, NaN or infinite")
    return depth


def cut_depth(depth: DepthMap, size: tuple[int, int]) -> DepthMap:
    """The part of a depth map [H,W] that `fit_image` keeps of its image: the middle, at the aspect of `size`."""
    height, width = depth.shape
    scale = min(height / size[0], width / size[1])
    cut_height, cut_width = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    top, left = (height - cut_height) // 2, (width - cut_width) // 2
    rows, columns = slice(top, top + cut_height), slice(left, left + cut_width)
    return DepthMap(depth.z[rows, columns], depth.valid[rows, columns])


def _stored(path: Path) -> np.ndarray:
    match path.suffix.lower():
        case ".npy":
            return _real(read_npy(path, accepts=ACCEPTS), where=str(path))
        case ".npz":
            arrays = read_npz(path, accepts=ACCEPTS)
            if set(arrays) >= {"depths", "poses_c2w"} and arrays["depths"].ndim == 3 and len(arrays["depths"]):
                return _real(arrays["depths"][0], where=f"{path}: 'depths'")
            names = [name for name in ("depth", "z") if name in arrays]
            if len(names) != 1:
                raise InputError(f"{path} has the arrays {sorted(arrays)[:12]}; expected one of depth, z")
            return _real(arrays[names[0]], where=f"{path}: {names[0]!r}")
        case ".pgm":
            return _pgm(path)
        case _:
            return _png(path)


def _real(array: np.ndarray, *, where: str) -> np.ndarray:
    """A leading or trailing axis of one is dropped."""
    if array.dtype.kind == "b":
        raise InputError(f"{where} holds booleans; expected depth as numbers")
    return (
        array[0]
        if array.ndim == 3 and array.shape[0] == 1
        else (array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array)
    )


def _png(path: Path) -> np.ndarray:
    with open_image(path, max_pixels=MAX_PIXELS, accepts=ACCEPTS) as image:
        if image.mode not in ("I;16", "I;16B", "I;16L", "I"):
            raise InputError(f"{path} is an image of mode {image.mode}; expected {ACCEPTS}")
        try:
            return np.asarray(image).astype(np.int32)
        except DAMAGED as error:
            raise InputError(f"{path} is a damaged or truncated image ({reason(error)}); expected {ACCEPTS}") from error


def _pgm(path: Path) -> np.ndarray:
    """Binary PGM, `P5 width height maxval` and big-endian numbers, as stored (Pillow stretches them to 65535)."""
    data = read_bytes(path, accepts=ACCEPTS)
    header, at = [], 0
    while len(header) < 4:  # words apart by white space; comments run from # to the end of the line
        while at < len(data) and data[at : at + 1].isspace():
            at += 1
        end = at
        while end < len(data) and not data[end : end + 1].isspace() and end - at < 20:
            end += 1
        if data[at : at + 1] == b"#":
            at = data.find(b"\n", at) + 1 or len(data)
        elif end == at:
            raise InputError(f"{path} is not a whole binary PGM; expected {ACCEPTS}")
        else:
            header.append(data[at:end])
            at = end
    magic, *words = header
    if magic != b"P5" or not all(word.isdigit() for word in words):
        raise InputError(f"{path} is not a binary PGM (P5); expected {ACCEPTS}")
    width, height, largest = map(int, words)
    if not 256 <= largest <= 65535:
        raise InputError(f"{path} has values up to {largest}; a depth PGM has 16 bits (256..65535)")
    pixels = data[at + 1 :]
    if len(pixels) != width * height * 2:
        raise InputError(
            f"{path} is cut or damaged: {width} x {height} needs {width * height * 2} bytes, {len(pixels)} follow"
        )
    return np.frombuffer(pixels, dtype=">u2").reshape(height, width).astype(np.int32)
