"""The memory keeps what it was given, shows it where it was, and stays small."""

import pytest
import torch

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.trajectory import dolly, orbit
from mirage.memory import LatentSpatialMemory, MemoryPolicy

GRID = (22, 40)
CAMERA = Camera.looking(horizontal_fov=65, aspect=40 / 22)


def wall(frames: int = 1, z: float = 3.0) -> DepthMap:
    """A slanted wall."""
    return DepthMap(z + torch.linspace(0, 1, GRID[1]).expand(frames, *GRID))


def noise(frames: int = 1, channels: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(frames, channels, *GRID, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("splat", ["cell", "footprint"])
@pytest.mark.parametrize("front", [0.0, 0.08])
def test_reading_where_one_wrote_is_the_identity(splat, front):
    memory = LatentSpatialMemory(6, policy=MemoryPolicy(splat=splat, front=front))
    assert memory.write(noise(), wall(), CAMERA[None]) == GRID[0] * GRID[1]
    readout = memory.read(CAMERA[None], GRID)
    assert readout.mask.all()
    torch.testing.assert_close(readout.latents, noise(), atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(readout.depth.z, wall().z)
    assert readout.offset.abs().max() < 1e-3
    assert (readout.frame == 0).all()


def test_writing_a_view_again_adds_nothing():
    memory = LatentSpatialMemory(6)
    memory.write(noise(), wall(), CAMERA[None])
    before = len(memory)
    assert memory.write(noise(seed=1), wall(), CAMERA[None]) == 0
    assert len(memory) == before


def test_invalid_depth_and_what_is_not_kept_never_enter():
    memory = LatentSpatialMemory(6)
    z = wall().z.clone()
    z[:, :5] = torch.nan
    keep = torch.ones(1, *GRID, dtype=torch.bool)
    keep[:, :, :7] = False
    assert memory.write(noise(), DepthMap(z), CAMERA[None], keep=keep) == (GRID[0] - 5) * (GRID[1] - 7)
    mask = memory.read(CAMERA[None], GRID).mask
    assert not mask[:, :5].any()
    assert not mask[:, :, :7].any()


def test_an_empty_memory_is_all_holes():
    readout = LatentSpatialMemory(6).read(orbit(CAMERA, 3), GRID)
    assert readout.latents.shape == (3, 6, *GRID)
    assert not readout.mask.any()
    assert (readout.latents == 0).all()
    assert (readout.index == -1).all()


def test_moving_twice_as_close_opens_holes_in_the_mask_and_footprints_close_them():
    near = dolly(CAMERA, 2, distance=1.5)[1:]
    known = {}
    for splat in ("cell", "footprint"):
        memory = LatentSpatialMemory(6, policy=MemoryPolicy(splat=splat))
        memory.write(noise(), DepthMap(torch.full((1, *GRID), 3.0)), CAMERA[None])
        known[splat] = memory.coverage(near, GRID).item()
    assert known["cell"] == pytest.approx(0.25, abs=0.05)
    assert known["footprint"] > 0.97


def test_a_wrong_request_is_told_so():
    memory = LatentSpatialMemory(6)
    with pytest.raises(InputError, match="same grid"):
        memory.write(noise(), DepthMap(torch.ones(1, 11, 20)), CAMERA[None])
    with pytest.raises(InputError, match="one camera per latent frame"):
        memory.write(noise(2), wall(2), CAMERA[None])
    with pytest.raises(InputError, match="camera\\[None\\]"):
        memory.read(CAMERA, GRID)
    with pytest.raises(InputError, match="NaN"):
        memory.write(noise() * torch.nan, wall(), CAMERA[None])
