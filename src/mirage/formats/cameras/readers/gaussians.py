"""cameras.json that 3D Gaussian Splatting's training leaves: a list of objects, `rotation` 3x3 camera-to-world,
`position` its centre, OpenCV axes; `fx fy width height` in pixels, the principal point in the middle.
https://github.com/graphdeco-inria/gaussian-splatting
"""

import torch

from mirage.errors import InputError
from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.matrices import flat
from mirage.formats.cameras.pixels import sides, unit_square
from mirage.formats.cameras.poses import Poses, check_count
from mirage.formats.cameras.record import CameraOptions
from mirage.formats.cameras.walks import one_walk
from mirage.formats.source import numbers
from mirage.geometry.pose import make_pose


def sniff(content: Content) -> bool:
    """A list of objects with position and rotation."""
    document = content.document
    return isinstance(document, list) and bool(document) and _is_camera(document[0])


def read(content: Content, options: CameraOptions) -> Poses:
    """Poses in the natural order of the images' names (training shuffles them, and lists test images first)."""
    document, source = content.document, content.source
    check_count(len(document), source=source)
    names, poses, rows, warnings = [], [], [], []
    size = None
    for index, entry in enumerate(document):
        where = f"{source}: camera {index}"
        if not _is_camera(entry):
            raise InputError(f"{where} has no 'rotation' and 'position'; expected 3D Gaussian Splatting's cameras.json")
        rotation = flat(entry["rotation"], where=f"{where}: 'rotation'", rows=(3,), columns=3)
        position = entry["position"]
        if not isinstance(position, list) or len(position) != 3:
            raise InputError(f"{where} has the position {str(position)[:40]}; expected three numbers")
        center = torch.tensor(numbers(position, where=where), dtype=torch.float64)
        poses.append(make_pose(torch.tensor(rotation, dtype=torch.float64).view(3, 3), center))
        names.append(str(entry.get("img_name", "")))
        if {"fx", "fy", "width", "height"} <= entry.keys():
            size = options.size or sides(entry, "height", "width", where=where)
            fx, fy = numbers([entry["fx"], entry["fy"]], where=where)
            row = torch.tensor([fx, fy, size[1] / 2, size[0] / 2], dtype=torch.float64)
            unit, said = unit_square(row, size, source=where)
            rows.append(unit)
            warnings += [words for words in said if words not in warnings]
    order = list(range(len(names)))
    if all(names):
        order, said = one_walk(names, options, source=source)
        warnings += said
    return Poses(
        torch.stack([poses[i] for i in order]),
        "c2w",
        torch.stack([rows[i] for i in order]) if len(rows) == len(poses) else None,
        units="pixels",
        pixel_centers="half",
        confidence="stated",
        names=tuple(names[i] for i in order) if all(names) else None,
        size=size,
        warnings=tuple(warnings),
    )


def _is_camera(entry: object) -> bool:
    return isinstance(entry, dict) and {"position", "rotation"} <= entry.keys()


FORMAT = CameraFormat("3dgs", "3D Gaussian Splatting cameras.json", "json", sniff, read)
