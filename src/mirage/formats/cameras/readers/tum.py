"""TUM RGB-D trajectories: `timestamp tx ty tz qx qy qz qw` per line, `#` starts a comment; camera-to-world, OpenCV
axes, no intrinsics. https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats

The same without the time stamp (7 numbers) is common: in course material with OpenCV axes, in TartanAir with forward,
right, down. MonST3R and CUT3R write the quaternion as w x y z; a file by DPVO through evo has y z w x. Open3D 0.20
forgets the line's end after its comment, so that its first pose stands on the comment line.
"""

import re
from dataclasses import replace

import torch

from mirage.formats.cameras import tables
from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.poses import Poses, check_count
from mirage.formats.cameras.quaternions import quaternion_order, reordered, unit_quaternion
from mirage.formats.cameras.readers import euroc
from mirage.formats.cameras.record import Axes, CameraOptions
from mirage.geometry.pose import make_pose, rotation_from_quaternion

TARTANAIR = re.compile(r"pose_(left|right|[lr]cam_\w+)\.txt")
GLUED = re.compile(r"^#.*<qw>\s*(\S+(?:\s+\S+){7})\s*$")  # Open3D's comment and the pose behind it


def sniff(content: Content) -> bool:
    """7 or 8 columns, and not EuRoC's."""
    rows = content.rows
    if not rows or euroc.sniff(content):
        return bool(not rows and GLUED.match(content.text.partition("\n")[0]))
    return len(rows[1 if len(rows[0]) == 1 and len(rows) > 1 else 0]) in (7, 8) and tables.numeric(rows[-1])


def read(content: Content, options: CameraOptions) -> Poses:
    """Poses in the order of their stamps; quaternions may be off unit length by rounding (1 %), no more."""
    source = content.source
    glued = GLUED.match(content.text.partition("\n")[0])
    if glued:
        content = replace(content, text=glued[1] + "\n" + content.text.partition("\n")[2])
    rows = tables.table(
        content,
        columns=(7, 8),
        what="TUM has 8 (t tx ty tz qx qy qz qw), or 7 without the time stamp,",
        check=lambda row, where: unit_quaternion(row[-4:], where=where),
    )
    check_count(len(rows), source=source)
    values = torch.tensor(rows, dtype=torch.float64)
    warnings: list[str] = []
    if glued:
        warnings.append("its first pose stands on the comment line, as Open3D writes it: it is read")
    times = seconds(values[:, 0]) if values.shape[1] == 8 else None
    if times is not None:
        values, times, said = in_time(values, times)
        warnings += said
    order, confidence, said = quaternion_order(values[0, -4:], usual="xyzw", told=options.quaternion, source=source)
    warnings += said
    axes: Axes = "opencv"
    if times is None and options.axes is None:
        confidence = "ambiguous"
        if TARTANAIR.fullmatch(content.path.name):
            axes = "ned"
            warnings.append("named as TartanAir's files are: its axes are read as forward, right, down (ned)")
        else:
            warnings.append(
                "7 columns do not say their camera axes: read as opencv (right, down, forward); TartanAir has ned, "
                "robots ros"
            )
    rotation = rotation_from_quaternion(reordered(values[:, -4:], order))
    return Poses(
        make_pose(rotation, values[:, -7:-4]),
        "c2w",
        axes=axes,
        quaternion=order,
        confidence=confidence,
        times=times,
        warnings=tuple(warnings),
    )


def seconds(stamps: torch.Tensor) -> torch.Tensor:
    """Stamps [F] in seconds, where they were nanoseconds since 1970 (as ORB-SLAM writes them for EuRoC)."""
    return stamps / 1e9 if len(stamps) and float(stamps[0]) > 1e14 else stamps


def in_time(values: torch.Tensor, times: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, list[str]]:
    """Rows and stamps in order of time, and what there is to say of it; no stamps where they tell nothing."""
    if len(times) < 2 or bool((times.diff() > 0).all()):
        return values, times, []
    if bool((times == times[0]).all()):
        return values, None, ["all its time stamps are equal: they are ignored"]
    order = torch.argsort(times, stable=True)
    values, times = values[order], times[order]
    said = [] if bool((order.diff() > 0).all()) else ["its lines are not in the order of their time stamps: sorted"]
    if bool((times.diff() <= 0).any()):
        said.append("some of its time stamps are equal: stamps are ignored")
        return values, None, said
    return values, times, said


FORMAT = CameraFormat("tum", "TUM trajectory", "text", sniff, read)
