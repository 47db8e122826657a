"""KITTI odometry poses: 12 numbers a line = row-major 3x4 camera-to-world, OpenCV axes, no intrinsics.
https://www.cvlibs.net/datasets/kitti/eval_odometry.php

16 numbers are a 4x4 matrix (Replica's traj.txt and others); 13 and 17 begin with a frame number or a time stamp
(KITTI-360).
"""

import torch

from mirage.formats.cameras import tables
from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.poses import Poses, check_bottom_row, check_count, stacked
from mirage.formats.cameras.readers import euroc
from mirage.formats.cameras.record import CameraOptions

COLUMNS = (12, 13, 16, 17)


def sniff(content: Content) -> bool:
    """12, 13, 16 or 17 columns of numbers that are not EuRoC's."""
    rows = content.rows
    return bool(rows) and len(rows[0]) in COLUMNS and tables.numeric(rows[0]) and not euroc.sniff(content)


def read(content: Content, options: CameraOptions) -> Poses:
    """Poses in the order of the lines."""
    rows = tables.table(content, columns=COLUMNS, what="KITTI has 12 (3x4) or 16 (4x4), one more with a frame number,")
    check_count(len(rows), source=content.source)
    numbered = len(rows[0]) % 2
    matrices = stacked([row[numbered:] for row in rows])
    check_bottom_row(matrices, source=content.source)
    warnings = []
    if numbered and bool((torch.tensor([row[0] for row in rows], dtype=torch.float64).diff() <= 0).any()):
        warnings.append("its frame numbers do not increase: read in the order of the lines")
    return Poses(matrices, "c2w", warnings=tuple(warnings))


FORMAT = CameraFormat("kitti", "KITTI poses", "text", sniff, read)
