"""Depth maps: missing depth is a mask and stays one; no resize invents a depth that nobody measured."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mirage.errors import InputError
from mirage.geometry.depthmap import DepthMap

seeds = st.integers(0, 10_000)
scales = st.sampled_from([(1, 1), (2, 2), (4, 4), (3, 5), (8, 8), (16, 16)])


def rough(seed, size):
    """Two surfaces, 1 and 10 away, meeting at random places, with holes."""
    generator = torch.Generator().manual_seed(seed)
    near = torch.rand(*size, generator=generator) < 0.5
    z = torch.where(near, 1.0, 10.0)
    z[torch.rand(*size, generator=generator) < 0.2] = 0.0
    return z


@settings(max_examples=60, deadline=None)
@given(seeds, scales)
def test_a_smaller_map_holds_only_depths_that_were_measured(seed, scale):
    z = rough(seed, (6 * scale[0], 5 * scale[1]))
    small = DepthMap(z).resized((6, 5))
    assert set(small.z[small.valid].unique().tolist()) <= {1.0, 10.0}


@settings(max_examples=60, deadline=None)
@given(seeds, scales, st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_so_does_one_of_any_size(seed, scale, size):
    other = DepthMap(rough(seed, (6 * scale[0], 5 * scale[1]))).resized(size)
    assert other.shape == size
    assert set(other.z[other.valid].unique().tolist()) <= {1.0, 10.0}


def test_a_silhouette_is_one_surface_or_the_other():
    z = torch.ones(8, 8)
    z[:, 3:] = 7.0
    small = DepthMap(z).resized((2, 2))
    assert set(small.z.flatten().tolist()) <= {1.0, 7.0}


@pytest.mark.parametrize("missing", [0.0, -1.0, float("nan"), float("inf")])
def test_what_is_missing_is_a_mask_and_never_a_number(missing):
    z = torch.full((4, 4), 2.0)
    z[1, 2] = missing
    depth = DepthMap(z)
    assert depth.valid.sum() == 15
    assert not depth.valid[1, 2]
    assert torch.isfinite(depth.z).all()
    assert not DepthMap(torch.full((4, 4), missing)).resized((1, 1)).valid.any()


def test_a_mask_can_only_take_away():
    z = torch.tensor([[1.0, 0.0], [2.0, 3.0]])
    depth = DepthMap(z, torch.tensor([[True, True], [False, True]]))
    assert depth.valid.tolist() == [[True, False], [False, True]]
    assert not depth.masked(torch.zeros(2, 2, dtype=torch.bool)).valid.any()


def test_a_cell_with_little_to_go_by_is_invalid():
    z = torch.zeros(4, 4)
    z[1, 1] = 5.0
    assert not DepthMap(z).resized((1, 1)).valid.any()
    z[1, 1:3] = z[2, 1:3] = 5.0
    z[0] = z[3, 0] = 5.0
    assert DepthMap(z).resized((1, 1)).valid.all()


def test_scaling_below_zero_is_invalid():
    depth = DepthMap(torch.tensor([[1.0, 4.0]])).scaled(1.0, -2.0)
    assert depth.valid.tolist() == [[False, True]]
    assert depth.z[0, 1] == 2.0


def test_leading_axes_are_kept():
    depth = DepthMap(torch.rand(2, 3, 8, 8) + 1)
    assert depth.resized((4, 4)).shape == (2, 3, 4, 4)
    assert depth[1].shape == (3, 8, 8)
    assert depth[1, 2].shape == (8, 8)
    assert len(depth) == 2


@pytest.mark.parametrize("bad", [torch.ones(4), torch.ones(4, 4, dtype=torch.bool)])
def test_other_shapes_and_types_are_refused(bad):
    with pytest.raises(InputError):
        DepthMap(bad)
    with pytest.raises(InputError):
        DepthMap(torch.ones(4, 4), torch.ones(3, 4, dtype=torch.bool))


def test_maps_join_along_their_first_axis_and_holes_stay_holes():
    parts = [DepthMap(rough(seed, (seed + 1, 4, 5))) for seed in range(3)]
    whole = DepthMap.concatenate(parts)
    assert whole.shape == (6, 4, 5)
    assert torch.equal(whole.valid, torch.cat([part.valid for part in parts]))
    assert torch.equal(whole[1:3].z, parts[1].z)
