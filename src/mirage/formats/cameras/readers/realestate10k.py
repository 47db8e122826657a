"""RealEstate10K camera text: one clip per file. https://google.github.io/realestate10k/download.html

Line 1 is the clip's address, then one line per frame, 19 numbers:
`timestamp_us fx fy cx cy k1 k2 r11 r12 r13 t1 r21 ... t3`: intrinsics as fractions of width and height, the 3x4 pose
world-to-camera, OpenCV axes. Later data sets (ACID, CameraCtrl) drop the time stamp (18 numbers) or the address; both
are read. Read as c2w the published clips fail an epipolar check by a factor of 30, so w2c it is.
"""

import torch

from mirage.errors import InputError
from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.poses import Poses, check_count, stacked
from mirage.formats.cameras.record import CameraOptions
from mirage.formats.source import numbers


def sniff(content: Content) -> bool:
    """18 or 19 columns, below a line of one word or not."""
    rows = content.rows
    return bool(rows) and len(rows[1 if len(rows[0]) == 1 and len(rows) > 1 else 0]) in (18, 19)


def read(content: Content, options: CameraOptions) -> Poses:
    """Poses and intrinsics per frame, in the order of the lines (which is that of the clip's frames)."""
    source = content.source
    rows, stamps, columns = [], [], None
    for number, line in enumerate(content.text.splitlines(), start=1):
        words = line.replace(",", " ").split()
        if not words or (number == 1 and len(words) == 1):
            continue
        columns = columns or len(words)
        if columns not in (18, 19) or len(words) != columns:
            raise InputError(
                f"{source}: line {number} has {len(words)} columns; RealEstate10K has 19 (or 18 without "
                "the time stamp) on every line"
            )
        values = numbers(words, where=f"{source}: line {number}")
        stamps.append(values[0] / 1e6)
        rows.append(values[-18:])
    check_count(len(rows), source=source)
    values = torch.tensor(rows, dtype=torch.float64)
    distorted = values[:, 4:6].abs().amax(1) > 0
    lens = None
    if distorted.any():
        k1, k2 = values[distorted][0, 4:6].tolist()
        lens = f"k1 {k1:g}, k2 {k2:g}"
    times, warnings = None, ()
    if columns == 19:
        times = torch.tensor(stamps, dtype=torch.float64)
        if len(times) > 1 and (times.diff() <= 0).any():
            warnings = () if bool((times == times[0]).all()) else ("its time stamps do not increase: they are ignored",)
            times = None
    return Poses(
        stacked([row[6:] for row in rows]),
        "w2c",
        values[:, :4],
        units="normalized",
        times=times,
        lens=lens,
        warnings=warnings,
    )


FORMAT = CameraFormat("re10k", "RealEstate10K text", "text", sniff, read)
