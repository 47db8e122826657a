"""Toys that the tests of training share: a small model, and the loss of a step."""

from typing import Any

import torch

from mirage.models.tiny import tiny_world
from mirage.training.past import Seen

SIZE = (64, 96)


def small_model(**choices):
    """With a stride of 8 and 8 channels, so that a clip of `SIZE` has a grid of 8 x 12."""
    its: dict[str, Any] = {"channels": 8, "stride": 8, "patch_size": (1, 4, 4)}
    its |= {"dim_mult": (1, 2, 2), "temporal_downsample": (True, True)}
    return tiny_world(**its | choices)


def seen(task, step) -> Seen:
    """What a step sees, of those that show something at once."""
    batch = task.maker(step, torch.Generator().manual_seed(step))
    assert isinstance(batch, Seen)
    return batch


def at(task, step):
    """The loss of a step."""
    generator = torch.Generator().manual_seed(step)
    return task.loss(task.maker(step, generator), generator)[0]
