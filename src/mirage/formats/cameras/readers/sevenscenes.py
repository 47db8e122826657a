"""Folders in the manner of 7-Scenes: `frame-000000.pose.txt` (4x4 camera-to-world, OpenCV axes, metres), one per frame,
beside `frame-000000.color.*` and `frame-000000.depth.png`; one `camera-intrinsics.txt` (3x3, pixels).
https://www.microsoft.com/en-us/research/project/rgb-d-dataset-7-scenes/
"""

from pathlib import Path

import torch

from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.matrices import check_poses, matrix
from mirage.formats.cameras.poses import Poses, check_count
from mirage.formats.cameras.record import CameraOptions
from mirage.formats.image import image_size
from mirage.geometry.camera import Camera
from mirage.natural import natural

SIZE = (480, 640)  # of every image of the data set; used where a folder has poses but no image


def sniff(content: Content) -> bool:
    """frame-*.pose.txt."""
    return next(content.path.glob("frame-*.pose.txt"), None) is not None


def read(content: Content, options: CameraOptions) -> Poses:
    """Poses in the order of their file names; a frame that tracking lost has no finite numbers."""
    folder = content.path
    files = sorted(folder.glob("frame-*.pose.txt"), key=natural)
    check_count(len(files), source=content.source)
    poses = torch.stack([matrix(file, 4, finite=False) for file in files])
    lost = check_poses(poses, source=content.source)
    intrinsics, size = _intrinsics(folder, options)
    return Poses(
        poses,
        "c2w",
        intrinsics,
        units="pixels",
        pixel_centers=options.pixel_centers or "half",
        names=tuple(file.name.removesuffix(".pose.txt") for file in files),
        size=size,
        lost=lost,
    )


def _intrinsics(folder: Path, options: CameraOptions) -> tuple[torch.Tensor | None, tuple[int, int] | None]:
    file = folder / "camera-intrinsics.txt"
    image = next(iter(sorted(folder.glob("frame-*.color.*"))), None)
    size = options.size or (image_size(image) if image else None)
    if not file.exists():
        return None, size
    eye = torch.eye(4, dtype=torch.float64)
    centers = options.pixel_centers or "half"
    return Camera.from_pixels(eye, matrix(file, 3), size or SIZE, pixel_centers=centers).intrinsics, size or SIZE


FORMAT = CameraFormat("7scenes", "7-Scenes folder", "folder", sniff, read)
