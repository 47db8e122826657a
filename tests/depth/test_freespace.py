"""What an earlier frame looked through is not there, so its view comes back as it was, whatever later depth says."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from helpers import walls
from mirage.depth.freespace import seen_through
from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.pose import exp_rotation, make_pose
from mirage.geometry.visibility import looked_through, looked_through_torch, sight
from mirage.memory import LatentSpatialMemory
from mirage.memory.projection.zbuffer import projection

GRID = (12, 16)
CAMERA = Camera.looking(horizontal_fov=65, aspect=4 / 3)
FAR = 4.0


def aside(metres: float) -> Camera:
    """The camera, moved to the right."""
    return Camera(make_pose(torch.eye(3), torch.tensor([metres, 0.0, 0.0])), CAMERA.intrinsics)


def wall(frames: int = 1) -> DepthMap:
    """4 away, over the whole picture."""
    return walls(frames, GRID, FAR)


def both(*cameras: Camera) -> Camera:
    return Camera.concatenate([camera[None] for camera in cameras])


def test_what_hangs_before_a_wall_that_was_seen_is_seen_through():
    z = wall(2).z.clone()
    z[1, 4:8, 6:9] = 2.0
    expected = torch.zeros(2, *GRID, dtype=torch.bool)
    expected[1, 4:8, 6:9] = True
    cameras = both(CAMERA, aside(0.2))
    assert torch.equal(seen_through(DepthMap(z), cameras), expected)
    later = seen_through(DepthMap(z[1:]), cameras[1:], past=(wall(), cameras[:1]))
    assert torch.equal(later, expected[1:])


def test_who_did_not_look_there_has_no_say():
    z = torch.full((1, *GRID), 2.0)
    away = both(aside(20.0))
    assert not seen_through(DepthMap(z), away, past=(wall(), CAMERA[None])).any()
    assert not seen_through(DepthMap(z), CAMERA[None]).any()
    sky = DepthMap(wall().z, torch.zeros(1, *GRID, dtype=torch.bool))
    assert not seen_through(DepthMap(z), CAMERA[None], past=(sky, CAMERA[None])).any()
    assert not seen_through(DepthMap(z, sky.valid), CAMERA[None], past=(wall(), CAMERA[None])).any()


@given(factor=st.floats(0.96, 5.0), metres=st.floats(-1.0, 1.0))
def test_what_lies_on_a_surface_or_behind_it_is_not_seen_through(factor, metres):
    depth = DepthMap(wall().z * factor)
    assert not seen_through(depth, both(aside(metres)), past=(wall(), CAMERA[None])).any()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), metres=st.floats(0.05, 0.6))
def test_the_first_view_comes_back_as_it_was_whatever_depth_later_views_claim(seed, metres):
    """But for its border, into which what lies just outside of the picture spreads."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(3, 4, *GRID, generator=generator)
    z = FAR * torch.cat([torch.ones(1, *GRID), 0.3 + 1.7 * torch.rand(2, *GRID, generator=generator)])
    cameras = both(CAMERA, aside(metres), aside(-metres))
    depth = DepthMap(z)
    for kept in (True, False):
        memory = LatentSpatialMemory(4)
        memory.write(latents, depth, cameras, keep=~seen_through(depth, cameras) if kept else None)
        back = memory.read(CAMERA[None], GRID)
        same = (back.latents[0] - latents[0]).abs().amax(0) < 1e-2  # kept in half precision
        assert same[1:-1, 1:-1].all() == kept


def test_what_does_not_fit_together_is_told():
    with pytest.raises(InputError, match="one camera each"):
        seen_through(wall(2), CAMERA[None])
    with pytest.raises(InputError, match="earlier depth"):
        seen_through(wall(), CAMERA[None], past=(walls(1, (3, 4), 1.0), CAMERA[None]))


@given(seed=st.integers(0, 10**6), frames=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_who_looked_through_is_what_sight_says_of_each(seed, frames):
    """The fast question is the definition's, for points anywhere: behind, aside, at the edge, at the eye itself."""
    generator = torch.Generator().manual_seed(seed)
    turn = exp_rotation(0.7 * torch.randn(frames, 3, generator=generator))
    camera = Camera(make_pose(turn, torch.randn(frames, 3, generator=generator)), CAMERA.intrinsics)
    z = 2 + 3 * torch.rand(frames, *GRID, generator=generator)
    depth = DepthMap(z, torch.rand(z.shape, generator=generator) > 0.2)
    points = torch.cat([3 * torch.randn(500, 3, generator=generator), camera.center])
    expected = sight(points, camera, depth).before.any(0)
    assume(expected.any())
    assert (looked_through(points, camera, depth) == expected).float().mean() > 0.995  # a rounding at a border


@given(seed=st.integers(0, 10**6), frames=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_the_compiled_question_is_the_definition_to_the_bit(seed, frames):
    compiled = pytest.importorskip("mirage.geometry.visibility_numba").looked_through_numba
    generator = torch.Generator().manual_seed(seed)
    turn = exp_rotation(0.7 * torch.randn(frames, 3, generator=generator))
    camera = Camera(make_pose(turn, torch.randn(frames, 3, generator=generator)), CAMERA.intrinsics)
    points = torch.cat([3 * torch.randn(1500, 3, generator=generator), camera.center])
    limit = 5 * torch.rand(frames, GRID[0] + 1, GRID[1] + 1, generator=generator)
    limit[limit < 1] = -torch.inf
    since = torch.randint(0, len(points) + 1, (frames,), generator=generator).tolist()
    matrix = projection(camera, GRID)
    assert torch.equal(compiled(points, matrix, limit, since), looked_through_torch(points, matrix, limit, since))
