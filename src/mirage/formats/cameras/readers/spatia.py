"""Spatia's w2c.txt: a matrix 3x4 or 4x4 per line as a JSON list, world-to-camera, OpenCV axes. `intrinsics.txt` beside
it has [fx fy cx cy] as fractions of width and height; of cam-extrinsic.txt, as it leaves them between rounds, the same
is cam-intrinsics.txt. https://github.com/ZhaoJingjing713/Spatia
"""

import json
from collections.abc import Iterator
from pathlib import Path

import torch

from mirage.errors import InputError
from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.matrices import flat
from mirage.formats.cameras.poses import Poses, check_bottom_row, check_count, stacked
from mirage.formats.cameras.record import CameraOptions
from mirage.formats.source import numbers, read_text, reason


def sniff(content: Content) -> bool:
    """Lines that begin with a list in a list."""
    return content.text.lstrip().startswith("[[")


def read(content: Content, options: CameraOptions) -> Poses:
    """A pose per line."""
    rows = [flat(pose, where=where) for where, pose in _documents(content)]
    check_count(len(rows), source=content.source)
    poses = stacked([row if len(row) == 16 else [*row, 0.0, 0.0, 0.0, 1.0] for row in rows])
    check_bottom_row(poses, source=content.source)
    values = _intrinsics(content.path)
    return Poses(
        poses,
        "w2c",
        values,
        units=None if values is None else "normalized",
        confidence="stated",
        size=options.size,
    )


def _documents(content: Content) -> Iterator[tuple[str, object]]:
    for number, line in enumerate(content.text.splitlines(), start=1):
        where = f"{content.source}: line {number}"
        if line.strip():
            try:
                yield where, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{where} is no matrix ({reason(error)}); expected a JSON list 3x4 or 4x4") from error


def _intrinsics(path: Path) -> torch.Tensor | None:
    accepts = "[fx fy cx cy] as fractions of width and height"
    names = (path.name.replace("extrinsics", "intrinsics").replace("extrinsic", "intrinsics"), "intrinsics.txt")
    found = [path.with_name(name) for name in names if name != path.name and path.with_name(name).is_file()]
    if not found:
        return None
    words = read_text(found[0], accepts=accepts).replace(",", " ").strip().strip("[]").split()
    if len(words) != 4:
        raise InputError(f"{found[0]} has {len(words)} numbers; expected {accepts}")
    return torch.tensor(numbers(words, where=str(found[0])), dtype=torch.float64)


FORMAT = CameraFormat("spatia", "Spatia w2c.txt", "text", sniff, read)
