"""The scale lock finds the true scale through outliers, refuses what it cannot know, and closes a drifting walk."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers import walls
from mirage.depth.align import align
from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.edits import there_and_back
from mirage.geometry.trajectory import dolly, pan
from mirage.memory import LatentSpatialMemory

GRID = (12, 16)


def random_depth(seed: int, *, frames: int = 2) -> Tensor:
    return 1 + 5 * torch.rand(frames, *GRID, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spoiled(z: Tensor, share: float, seed: int, *, one_sided: bool) -> Tensor:
    """Exactly `share` of the cells replaced: all too near by the same factor, or anything at all."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(z.numel(), generator=generator)[: int(share * z.numel())]
    z = z.clone()
    factor = 0.5 if one_sided else torch.exp(2 * torch.randn(len(chosen), generator=generator, dtype=z.dtype))
    z.view(-1)[chosen] *= factor
    return z


@given(st.floats(0.05, 20), st.integers(0, 2**31), st.floats(0, 0.4), st.booleans())
@settings(max_examples=40, deadline=None)
def test_scale_is_exact_under_outliers(scale, seed, share, one_sided):
    z = random_depth(seed)
    found = align(DepthMap(z / scale), DepthMap(spoiled(z, share, seed + 1, one_sided=one_sided)))
    assert found.accepted
    assert found.scale == pytest.approx(scale, rel=1e-6)
    assert found.shift == 0
    torch.testing.assert_close(found.depth.z, z, rtol=1e-5, atol=0)


@given(st.floats(0.2, 5), st.floats(-0.3, 3), st.integers(0, 2**31), st.floats(0, 0.4), st.booleans())
@settings(max_examples=40, deadline=None)
def test_scale_and_shift_are_exact_under_outliers(scale, shift, seed, share, one_sided):
    z = random_depth(seed) + 0.5
    found = align(
        DepthMap((z - shift * 0.5) / scale), DepthMap(spoiled(z, share, seed + 1, one_sided=one_sided)), affine=True
    )
    assert found.accepted
    assert found.scale == pytest.approx(scale, rel=1e-4)
    assert found.shift == pytest.approx(shift * 0.5, abs=1e-3)


def test_depth_measured_off_centre_is_compared_there():
    """A floor, measured everywhere at the near side of its cells: alike, once one says where it was measured."""
    rows = (torch.arange(24, dtype=torch.float64) + 0.5) / 24 + 1
    floor, near = ((5 / (rows + shift / 24))[None, :, None].expand(1, 24, 16) for shift in (0.0, 0.4))
    offset = torch.tensor([0.0, 0.4]).view(1, 2, 1, 1).expand(1, 2, 24, 16)
    assert align(DepthMap(floor), DepthMap(near)).scale < 0.99
    assert align(DepthMap(floor), DepthMap(near), offset=offset).scale == pytest.approx(1, abs=1e-6)


def test_noise_is_averaged():
    z = random_depth(0, frames=9)
    noisy = z * torch.exp(0.02 * torch.randn(z.shape, generator=torch.Generator().manual_seed(1)))
    found = align(DepthMap(noisy / 1.3), DepthMap(z))
    assert found.scale == pytest.approx(1.3, rel=0.003)  # 1728 cells: 0.05 % is one standard deviation
    assert found.residual == pytest.approx(0.0135, rel=0.2)  # the median of |N(0, 0.02)|


def test_too_little_overlap_keeps_the_estimators_scale():
    z = random_depth(2)
    seen = torch.zeros_like(z, dtype=torch.bool)
    seen[:, :1, :8] = True  # 8 of 192 cells: 4.2 %
    found = align(DepthMap(z / 2), DepthMap(z, seen))
    assert not found.accepted
    assert "4.2%" in found.reason
    torch.testing.assert_close(found.depth.z, z / 2)
    assert align(DepthMap(z / 2), DepthMap(z, seen), min_overlap=0.04).scale == pytest.approx(2)
    nothing = align(DepthMap(z), DepthMap(z, torch.zeros_like(seen)), min_overlap=0.0)
    assert not nothing.accepted
    assert math.isnan(nothing.residual)


