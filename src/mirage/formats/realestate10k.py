"""RealEstate10K camera text: one clip per file. https://google.github.io/realestate10k/download.html

Line 1 is the clip's address, then one line per frame, 19 numbers:
`timestamp_us fx fy cx cy k1 k2 r11 r12 r13 t1 r21 ... t3`: intrinsics as fractions of width and height, the 3x4 pose
world-to-camera, OpenCV axes. Later data sets drop the time stamp (18 numbers) or the address; both are read.
Read as c2w the published clips fail an epipolar check by a factor of 30, so w2c it is.
"""

import torch

from mirage.errors import InputError
from mirage.formats.posefile import PoseFile, check_count, stacked
from mirage.formats.source import numbers
from mirage.geometry.camera import Camera

ADDRESS = "mirage"  # what we write where a clip's address stands; readers skip this line


def parse(text: str, *, source: str) -> PoseFile:
    """Poses and intrinsics per frame."""
    lines = text.splitlines()
    rows, columns = [], None
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or (number == 1 and len(words) == 1):
            continue
        columns = columns or len(words)
        if columns not in (18, 19) or len(words) != columns:
            raise InputError(
                f"{source}: line {number} has {len(words)} columns; RealEstate10K has 19 (or 18 without "
                "the time stamp) on every line"
            )
        rows.append(numbers(words, where=f"{source}: line {number}")[-18:])
        if rows[-1][4] or rows[-1][5]:
            raise InputError(
                f"{source}: line {number} has lens distortion {rows[-1][4]:g} {rows[-1][5]:g}; "
                "only undistorted (0 0) images are accepted"
            )
    check_count(len(rows), source=source)
    intrinsics = torch.tensor([row[:4] for row in rows], dtype=torch.float64)
    return PoseFile(source, stacked([row[6:] for row in rows]), "w2c", intrinsics)


def text(camera: Camera) -> str:
    """The trajectory [F] as RealEstate10K text; time stamps count frames at 16 per second."""
    poses = camera.to(torch.float64).w2c[:, :3].flatten(1).tolist()
    lines = [ADDRESS]
    for frame, (pose, intrinsics) in enumerate(zip(poses, camera.intrinsics.tolist(), strict=True)):
        lines.append(" ".join([str(frame * 62_500), *(repr(v) for v in [*intrinsics, 0.0, 0.0, *pose])]))
    return "\n".join(lines) + "\n"
