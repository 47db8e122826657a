"""AC3D's camera_info.json: `w2c` [F,3,4] world-to-camera, OpenCV axes; `intrinsics` [F,3,3] in pixels of `imW` x `imH`.
https://github.com/snap-research/ac3d
"""

import torch

from mirage.errors import InputError
from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.matrices import flat
from mirage.formats.cameras.pixels import from_matrices, sides
from mirage.formats.cameras.poses import Poses, check_bottom_row, check_count, stacked
from mirage.formats.cameras.record import CameraOptions


def sniff(content: Content) -> bool:
    """Matrices named w2c or c2w, and intrinsics."""
    return isinstance(content.document, dict) and len({"w2c", "c2w"} & content.keys) == 1


def read(content: Content, options: CameraOptions) -> Poses:
    """Poses in the order of the list."""
    document, source = content.document, content.source
    name = "w2c" if "w2c" in document else "c2w"
    if not isinstance(document[name], list):
        raise InputError(f"{source} has no list {name!r}; expected matrices [F,3,4]")
    check_count(len(document[name]), source=source)
    rows = [flat(pose, where=f"{source}: {name} {index}") for index, pose in enumerate(document[name])]
    matrices = stacked([row if len(row) == 16 else [*row, 0.0, 0.0, 0.0, 1.0] for row in rows])
    check_bottom_row(matrices, source=source)
    values, size, said = None, options.size, []
    if "intrinsics" in document:
        if size is None and not {"imH", "imW"} <= document.keys():
            raise InputError(
                f"{source} has intrinsics in pixels and lacks imH and imW; expected them or the size (H, W)"
            )
        size = size or sides(document, "imH", "imW", where=source)
        given = document["intrinsics"]
        each = given if isinstance(given, list) and len(given) == len(rows) else [given]
        K = [flat(own, where=f"{source}: intrinsics", rows=(3,), columns=3) for own in each]
        values, said = from_matrices(torch.tensor(K, dtype=torch.float64).unflatten(1, (3, 3)), size, source=source)
        values = values if len(values) == len(rows) else values[0]
    return Poses(
        matrices,
        name,
        values,
        units="pixels",
        pixel_centers="half",
        confidence="stated",
        size=size,
        warnings=tuple(said),
    )


FORMAT = CameraFormat("ac3d", "AC3D camera_info.json", "json", sniff, read)
