"""Pixel intrinsics of strangers -> the unit square, for images whose size somebody has to know. `F`: poses."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.formats.cameras.record import PixelCenters
from mirage.geometry.camera import Camera

SQUARE = 1.1  # how many times longer one side of a pixel may be than the other before it is told


def unit_square(
    values: Tensor, size: tuple[int, int], *, pixel_centers: PixelCenters = "half", source: str, swappable: bool = False
) -> tuple[Tensor, list[str]]:
    """fx fy cx cy [*,4] in pixels of an image of `size` (H, W) -> fractions, and what is odd about them.

    `swappable`: the order of the two sides is only a habit of the format; where the principal point lies in the middle
    of the image with its sides swapped, and not in that of this one, they are refused.
    """
    height, width = size
    if height < 1 or width < 1:
        raise InputError(f"{source} has an image of {width} x {height}; expected at least 1 x 1")
    shift = 0.5 if pixel_centers == "integer" else 0.0
    sides = values.new_tensor([width, height, width, height])
    unit = (values + values.new_tensor([0, 0, shift, shift])) / sides
    if swappable and width != height and torch.isfinite(values).all():
        swapped = (values[..., 2:] / values.new_tensor([height, width]) - 0.5).abs().amax()
        if swapped < 0.03 and (unit[..., 2:] - 0.5).abs().amax() > 0.1:
            raise InputError(
                f"{source}: the principal point is the middle of an image of {height} x {width} (width x height), and "
                f"the size says {width} x {height}: are height and width swapped? expected (H, W)"
            )
    said = []
    ratio = float((values[..., 0] / values[..., 1]).reshape(-1)[0]) if values.numel() else 1.0
    if math.isfinite(ratio) and ratio > 0 and max(ratio, 1 / ratio) > SQUARE:
        said.append(f"its pixels are not square: fx is {ratio:.3g} of fy")
    return unit, said


def from_matrices(
    K: Tensor, size: tuple[int, int], *, pixel_centers: PixelCenters = "half", source: str, swappable: bool = False
) -> tuple[Tensor, list[str]]:
    """K [*,3,3] in pixels -> fractions [*,4], and what is odd about them. Skew is refused."""
    try:
        Camera.from_pixels(torch.eye(4, dtype=torch.float64).expand(*K.shape[:-2], 4, 4), K, size)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    values = torch.stack([K[..., 0, 0], K[..., 1, 1], K[..., 0, 2], K[..., 1, 2]], dim=-1)
    return unit_square(values, size, pixel_centers=pixel_centers, source=source, swappable=swappable)


def distortion(coefficients: Mapping[str, float]) -> str | None:
    """In words, the coefficients of a lens that are not zero; None for a pinhole."""
    bent = [f"{name} {value:g}" for name, value in coefficients.items() if value]
    return ", ".join(bent[:4]) if bent else None


def sides(values: Mapping[str, Any], height: str, width: str, *, where: str) -> tuple[int, int]:
    """(H, W) from two numbers of a document."""
    from mirage.formats.source import numbers

    h, w = numbers([values[height], values[width]], where=where)
    if not (1 <= h <= 1e6 and 1 <= w <= 1e6):
        raise InputError(f"{where} has an image of {w:g} x {h:g}; expected at least 1 x 1")
    return round(h), round(w)
