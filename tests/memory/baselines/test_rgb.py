"""The explicit 3D baseline, with a codec that can be checked by hand: latents are the means of 4x4 pixels."""

import pytest
import torch
from einops import reduce, repeat
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import walls
from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.pose import make_pose
from mirage.memory.baselines.rgb import RGBPointMemory, filled, upsampled

GRID, STRIDE = (6, 8), 4
CAMERA = Camera.looking(aspect=8 / 6)[None]


def decode(latents, state):
    """The state counts the latents of the stream so far."""
    return repeat(latents, "t c h w -> t c (h a) (w b)", a=STRIDE, b=STRIDE), (state or 0) + len(latents)


def encode(frames):
    return reduce(frames, "t c (h a) (w b) -> t c h w", "mean", a=STRIDE, b=STRIDE)


def cloud(**choices):
    return RGBPointMemory(3, decode=decode, encode=encode, **choices)


def picture(seed=0):
    return torch.rand(1, 3, *GRID, generator=torch.Generator().manual_seed(seed))


def flat(z=2.0, count=1):
    return walls(count, GRID, z)


def moved(x=0.0, y=0.0, z=0.0):
    return Camera(make_pose(torch.eye(3), torch.tensor([x, y, z])), CAMERA.intrinsics[0])[None]


def test_what_is_written_is_read_from_the_same_camera():
    memory = cloud()
    latents = picture()
    assert memory.write(latents, flat(), CAMERA) == len(memory) == 24 * 32
    readout = memory.read(CAMERA, GRID)
    assert readout.mask.all()
    torch.testing.assert_close(readout.latents, latents, atol=0.5 / 255 + 1e-6, rtol=0)
    torch.testing.assert_close(readout.depth.z, flat().z)
    assert (readout.frame == 0).all()
    assert (readout.offset == 0).all()


def test_before_anything_is_written_every_view_is_a_hole():
    readout = cloud().read(CAMERA, GRID)
    assert readout.latents.shape == (1, 3, *GRID)
    assert not readout.mask.any()
    nothing = cloud()
    assert nothing.write(picture(), flat(), CAMERA, keep=torch.zeros(1, *GRID, dtype=torch.bool)) == 0
    assert not nothing.read(CAMERA, GRID).mask.any()


def test_a_step_aside_moves_the_picture_and_uncovers_its_edge():
    memory = cloud()
    latents = picture()
    memory.write(latents, flat(), CAMERA)
    cell = 2.0 / (CAMERA.intrinsics[0, 0] * GRID[1])  # one cell at that distance
    readout = memory.read(moved(x=float(cell)), GRID)
    assert readout.mask[..., :-1].all()
    assert not readout.mask[..., -1].any()
    torch.testing.assert_close(readout.latents[..., :-1], latents[..., 1:], atol=0.01, rtol=0)
    assert (readout.latents[..., -1] == 0).all()
    assert (readout.frame[..., -1] == -1).all()
    assert (readout.index[..., -1] == -1).all()
    half = memory.read(moved(x=float(0.8 * cell)), GRID)  # less than half of the last cells is known
    assert not half.mask[..., -1].any()
    assert memory.read(moved(x=float(0.4 * cell)), GRID).mask.all()


def test_closer_by_half_has_no_holes_between_the_points():
    memory = cloud()
    memory.write(picture(), flat(), CAMERA)
    assert memory.read(moved(z=1.0), GRID).mask.all()


def test_the_nearer_surface_is_seen_and_says_where_it_came_from():
    memory = cloud()
    near, far = picture(1), picture(2)
    memory.write(far, flat(4.0), CAMERA)
    memory.write(near, flat(2.0), CAMERA)
    readout = memory.read(CAMERA, GRID)
    assert (readout.frame == 1).all()
    torch.testing.assert_close(readout.latents, near, atol=0.01, rtol=0)
    torch.testing.assert_close(memory.points.frame.bincount(), torch.tensor([768, 768]))


def test_depth_of_every_pixel_is_used_as_it_is():
    memory = cloud()
    z = 2 + torch.rand(1, 24, 32, generator=torch.Generator().manual_seed(3))
    memory.write(picture(), DepthMap(z), CAMERA)
    seen = memory.render(CAMERA)
    torch.testing.assert_close(seen[2], z)


