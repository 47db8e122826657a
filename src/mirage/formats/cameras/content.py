"""What lies at a path, opened once and within bounds: a folder, text, JSON or arrays. Formats look at this, not at
files.

content = opened(Path("clip.txt"))
content.kind, content.rows[0]                 # "text", the words of its first line that is no comment
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mirage.errors import InputError
from mirage.formats.cameras.poses import Poses
from mirage.formats.cameras.record import CameraOptions
from mirage.formats.source import TEXT_LIMIT, Npz, npy_array, read_bytes, reason, regular_file

Kind = Literal["folder", "text", "json", "arrays"]
ACCEPTS = (
    "a camera file: text (RealEstate10K, TUM, KITTI, EuRoC, ...), .json (nerfstudio, Open3D, ...), .npz or .npy, or a "
    "folder (COLMAP, 7-Scenes, ScanNet, ...)"
)
PARTS = ("cameras.txt", "images.txt", "frames.txt", "cameras.bin", "images.bin", "frames.bin")  # of a COLMAP model
SNIFFED = 40  # lines of text that are looked at to find a format


@dataclass(frozen=True, eq=False)
class Content:
    """`text`, `document` or `arrays` (an .npy is the array "") by `kind`; a folder is looked into by its readers."""

    path: Path
    kind: Kind
    text: str = ""
    document: Any = None
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """The path as messages name it."""
        return str(self.path)

    @cached_property
    def rows(self) -> list[list[str]]:
        """Words of the first lines that have any, comments (#) left out, commas read as spaces."""
        rows: list[list[str]] = []
        start = 0
        while start < len(self.text) and len(rows) < SNIFFED:
            end = self.text.find("\n", start)
            end = len(self.text) if end < 0 else end
            line = self.text[start : min(end, start + 10_000)].partition("#")[0]
            if words := line.replace(",", " ").split():
                rows.append(words)
            start = end + 1
        return rows

    @property
    def keys(self) -> set[str]:
        """Names at the top of a JSON object, or of arrays."""
        if self.kind == "arrays":
            return set(self.arrays)
        return {str(key) for key in self.document} if isinstance(self.document, dict) else set()

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one array, without reading it."""
        return self.arrays.shape(name) if isinstance(self.arrays, Npz) else self.arrays[name].shape


@dataclass(frozen=True)
class CameraFormat:
    """One format: its short name (`CameraRecord.format`), what people call it, what it lies in, how its content is
    recognised and how it is read."""

    name: str
    title: str
    kind: Kind
    sniff: Callable[[Content], bool]
    read: Callable[[Content, CameraOptions], Poses]


def opened(path: Path) -> Content:
    """The content of a path by its first bytes, not by its suffix; a file of a COLMAP model stands for its folder."""
    if os.path.isdir(path):  # unlike Path.is_dir it takes a name the system refuses for "no"
        return Content(path, "folder")
    if path.name in PARTS and (path.parent / f"cameras{path.suffix}").is_file():
        return Content(path.parent, "folder")
    path = regular_file(path, accepts=ACCEPTS, limit=1 << 40)
    with path.open("rb") as file:
        start = file.read(8)
    if path.suffix.lower() == ".npz" or start[:4] == b"PK\x03\x04":
        return Content(path, "arrays", arrays=Npz(path, accepts=ACCEPTS))
    data = read_bytes(path, accepts=ACCEPTS, limit=TEXT_LIMIT)
    if start[:6] == b"\x93NUMPY":
        return Content(path, "arrays", arrays={"": npy_array(data, where=str(path))})
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text (byte {error.start} is not UTF-8); expected {ACCEPTS}") from error
    if path.suffix.lower() == ".json" or (text[:1000].lstrip()[:1] in ("{", "[") and not _lists_in_lines(text)):
        return Content(path, "json", document=parsed(text, source=str(path)))
    return Content(path, "text", text=text)


def _lists_in_lines(text: str) -> bool:
    """Whether a text is several lines that each begin with a list in a list and end it."""
    first, _, others = text.strip().partition("\n")
    return first.startswith("[[") and first.rstrip().endswith("]]") and others.lstrip().startswith("[[")


def parsed(text: str, *, source: str) -> Any:
    """A JSON document."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source} is not JSON ({reason(error)}); expected {ACCEPTS}") from error
