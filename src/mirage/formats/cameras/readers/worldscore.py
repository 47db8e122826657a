"""WorldScore's camera_data.json: `cameras_interp` (every frame) and `cameras` (key frames), 4x4 camera-to-world in
Blender's axes (OpenGL); `focal_length` in pixels of images of 512 x 512 unless told.
https://github.com/haoyi-duan/WorldScore
"""

import torch

from mirage.errors import InputError
from mirage.formats.cameras.content import CameraFormat, Content
from mirage.formats.cameras.matrices import flat
from mirage.formats.cameras.poses import Poses, check_bottom_row, check_count, stacked
from mirage.formats.cameras.record import CameraOptions
from mirage.formats.source import numbers

SIZE = (512, 512)


def sniff(content: Content) -> bool:
    """Interpolated cameras."""
    return isinstance(content.document, dict) and "cameras_interp" in content.keys


def read(content: Content, options: CameraOptions) -> Poses:
    """Every frame of the path."""
    document, source = content.document, content.source
    entries = document["cameras_interp"]
    if not isinstance(entries, list):
        raise InputError(f"{source} has no list 'cameras_interp'; expected WorldScore's camera_data.json")
    check_count(len(entries), source=source)
    rows = [flat(pose, where=f"{source}: frame {index}") for index, pose in enumerate(entries)]
    matrices = stacked([row if len(row) == 16 else [*row, 0.0, 0.0, 0.0, 1.0] for row in rows])
    check_bottom_row(matrices, source=source)
    size, values, said = options.size or SIZE, None, ()
    if "focal_length" in document:
        focal = numbers([document["focal_length"]], where=f"{source}: focal_length")[0]
        values = torch.tensor([focal / size[1], focal / size[0], 0.5, 0.5], dtype=torch.float64)
        if options.size is None:
            said = ("its focal length is taken as that of images of 512 x 512",)
    return Poses(
        matrices,
        "c2w",
        values,
        axes="opengl",
        units="pixels",
        pixel_centers="half",
        confidence="stated",
        size=size,
        warnings=said,
    )


FORMAT = CameraFormat("worldscore", "WorldScore camera_data.json", "json", sniff, read)