def test_voxels_merge_what_lies_together_and_rewriting_adds_nothing():
    memory = cloud(voxel=0.2)
    added = memory.write(picture(), flat(), CAMERA)
    assert 0 < added < 24 * 32 / 4
    assert memory.write(picture(5), flat(), CAMERA) == 0
    assert len(memory) == added
    assert memory.read(CAMERA, GRID).mask.all()
    cubes = (memory.points.position / 0.2).floor()
    assert len(cubes.unique(dim=0)) == added


def test_a_snapshot_takes_back_points_and_the_stream():
    memory = cloud()
    memory.write(picture(), flat(), CAMERA)
    moment, before = memory.snapshot(), memory.read(CAMERA, GRID)
    memory.write(picture(7).expand(2, -1, -1, -1), flat(1.0, 2), Camera.concatenate([CAMERA, CAMERA]))
    assert not torch.equal(memory.read(CAMERA, GRID).latents, before.latents)
    assert memory.snapshot()[1] == 3
    memory.restore(moment)
    assert torch.equal(memory.read(CAMERA, GRID).latents, before.latents)
    assert (len(memory), memory.snapshot()[1]) == (24 * 32, 1)


def test_its_bytes_are_those_of_its_tensors():
    memory = cloud()
    memory.write(picture(), flat(), CAMERA)
    n = len(memory)
    assert 23 * n <= memory.nbytes <= 2 * (23 + 1) * n


@pytest.mark.parametrize("voxel", [0.0, -1.0, float("nan")])
def test_a_voxel_that_is_none_is_refused(voxel):
    with pytest.raises(InputError, match="voxel"):
        cloud(voxel=voxel)


def test_wrong_shapes_are_refused():
    memory = cloud()
    with pytest.raises(InputError, match="latents"):
        memory.write(torch.rand(1, 4, *GRID), flat(), CAMERA)
    with pytest.raises(InputError, match="per latent frame"):
        memory.write(picture(), flat(count=2), CAMERA)
    memory.write(picture(), flat(), CAMERA)
    with pytest.raises(InputError, match="whole cells"):
        memory.read(CAMERA, (5, 8))


def test_upsampled_depth_is_exact_on_a_plane_and_never_between_two_surfaces():
    v, u = torch.meshgrid((torch.arange(6) + 0.5) / 6, (torch.arange(8) + 0.5) / 8, indexing="ij")
    plane = 1 / (0.5 - 0.03 * u + 0.02 * v)
    fine_v, fine_u = torch.meshgrid((torch.arange(24) + 0.5) / 24, (torch.arange(32) + 0.5) / 32, indexing="ij")
    inner = (slice(2, -2), slice(2, -2))  # beyond the outermost centres it is held
    torch.testing.assert_close(
        upsampled(DepthMap(plane[None]), (24, 32)).z[0][inner], (1 / (0.5 - 0.03 * fine_u + 0.02 * fine_v))[inner]
    )
    step = torch.where(u < 0.5, 1.0, 5.0)[None]
    fine = upsampled(DepthMap(step), (24, 32)).z
    torch.testing.assert_close(fine, torch.where(fine_u < 0.5, 1.0, 5.0)[None])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), holes=st.floats(0, 1))
def test_upsampled_depth_lies_between_its_cells_and_holes_stay(seed, holes):
    generator = torch.Generator().manual_seed(seed)
    depth = DepthMap(1 + torch.rand(1, *GRID, generator=generator), torch.rand(1, *GRID, generator=generator) >= holes)
    fine = upsampled(depth, (24, 32))
    assert torch.equal(fine.valid, repeat(depth.valid, "t h w -> t (h a) (w b)", a=4, b=4))
    nearest = repeat(depth.z, "t h w -> t (h a) (w b)", a=4, b=4)
    assert ((fine.z / nearest - 1).abs() <= 0.1 + 1e-5)[fine.valid].all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), share=st.floats(0, 1), height=st.integers(1, 9), width=st.integers(1, 9))
def test_filling_keeps_what_is_known_and_invents_no_extremes(seed, share, height, width):
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(2, 3, height, width, generator=generator)
    known = torch.rand(2, height, width, generator=generator) < share
    full = filled(values, known)
    assert torch.equal(full.transpose(0, 1)[:, known], values.transpose(0, 1)[:, known])
    for image, mask, result in zip(values, known, full, strict=True):
        if mask.any():
            assert result.min() >= image[:, mask].min() - 1e-5
            assert result.max() <= image[:, mask].max() + 1e-5
        else:
            assert (result == 0).all()
