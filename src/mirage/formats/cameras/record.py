"""What a camera file says, read whole: `CameraRecord`; and what a person may say where the file cannot:
`CameraOptions`.

`F`: poses. The camera is ours (camera-to-world, OpenCV axes, intrinsics of the unit square), in float64 and where the
file puts it; `pose`, `axes`, `quaternion`, `intrinsics` and `pixel_centers` tell what the file's own numbers were.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from mirage.errors import InputError, check_number
from mirage.geometry.camera import Camera
from mirage.request import CameraReading

Pose = Literal["w2c", "c2w"]
Axes = Literal["opencv", "opengl", "ned", "ros", "unreal"]
Quaternion = Literal["xyzw", "wxyz", "yzwx"]
PixelCenters = Literal["half", "integer"]
Confidence = Literal["stated", "usual", "ambiguous"]


@dataclass(frozen=True, eq=False)
class CameraRecord:
    """A path and where it comes from.

    `camera` [F]       float64; not made relative, so georeferenced positions are whole
    `format`           a name of the registry ("tum", "colmap", ...)
    `pose`             whether the file's matrices are world-to-camera or camera-to-world
    `axes`             the file's camera axes: opencv (right, down, forward), opengl (right, up, back), ned (forward,
                       right, down), ros (forward, left, up), unreal (forward, right, up: left-handed)
    `intrinsics`       fractions of the image ("normalized") or "pixels"; None where the file has none
    `pixel_centers`    where the centre of the first pixel lies, (0.5, 0.5) or (0, 0); None without pixels
    `quaternion`       order of its components; None where there are matrices
    `confidence`       "stated": the file or a person says it; "usual": what its format means; "ambiguous": a guess
    `times` [F]        seconds, increasing; None where the file has none
    `names`            of the images, in the order of the poses
    `size`             (H, W) of the images in pixels
    `lens`             the distortion that the file tells of, in words; None for a pinhole
    `warnings`         what a person should know of how it was read, one sentence each
    """

    camera: Camera
    format: str
    pose: Pose
    axes: Axes
    intrinsics: Literal["normalized", "pixels"] | None = None
    pixel_centers: PixelCenters | None = None
    quaternion: Quaternion | None = None
    confidence: Confidence = "usual"
    times: Tensor | None = None
    names: tuple[str, ...] | None = None
    size: tuple[int, int] | None = None
    lens: str | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        frames = len(self.camera)
        if self.camera.c2w.dtype != torch.float64:
            raise InputError(f"a camera record is float64, got {self.camera.c2w.dtype}")
        for name, values in (("times", self.times), ("names", self.names)):
            if values is not None and len(values) != frames:
                raise InputError(f"a camera record has {frames} poses and {len(values)} {name}; expected one each")


@dataclass(frozen=True, eq=False)
class CameraOptions:
    """What a person says of a file, each None where the file or its format decides.

    `pose`, `axes`, `quaternion`, `pixel_centers`: see `CameraRecord`; each overrules the format. `camera`: which camera
    of a rig, by its folder or its id. `size` (H, W): of the images, for files that do not tell. `read_as`: a name of
    the registry, for a file that two formats claim. `intrinsics` [4]: normalised, where the file has none.
    `bridge_lost`: fill frames that tracking lost from their neighbours, instead of leaving them out.
    """

    pose: Pose | None = None
    axes: Axes | None = None
    quaternion: Quaternion | None = None
    camera: str | None = None
    size: tuple[int, int] | None = None
    pixel_centers: PixelCenters | None = None
    read_as: str | None = None
    intrinsics: Tensor | None = None
    bridge_lost: bool = False

    def __post_init__(self) -> None:
        for name, kind in (("pose", Pose), ("axes", Axes), ("quaternion", Quaternion), ("pixel_centers", PixelCenters)):
            value = getattr(self, name)
            if value is not None and value not in get_args(kind):
                accepted = ", ".join(map(repr, get_args(kind)))
                raise InputError(f"unknown {name} {value!r}; accepted: {accepted}")
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise InputError(f"got the image size {self.size}; expected (H, W), two positive numbers of pixels")
        if self.intrinsics is not None and self.intrinsics.shape != (4,):
            raise InputError(f"intrinsics are [4] = fx, fy, cx, cy, got {list(self.intrinsics.shape)}")


def camera_options(asked: CameraReading) -> CameraOptions:
    """What a person said of a camera file, for its reader."""
    for side in asked.image_size or ():
        check_number("the image size", side, kind=int, low=1, high=2**15, accepted="pixels, above 0")
    return CameraOptions(
        pose=asked.convention,
        axes=asked.axes,
        quaternion=asked.quaternion,
        camera=asked.camera,
        size=asked.image_size,
        pixel_centers=asked.pixel_centers,
        read_as=asked.read_as,
        bridge_lost=asked.bridge_lost,
    )
