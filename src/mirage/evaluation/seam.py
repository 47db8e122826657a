"""The seam between a given picture and what is generated after it: does it jump, and does it go soft?

`F` video frames, `H W` pixels.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from mirage.errors import InputError


@dataclass(frozen=True)
class Seam:
    """`step`: how much the picture changes from the given frame to the next, over the median change between frames
    after it; 1 is no seam. `sharpness`: of the first generated frame over that of the given one; 1 is as sharp.

    None where nothing moves, or the given frame is flat.
    """

    step: float | None
    sharpness: float | None


def seam(frames: Tensor) -> Seam:
    """Of a walk's first frames [F,3,H,W] in [0, 1], F at least 3; frame 0 is the given one.

    A change is the mean absolute difference of luma; sharpness the mean absolute difference of neighbouring pixels.
    """
    if len(frames) < 3:
        raise InputError(f"a seam is measured over 3 frames or more, got {len(frames)}")
    luma = (frames.float() * frames.new_tensor([0.299, 0.587, 0.114]).float()[:, None, None]).sum(1)
    change = luma.diff(dim=0).abs().mean((-2, -1))
    edges = luma[:2].diff(dim=-1).abs().mean((-2, -1)) + luma[:2].diff(dim=-2).abs().mean((-2, -1))
    return Seam(_ratio(change[0], change[1:].median()), _ratio(edges[1], edges[0]))


def _ratio(one: Tensor, other: Tensor) -> float | None:
    ratio = float(one) / float(other) if float(other) else math.inf
    return ratio if math.isfinite(ratio) else None
