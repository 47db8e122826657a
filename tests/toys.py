"""Toys that the tests of training share: a small model, and the loss of a step."""

import torch

from mirage.models.tiny import tiny_world

SIZE = (64, 96)


def small_model(**choices):
    """With a stride of 8 and 8 channels, so that a clip of `SIZE` has a grid of 8 x 12."""
    its = {"channels": 8, "dim_mult": (1, 2, 2), "temporal_downsample": (True, True), "stride": 8}
    return tiny_world(**its | {"patch_size": (1, 4, 4)} | choices)


def at(task, step):
    """The loss of a step."""
    generator = torch.Generator().manual_seed(step)
    return task.loss(task.maker(step, generator), generator)[0]
