"""Two worlds become one that knows what either knew, and knows nothing twice."""

import pytest
import torch

from helpers import walls
from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import pan
from mirage.memory import LatentSpatialMemory, MemoryPolicy
from mirage.memory.merge import merge

GRID = (12, 16)
CAMERA = Camera.looking(horizontal_fov=60, aspect=4 / 3)


def world(camera: Camera, *, seed: int = 0, **policy) -> LatentSpatialMemory:
    memory = LatentSpatialMemory(4, policy=MemoryPolicy(**policy))
    latents = torch.randn(len(camera), 4, *GRID, generator=torch.Generator().manual_seed(seed))
    memory.write(latents, walls(len(camera), GRID, 3.0), camera)
    return memory


@pytest.mark.parametrize("features", ["float16", "int8"])
def test_the_merged_world_knows_what_either_knew(features):
    left, right = pan(CAMERA, 2, degrees=-90), pan(CAMERA, 2, degrees=90)
    a, b = world(left[1:], features=features), world(right[1:], seed=1, features=features)
    both = merge(a, b)
    assert len(both) == len(a) + len(b)
    assert both.frames_written == 2
    for camera, source, frame in ((left[1:], a, 0), (right[1:], b, 1)):
        seen, alone = both.read(camera, GRID), source.read(camera, GRID)
        assert torch.equal(seen.mask, alone.mask)
        assert torch.equal(seen.latents, alone.latents)
        assert (seen.frame[seen.mask] == frame).all()


def test_a_world_merged_with_itself_stays_as_it_is():
    a = world(pan(CAMERA, 3))
    assert len(merge(a, a)) == len(a)
    assert torch.equal(merge(a, a).points.position, a.points.position)


def test_neither_world_is_changed_and_the_empty_one_adds_nothing():
    a, b, empty = world(CAMERA[None]), world(pan(CAMERA, 2)[1:], seed=1), LatentSpatialMemory(4)
    before = len(a), len(b)
    assert len(merge(a, empty)) == len(merge(empty, a)) == len(a)
    merge(a, b)
    assert (len(a), len(b)) == before


def test_what_does_not_fit_together_is_told():
    with pytest.raises(InputError, match="channels"):
        merge(world(CAMERA[None]), LatentSpatialMemory(3))
    with pytest.raises(InputError, match="features"):
        merge(world(CAMERA[None]), world(CAMERA[None], features="int8"))
    with pytest.raises(InputError, match="budget"):
        merge(*(world(pan(CAMERA, 2, degrees=side * 60), max_bytes=16000) for side in (-1, 1)))
