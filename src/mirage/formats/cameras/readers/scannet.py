"""ScanNet folders: pose/0.txt, 1.txt, ... (4x4 camera-to-world, OpenCV axes, metres), intrinsic/intrinsic_color.txt
(pixels), color/ and depth/. A frame that tracking lost has a matrix of -inf. http://www.scan-net.org
"""

from pathlib import Path

import torch

from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.matrices import check_poses, matrix
from mirage.formats.cameras.pixels import from_matrices
from mirage.formats.cameras.poses import Poses, check_count
from mirage.formats.cameras.record import CameraOptions
from mirage.formats.image import image_size
from mirage.natural import natural

PICTURES = (".jpg", ".jpeg", ".png")
INTRINSICS = ("intrinsic/intrinsic_color.txt", "intrinsic_color.txt", "intrinsics_color.txt", "intrinsic.txt")


def sniff(content: Content) -> bool:
    """A folder pose/ of numbered text files, or that folder itself."""
    return _poses(content.path) is not None


def read(content: Content, options: CameraOptions) -> Poses:
    """Poses in the order of their numbers."""
    folder = _poses(content.path)
    assert folder is not None
    files = sorted((path for path in folder.glob("*.txt") if path.stem.isdecimal()), key=natural)
    check_count(len(files), source=str(folder))
    poses = torch.stack([matrix(file, 4, finite=False) for file in files])
    lost = check_poses(poses, source=str(folder))
    intrinsics, size, warnings = _intrinsics(folder.parent, options)
    return Poses(
        poses,
        "c2w",
        intrinsics,
        units="pixels",
        pixel_centers=options.pixel_centers or "half",
        names=tuple(file.stem for file in files),
        size=size,
        lost=lost,
        warnings=tuple(warnings),
    )


def _poses(folder: Path) -> Path | None:
    for place in (folder / "pose", folder / "poses", folder):
        if place.is_dir() and any(path.stem.isdecimal() for path in place.glob("*.txt")):
            return place
    return None


def _intrinsics(folder: Path, options: CameraOptions) -> tuple[torch.Tensor | None, tuple[int, int] | None, list[str]]:
    file = next((folder / name for name in INTRINSICS if (folder / name).is_file()), None)
    images = (
        p for name in ("color", "rgb", "images") for p in folder.glob(f"{name}/*") if p.suffix.lower() in PICTURES
    )
    image = next(images, None)
    size = options.size or (image_size(image) if image else None)
    if file is None:
        return None, size, []
    K, said = matrix(file, 3), []
    if size is None:
        size = round(2 * float(K[1, 2])), round(2 * float(K[0, 2]))
        said.append(f"it has no images: their size is taken as {size[1]} x {size[0]}, twice the principal point")
    values, odd = from_matrices(K, size, pixel_centers=options.pixel_centers or "half", source=str(file))
    return values, size, said + odd


FORMAT = CameraFormat("scannet", "ScanNet folder", "folder", sniff, read)
