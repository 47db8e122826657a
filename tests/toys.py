"""Toys that the tests of training share: a small model, and the loss of a step."""

import json
from pathlib import Path
from typing import Any

import torch

from mirage.models.tiny import MiniConfig, tiny_world
from mirage.training.past import Seen
from mirage.training.samples import Sample

SIZE = (64, 96)
SMALL = MiniConfig(
    grouped=None, base_dim=8, decoder_base_dim=8, channels=8, dim_mult=(1, 2, 2), heads=2, head_dim=24, layers=2,
    ffn_dim=64, branch_layers=(0,), detail_channels=16, detail_blocks=1, text_dim=32, text_layers=1, depth_hidden=16,
    size=SIZE, chunk_frames=17,
)  # fmt: skip


def small_model(**choices):
    """With a stride of 8 and 8 channels, so that a clip of `SIZE` has a grid of 8 x 12."""
    its: dict[str, Any] = {"channels": 8, "stride": 8, "patch_size": (1, 4, 4)}
    its |= {"dim_mult": (1, 2, 2), "temporal_downsample": (True, True)}
    return tiny_world(**its | choices)


def curve(folder: Path) -> list[dict[str, Any]]:
    """A run's losses and evaluations, without the clock."""
    lines = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def batch_of(maker, number: int, *, seed: int = 0):
    """What a maker makes of a number and of samples of their own."""
    size = maker.size(number)
    return maker(number, [Sample(seed, number * size + place) for place in range(size)])


def seen(task, step) -> Seen:
    """What a step sees, of those that show something at once."""
    batch = batch_of(task.maker, step)
    assert isinstance(batch, Seen)
    return batch


def at(task, step):
    """The loss of a step."""
    return task.loss(batch_of(task.maker, step), torch.Generator().manual_seed(step))[0]
