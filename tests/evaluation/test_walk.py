"""The evaluation drives real sessions: a world model of random weights walks and is measured, every row is there."""

import pytest

from helpers import random_image
from mirage.errors import InputError
from mirage.evaluation.options import SyntheticOptions
from mirage.evaluation.synthetic import run_synthetic
from mirage.evaluation.variants import VARIANTS
from mirage.evaluation.walk import generator
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import pan
from mirage.models.world import WorldModel


def test_a_walk_has_a_frame_per_pose_and_says_what_was_known(model: WorldModel) -> None:
    height, width = model.size
    image = random_image((height, width), seed=0)
    path = pan(Camera.looking(aspect=width / height), 7, degrees=5)
    walk = generator(model)(image, path, ["a room"])
    assert walk.frames.shape == (7, 3, height, width)
    assert walk.known is not None
    assert walk.depth is not None
    assert (len(walk.known), len(walk.depth)) == (2, 3)
    assert walk.known.float().mean() > 0.5
    assert walk.seconds > 0


def test_every_ablation_walks_and_is_measured(model: WorldModel, tmp_path) -> None:
    names = tuple(VARIANTS)
    options = SyntheticOptions(out=tmp_path, scenes=1, chunks=1, memories=names, steps=1)
    content = run_synthetic(model, options)
    assert not content["failures"]
    assert set(content["return"]) == set(names)
    assert content["coverage_by_chunk"]["latent"][0] > content["coverage_by_chunk"]["none"][0] == 0
    assert content["memory_bytes_by_chunk"]["latent, int8"][0] < content["memory_bytes_by_chunk"]["latent"][0]
    assert all(content["return"][name]["psnr"] is not None for name in names)
    assert set(content["controls"]) == {"copy first", "repeat last", "stop half-way"}
    with pytest.raises(InputError, match="no memory 'gold'"):
        run_synthetic(model, SyntheticOptions(out=tmp_path, memories=("gold",)))
