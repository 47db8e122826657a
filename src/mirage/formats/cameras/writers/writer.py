"""What is written, and what a writer is. `F`: frames.

A writer's file says what comes out (poses, axes, units), holds a function from `Written` to bytes, and its `FORMAT`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mirage.formats.ply import Points
from mirage.geometry.camera import Camera


@dataclass(frozen=True, eq=False)
class Written:
    """A path [F], float64 on the CPU, with a time in seconds and an image's name for every pose.

    `size` (H, W) of the images; there wherever the writer asks for pixels. `points`: the world, for formats that hold
    points.
    """

    camera: Camera
    times: tuple[float, ...]
    names: tuple[str, ...]
    size: tuple[int, int] | None = None
    points: Points | None = None

    def __len__(self) -> int:
        return len(self.camera)

    @property
    def pixels(self) -> tuple[int, int]:
        """`size` where a writer has asked for it."""
        assert self.size is not None
        return self.size

    @cached_property
    def K(self) -> Tensor:
        """Pixel matrices [F,3,3], centre of the first pixel at (0.5, 0.5)."""
        return self.camera.pixel_matrix(self.pixels)

    @property
    def one_lens(self) -> bool:
        """Whether all frames have the intrinsics of the first."""
        return bool(torch.allclose(self.camera.intrinsics, self.camera.intrinsics[:1], rtol=0, atol=1e-9))

    @property
    def centred(self) -> bool:
        """Whether the principal point is the middle of the image, to a ten-thousandth of its sides."""
        return bool((self.camera.intrinsics[:, 2:] - 0.5).abs().amax() < 1e-4)

    @property
    def square(self) -> bool:
        """Whether pixels of `size` are square, to a thousandth."""
        return abs(self.oblong - 1) < 1e-3

    @property
    def oblong(self) -> float:
        """How many times as wide as high a pixel of `size` sees in the first frame: 1 where pixels are square."""
        height, width = self.pixels
        fx, fy = self.camera.intrinsics[0, :2].tolist()
        return fy * height / (fx * width)


@dataclass(frozen=True)
class CameraWriter:
    """One format: its short name, what people call it, and its bytes: of one file, or of a folder's files by name.

    `suffix` of a file, None for a folder. `pixels`: it needs the images' size. `lens`: whether it holds intrinsics.
    `loses` says in words what of a path it has no place for, beyond that; "" for nothing.
    """

    name: str
    title: str
    suffix: str | None
    write: Callable[[Written], bytes | dict[str, bytes]]
    pixels: bool = False
    lens: bool = True
    loses: Callable[[Written], str] = lambda path: ""


def off_centre(path: Written) -> str:
    """`loses` of a format that takes the principal point to be the middle."""
    return "" if path.centred else "a principal point off the middle"


def one_focal_length(path: Written) -> str:
    """`loses` of a format whose only intrinsics are a focal length or an angle: square pixels, a centred centre."""
    return " and ".join(filter(None, [off_centre(path), "" if path.square else "oblong pixels"]))
