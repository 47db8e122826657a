"""Folders in the manner of 7-Scenes: `frame-000000.pose.txt` (4x4 camera-to-world, OpenCV axes, metres), one per frame,
beside `frame-000000.color.*` and `frame-000000.depth.png`; one `camera-intrinsics.txt` (3x3, pixels).
https://www.microsoft.com/en-us/research/project/rgb-d-dataset-7-scenes/
"""

from pathlib import Path

import torch

from mirage.errors import InputError
from mirage.formats.image import image_size
from mirage.formats.posefile import PoseFile, check_bottom_row, check_count
from mirage.formats.source import numbers, read_text
from mirage.geometry.camera import Camera

SIZE = (480, 640)  # of every image of the data set; used where a folder has poses but no image


def parse(folder: Path) -> PoseFile:
    """Poses in the order of their file names."""
    files = sorted(folder.glob("frame-*.pose.txt"))
    check_count(len(files), source=str(folder))
    poses = torch.stack([_matrix(file, 4) for file in files])
    check_bottom_row(poses, source=str(folder))
    return PoseFile(str(folder), poses, "c2w", _intrinsics(folder))


def _intrinsics(folder: Path) -> torch.Tensor | None:
    file = folder / "camera-intrinsics.txt"
    if not file.exists():
        return None
    image = next(iter(sorted(folder.glob("frame-*.color.*"))), None)
    size = image_size(image) if image else SIZE
    return Camera.from_pixels(torch.eye(4, dtype=torch.float64), _matrix(file, 3), size).intrinsics


def _matrix(file: Path, side: int) -> torch.Tensor:
    accepts = f"a {side}x{side} matrix as text"
    rows = [line.split() for line in read_text(file, accepts=accepts).splitlines() if line.strip()]
    if len(rows) != side or any(len(row) != side for row in rows):
        raise InputError(
            f"{file} has {len(rows)} lines of {sorted({len(row) for row in rows})[:4]} numbers; expected {accepts}"
        )
    values = [numbers(row, where=f"{file}: line {number}") for number, row in enumerate(rows, start=1)]
    return torch.tensor(values, dtype=torch.float64)
