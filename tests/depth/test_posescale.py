"""The scale of a camera path is found from depth, or left alone where nothing tells."""

import pytest
import torch

from helpers import walls
from mirage.depth.posescale import pose_scale, rescaled
from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.scenes import sample_clip


@pytest.mark.parametrize(("seed", "kind"), [(3, "orbit"), (5, "there_and_back"), (6, "approach"), (8, "orbit")])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_path_in_other_units_is_brought_back(seed, kind, noise):
    clip = sample_clip(seed, frames=49, size=(48, 64), kind=kind, depth_every=4)
    depth = clip.depth.resized((24, 32))
    factor = 1 + noise * torch.randn(depth.shape, generator=torch.Generator().manual_seed(seed))
    found = pose_scale(DepthMap(depth.z * factor, depth.valid), rescaled(clip.camera[::4], 0.05))
    assert found.believed, found.reason
    assert found.scale * 0.05 == pytest.approx(1, rel=0.2 if noise else 0.1)


def test_what_does_not_tell_is_left_alone():
    depth = walls(5, (12, 16))
    still = pose_scale(depth, Camera(torch.eye(4).expand(5, 4, 4), torch.tensor([0.8, 1.0, 0.5, 0.5])))
    assert (still.scale, still.believed) == (1.0, False)
    along = torch.eye(4).repeat(5, 1, 1)
    along[:, 0, 3] = torch.linspace(0, 0.4, 5)  # sliding along a wall
    assert not pose_scale(depth, Camera(along, torch.tensor([0.8, 1.0, 0.5, 0.5]))).believed
    with pytest.raises(InputError, match="one clip"):
        pose_scale(depth, Camera(along[:3], torch.tensor([0.8, 1.0, 0.5, 0.5])))
