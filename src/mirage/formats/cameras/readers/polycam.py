"""Polycam raw data: keyframes/cameras/*.json (or corrected_cameras, after its own optimisation), one object per image
with `t_00` .. `t_23` (3x4 camera-to-world, OpenGL axes, as ARKit's), `fx fy cx cy width height` in pixels.
https://poly.cam
"""

from pathlib import Path
from typing import Any

import torch

from mirage.errors import InputError
from mirage.formats.cameras.content import ACCEPTS, CameraFormat, Content, parsed
from mirage.formats.cameras.pixels import sides, unit_square
from mirage.formats.cameras.poses import Poses, check_count, stacked
from mirage.formats.cameras.record import CameraOptions
from mirage.formats.source import numbers, read_text
from mirage.natural import natural

PLACES = ("keyframes/corrected_cameras", "keyframes/cameras", "corrected_cameras", "cameras", ".")
ENTRIES = [f"t_{row}{column}" for row in range(3) for column in range(4)]
INTRINSICS = ("fx", "fy", "cx", "cy", "width", "height")


def sniff(content: Content) -> bool:
    """A folder of JSON files, the first of which has a pose."""
    return _cameras(content.path) is not None


def sniff_one(content: Content) -> bool:
    """The camera of one image."""
    return set(ENTRIES) <= content.keys


def read(content: Content, options: CameraOptions) -> Poses:
    """Poses in the natural order of the files' names (time stamps)."""
    folder = _cameras(content.path)
    assert folder is not None
    files = sorted(folder.glob("*.json"), key=natural)
    check_count(len(files), source=str(folder))
    documents = [parsed(read_text(file, accepts=ACCEPTS), source=str(file)) for file in files]
    warnings = (
        () if folder.name == "corrected_cameras" else ("these are ARKit's own poses, not Polycam's corrected ones",)
    )
    return _poses(documents, [str(file) for file in files], options, names=[f.stem for f in files], warnings=warnings)


def read_one(content: Content, options: CameraOptions) -> Poses:
    """A path of one pose."""
    return _poses([content.document], [content.source], options, names=[content.path.stem])


def _poses(
    documents: list[Any],
    sources: list[str],
    options: CameraOptions,
    *,
    names: list[str],
    warnings: tuple[str, ...] = (),
) -> Poses:
    poses, rows, said = [], [], list(warnings)
    size = None
    for document, where in zip(documents, sources, strict=True):
        if not isinstance(document, dict) or not {*ENTRIES, *INTRINSICS} <= document.keys():
            raise InputError(f"{where} lacks t_00 .. t_23 or fx, fy, cx, cy, width, height; expected Polycam's camera")
        poses.append(numbers([document[key] for key in ENTRIES], where=where))
        size = options.size or sides(document, "height", "width", where=where)
        row = torch.tensor(numbers([document[key] for key in INTRINSICS[:4]], where=where), dtype=torch.float64)
        unit, odd = unit_square(row, size, source=where)
        rows.append(unit)
        said += [words for words in odd if words not in said]
    return Poses(
        stacked(poses),
        "c2w",
        torch.stack(rows),
        axes="opengl",
        units="pixels",
        pixel_centers="half",
        confidence="stated",
        names=tuple(names),
        size=size,
        warnings=tuple(said),
    )


def _cameras(folder: Path) -> Path | None:
    for place in (folder / name for name in PLACES):
        first = next(iter(place.glob("*.json")), None) if place.is_dir() else None
        if first is not None and first.stat().st_size < 100_000 and b'"t_00"' in first.read_bytes():
            return place
    return None


FORMAT = CameraFormat("polycam", "Polycam folder", "folder", sniff, read)
ONE = CameraFormat("polycam-camera", "Polycam camera", "json", sniff_one, read_one)