def test_a_fit_that_explains_nothing_is_refused():
    found = align(DepthMap(random_depth(3)), DepthMap(random_depth(4)))
    assert not found.accepted
    assert found.residual > 0.05
    torch.testing.assert_close(found.depth.z, random_depth(3))
    reversed_ = align(DepthMap(7 - random_depth(3)), DepthMap(random_depth(3)), affine=True)
    assert not reversed_.accepted  # a mirror image of depth is no depth


def test_a_flat_view_tells_no_shift():
    found = align(walls(1, GRID), walls(1, GRID, 3.0), affine=True)
    assert found.accepted
    assert (found.scale, found.shift) == (pytest.approx(1.5), 0.0)
    assert "flat" in found.reason


def test_shapes_must_agree():
    with pytest.raises(InputError, match="same shape"):
        align(walls(2, (3, 4), 1.0), DepthMap(torch.ones(3, 4)))


# -- a walk with a depth source that drifts --------------------------------------------------------------------------

ROOM = torch.tensor([[-4.0, -1.5, -3.0], [4.0, 1.5, 9.0]])
CAMERA = Camera.looking(horizontal_fov=70, aspect=4 / 3)


def room_depth(camera: Camera) -> Tensor:
    """Exact z-depth [T,h,w] of the inside of a box: the nearest of three walls along each ray."""
    origin, direction = camera.rays(GRID)
    wall = torch.where(direction > 0, ROOM[1], ROOM[0])
    return ((wall - origin[:, None, None]) / direction).amin(-1)


def walk_with_drift(*, lock: bool, drift: float = 0.02, chunks: int = 20, noise: float = 0.005) -> dict[str, float]:
    """There and back through the room in chunks of three frames, each chunk's depth `drift` larger than the last's.

    return: how wrong the scale of the last chunk is, back at the start; points: median distance of all points from the
    walls, relative to the room's length; view: median relative error of what the first camera reads in the end.
    """
    turned = pan(CAMERA, chunks * 3 // 2, degrees=100)
    path = there_and_back(
        Camera(turned.c2w + (dolly(CAMERA, len(turned), distance=3).c2w - CAMERA.c2w), turned.intrinsics), chunks * 3
    )
    memory, generator, wrong = LatentSpatialMemory(1), torch.Generator().manual_seed(0), []
    for chunk in range(chunks):
        camera = path[3 * chunk : 3 * chunk + 3]
        true = room_depth(camera)
        jitter = torch.exp(noise * torch.randn(true.shape, generator=generator))
        depth = DepthMap(true * (1 + drift) ** chunk * jitter)
        if lock:
            readout = memory.read(camera, GRID)
            depth = align(depth, readout.depth, offset=readout.offset).depth
        wrong.append((depth.z / true).log().median().abs().item())
        memory.write(torch.zeros(3, 1, *GRID), depth, camera)
    position = memory.points.position
    away = torch.stack([(position - wall).abs().amin(-1) for wall in ROOM]).amin(0)
    back = memory.read(path[-1:], GRID).depth
    view = (back.z / room_depth(path[-1:]) - 1).abs()[back.valid].median().item()
    return {"return": wrong[-1], "points": (away / 12).median().item(), "view": view}


def test_a_drifting_depth_source_closes_its_loop():
    locked, free = walk_with_drift(lock=True), walk_with_drift(lock=False)
    assert free["return"] > 0.3
    assert locked["return"] < 0.01
    assert locked["points"] < free["points"] / 5


def test_drift_towards_the_eye_shows_in_the_view_and_the_lock_takes_it_out():
    locked, free = (walk_with_drift(lock=lock, drift=-0.04, chunks=10) for lock in (True, False))
    assert free["view"] > 0.1
    assert locked["view"] < free["view"] / 5
