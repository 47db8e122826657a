"""EuRoC ground truth, as CSV: `timestamp_ns, px, py, pz, qw, qx, qy, qz, ...` per line; body-to-world, no intrinsics.
https://projects.asl.ethz.ch/datasets/doku.php?id=kmavvisualinertialdatasets

The body is the data set's IMU (p_RS_R: of sensor S in reference R), or whatever tool wrote the file; as a camera path
it is read with OpenCV axes. VINS-Mono and others write the same columns.
"""

import torch

from mirage.errors import InputError
from mirage.formats.cameras import tables
from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.poses import Poses, check_count
from mirage.formats.cameras.quaternions import quaternion_order, reordered, unit_quaternion
from mirage.formats.cameras.record import CameraOptions
from mirage.formats.source import numbers
from mirage.geometry.pose import make_pose, rotation_from_quaternion


def sniff(content: Content) -> bool:
    """Nanoseconds first (since 1970, or its own heading above them), commas between, at least 8 columns."""
    rows, start = content.rows, content.text[:4000]
    if not rows or "," not in start:
        return False
    first = next((row for row in rows if tables.numeric(row)), None)
    headed = start.startswith("#timestamp")
    return first is not None and len(first) >= 8 and (headed or float(first[0]) > 1e14)


def read(content: Content, options: CameraOptions) -> Poses:
    """Poses in the order of their stamps."""
    from mirage.formats.cameras.readers.tum import in_time

    rows = []
    for number, words in tables.lines(content):
        where = f"{content.source}: line {number}"
        if not rows and not tables.numeric(words):
            continue  # a heading without #
        if len(words) < 8:
            raise InputError(f"{where} has {len(words)} columns; EuRoC has at least 8 (t px py pz qw qx qy qz)")
        rows.append(numbers(words[:8], where=where))
        unit_quaternion(rows[-1][4:], where=where)
    check_count(len(rows), source=content.source)
    values = torch.tensor(rows, dtype=torch.float64)
    values, times, warnings = in_time(values, values[:, 0] / 1e9)
    order, confidence, said = quaternion_order(
        values[0, 4:], usual="wxyz", told=options.quaternion, source=content.source
    )
    if options.axes is None:
        warnings.append("the poses are those of the body (EuRoC's is its IMU), read as a camera with opencv axes")
    rotation = rotation_from_quaternion(reordered(values[:, 4:], order))
    return Poses(
        make_pose(rotation, values[:, 1:4]),
        "c2w",
        quaternion=order,
        confidence=confidence,
        times=times,
        warnings=(*warnings, *said),
    )


FORMAT = CameraFormat("euroc", "EuRoC csv", "text", sniff, read)
