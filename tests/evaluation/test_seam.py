"""The seam after the given picture: what it measures where the answer is known."""

import pytest
import torch

from helpers import random_image, refusal
from mirage.evaluation.seam import seam


def moving(count: int) -> torch.Tensor:
    """A picture that slides by one column a frame."""
    image = random_image((32, 48))
    return torch.stack([image.roll(n, dims=-1) for n in range(count)])


def test_an_even_motion_has_no_seam():
    found = seam(moving(9))
    assert found.step == pytest.approx(1, rel=1e-3)
    assert found.sharpness == pytest.approx(1, rel=1e-3)


def test_a_jump_and_a_blur_are_seen():
    frames = moving(9)
    blurred = torch.nn.functional.avg_pool2d(frames, 5, stride=1, padding=2, count_include_pad=False)
    soft = seam(torch.cat([frames[:1], blurred[1:]]))
    assert soft.step is not None
    assert soft.step > 2
    assert soft.sharpness is not None
    assert soft.sharpness < 0.5


def test_what_stands_still_or_is_flat_has_no_ratio():
    assert seam(torch.zeros(5, 3, 8, 8)) == type(seam(moving(5)))(None, None)
    refusal(seam, torch.zeros(2, 3, 8, 8), words=["3 frames"])
