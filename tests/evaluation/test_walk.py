"""The evaluation drives real sessions: a world model of random weights walks and is measured, every row is there."""

import pytest
import torch

from helpers import random_image
from mirage.errors import InputError
from mirage.evaluation.options import SyntheticOptions
from mirage.evaluation.synthetic import run_synthetic
from mirage.evaluation.validation import walked
from mirage.evaluation.variants import VARIANTS
from mirage.evaluation.walk import generator
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.trajectory import pan
from mirage.models.world import WorldModel
from mirage.training.clips import LatentClip


@pytest.mark.parametrize("larger", [1, 2])
def test_a_walk_has_a_frame_per_pose_and_says_what_was_known(model: WorldModel, larger: int) -> None:
    """Frames are as large as what they are compared with, also where that is larger than the model's own."""
    height, width = model.size[0] * larger, model.size[1] * larger
    image = random_image((height, width), seed=0)
    path = pan(Camera.looking(aspect=width / height), 7, degrees=5)
    walk = generator(model)(image, path, ["a room"])
    assert walk.frames.shape == (7, 3, height, width)
    assert walk.known is not None
    assert walk.depth is not None
    assert (len(walk.known), len(walk.depth)) == (2, 3)
    assert walk.known.float().mean() > 0.5
    assert walk.seconds > 0


def test_a_clip_that_is_larger_than_the_models_frames_is_walked_as_it_is(model: WorldModel) -> None:
    grid = [2 * side // model.stride for side in model.size]
    latents = torch.randn(3, model.channels, *grid, generator=torch.Generator().manual_seed(0))
    path = pan(Camera.looking(aspect=grid[1] / grid[0]), 3, degrees=5)
    out, back = walked(model, LatentClip(latents, latents, DepthMap(torch.ones(3, *grid)), path, ""))
    assert (out.shape, back.shape) == (latents.shape, latents[1:].shape)


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
