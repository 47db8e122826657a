"""The memory keeps what it was given, shows it where it was, and stays small."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import walls
from mirage.errors import InputError
from mirage.evaluation.speed.memory_speed import PAPER, noisy_walk, room_depth, wander, wrong_share
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.trajectory import dolly, orbit, pan
from mirage.memory import LatentSpatialMemory, MemoryPolicy
from mirage.memory.checked import check_state
from mirage.memory.points import PAGE
from mirage.memory.policy import Features
from mirage.memory.table import Table

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
        memory.write(noise(), walls(1, GRID, 3.0), CAMERA[None])
        known[splat] = memory.coverage(near, GRID).item()
    assert known["cell"] == pytest.approx(0.25, abs=0.05)
    assert known["footprint"] > 0.97


def test_a_wrong_request_is_told_so():
    memory = LatentSpatialMemory(6)
    with pytest.raises(InputError, match="same grid"):
        memory.write(noise(), walls(1, (11, 20), 1.0), CAMERA[None])
    with pytest.raises(InputError, match="one camera per latent frame"):
        memory.write(noise(2), wall(2), CAMERA[None])
    with pytest.raises(InputError, match="or one"):
        memory.read(CAMERA[None, None], GRID)
    with pytest.raises(InputError, match="NaN"):
        memory.write(noise() * torch.nan, wall(), CAMERA[None])


# -- the write gate --------------------------------------------------------------------------------------------------


def test_a_hidden_view_written_again_adds_nothing():
    """What stands before a wall does not make the wall unknown."""
    memory = LatentSpatialMemory(6)
    memory.write(noise(), wall(z=5.0), CAMERA[None])
    memory.write(noise(seed=1), wall(z=2.0), CAMERA[None])
    assert memory.write(noise(seed=2), wall(z=5.0), CAMERA[None]) == 0
    assert memory.write(noise(seed=2), wall(z=2.0), CAMERA[None]) == 0


def test_what_is_behind_another_surface_is_never_shown():
    memory = LatentSpatialMemory(6)
    memory.write(noise(), wall(z=5.0), CAMERA[None])
    memory.write(noise(seed=1), wall(z=2.0), CAMERA[None])
    readout = memory.read(orbit(CAMERA, 3, degrees=4, radius=2), GRID)
    middle = (..., slice(4, -4), slice(8, -8))
    assert (readout.frame[middle] == 1).all()


def test_all_is_the_published_behaviour():
    memory = LatentSpatialMemory(6, policy=MemoryPolicy(admit="all"))
    assert [memory.write(noise(), wall(), CAMERA[None]) for _ in range(3)] == [GRID[0] * GRID[1]] * 3


def test_the_frames_of_one_write_enter_one_after_the_other():
    memory = LatentSpatialMemory(6)
    assert memory.write(noise(4), wall(4), CAMERA[None][[0] * 4]) == GRID[0] * GRID[1]
    one_by_one = LatentSpatialMemory(6)
    path, latents, depth = wander(6), noise(6), room_depth(wander(6), GRID)
    memory.clear()
    memory.write(latents, depth, path)
    for t in range(6):
        one_by_one.write(latents[t : t + 1], depth[t : t + 1], path[t : t + 1])
    assert torch.equal(memory.points.position, one_by_one.points.position)
    assert memory.frames_written == one_by_one.frames_written == 6


def test_a_closer_look_replaces_what_is_coarse():
    memory = LatentSpatialMemory(6)
    memory.write(noise(), walls(1, GRID, 6.0), CAMERA[None])
    coarse = memory.points.footprint.max().item()
    near = dolly(CAMERA, 2, distance=4.5)[1:]
    memory.write(noise(seed=1), walls(1, GRID, 1.5), near)
    readout = memory.read(near, GRID)
    assert (readout.frame == 1).all()
    assert (memory.points.footprint < coarse / 3).sum() == GRID[0] * GRID[1]
    assert len(memory) < 2 * GRID[0] * GRID[1], "the coarse points that the closer look covers are gone"


# -- a noisy walk there and back -------------------------------------------------------------------------------------


def test_a_noisy_walk_there_and_back_stays_small_and_becomes_less_wrong():
    """50 chunks of 9 frames, on a quarter of the cells; benchmarks/growth.py has the figures of all, and of others."""
    gated, append = LatentSpatialMemory(1), LatentSpatialMemory(1, policy=PAPER)
    for memory in (gated, append):
        noisy_walk(memory, chunks=50, grid=GRID)
    assert len(gated) * 10 <= len(append)
    assert wrong_share(gated, 450, GRID) <= wrong_share(append, 450, GRID) / 4


# -- the budget ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", ["float16", "int8", "float32"])
@pytest.mark.parametrize("evict", ["coverage", "oldest", "least_read"])
def test_a_budget_is_never_exceeded_at_any_moment(features, evict, monkeypatch):
    budget = 200_000
    memory = LatentSpatialMemory(6, policy=MemoryPolicy(max_bytes=budget, features=features, evict=evict))
    allocated = []
    append = Table.append

    def watched(table: Table, **values: torch.Tensor) -> None:
        append(table, **values)
        allocated.append(memory.nbytes)

    monkeypatch.setattr(Table, "append", watched)
    path = wander(300)[::10]
    for t in range(len(path)):
        memory.write(noise(seed=t), room_depth(path[t : t + 1], GRID), path[t : t + 1])
        memory.read(path[t : t + 1], GRID)
    assert max(allocated) <= budget
    assert len(memory) > 0.8 * memory._room


@settings(max_examples=15, deadline=None)
@given(
    places=st.lists(st.integers(0, 290), min_size=1, max_size=12),
    evict=st.sampled_from(["coverage", "oldest"]),
    budget=st.sampled_from([90_000, 150_000]),
)
def test_evicting_is_deterministic_and_keeps_what_it_says(places, evict, budget):
    def walked() -> LatentSpatialMemory:
        memory = LatentSpatialMemory(2, policy=MemoryPolicy(max_bytes=budget, evict=evict))
        for k in places:
            camera = wander(300)[k : k + 1]
            memory.write(noise(channels=2, seed=k), room_depth(camera, GRID), camera)
            assert memory.nbytes <= budget
        return memory

    one, other = walked(), walked()
    assert torch.equal(one.points.position, other.points.position)
    assert one.frames_written == len(places)
    cloud = one.cloud
    for axis, k in (("x", 0), ("y", 1), ("z", 2)):
        pages = getattr(cloud, axis).view(-1, PAGE)
        inside = (pages >= cloud.low[:, k : k + 1]) & (pages <= cloud.high[:, k : k + 1])
        assert inside.flatten()[: len(one)].all(), "every point lies in the box of its page"


def test_oldest_first_forgets_the_start_of_the_walk():
    memory = LatentSpatialMemory(2, policy=MemoryPolicy(max_bytes=120_000, evict="oldest", admit="all"))
    path = wander(300)[::30]
    for t in range(len(path)):
        memory.write(noise(channels=2, seed=t), room_depth(path[t : t + 1], GRID), path[t : t + 1])
    assert memory.points.frame.min() > 2
    assert memory.points.frame.max() == len(path) - 1


@given(st.floats(-45, 38), st.floats(-4, 4), st.sampled_from(["float32", "float16", "int8"]))
@settings(max_examples=40, deadline=None)
def test_what_a_write_takes_a_save_takes(depth, focal, features):
    """Of any depth and lens that float32 has: refused when it is written and not after the walk, and then nothing of it
    is kept."""
    memory = LatentSpatialMemory(6, policy=MemoryPolicy(features=features))
    z = wall().z
    z[0, 3, 4] = 10**depth
    camera = Camera(CAMERA.c2w, CAMERA.intrinsics * torch.tensor([10**focal, 10**focal, 1, 1]))
    try:
        memory.write(noise(), DepthMap(z), camera[None])
    except InputError:
        assert len(memory) == memory.frames_written == 0
        return
    check_state(*memory.state(), "the memory to save")


@pytest.mark.parametrize("z", [1e-45, 1e-44])
def test_a_depth_that_leaves_a_point_no_width_is_refused(z):
    memory, depth = LatentSpatialMemory(6), wall().z
    depth[0, 3, 4] = z
    with pytest.raises(InputError, match="as wide as 0"):
        memory.write(noise(), DepthMap(depth), CAMERA[None])
    assert memory.frames_written == 0


def test_a_budget_that_holds_nothing_is_refused():
    with pytest.raises(InputError, match="holds no tile"):
        LatentSpatialMemory(48, policy=MemoryPolicy(max_bytes=1000))
    with pytest.raises(InputError, match="larger budget"):
        LatentSpatialMemory(6, policy=MemoryPolicy(max_bytes=30_000)).write(noise(), wall(), CAMERA[None])


@pytest.mark.parametrize(("bytes_", "word"), [(2**47, "give less"), (2**60, "from 1 to"), (10**40, "from 1 to")])
def test_a_budget_that_no_machine_has_is_refused(bytes_, word):
    with pytest.raises(InputError, match=word):
        LatentSpatialMemory(48, policy=MemoryPolicy(max_bytes=bytes_))


def test_a_long_walk_under_a_small_budget_keeps_cameras_of_all_of_it():
    memory = LatentSpatialMemory(1, policy=MemoryPolicy(max_bytes=60_000))
    small, depth = (4, 8), walls(1, (4, 8))
    for _ in range(100):
        memory.write(torch.zeros(1, 1, *small), depth, CAMERA[None])
    assert memory.frames_written == 100
    kept = memory.camera_frames
    assert len(kept) == len(memory.cameras) < 100
    assert (kept[0], kept[-1]) == (0, 99)
    assert kept.diff().min() > 0
    assert kept.diff().max() <= 2 * 100 / (len(kept) // 2)


# -- keeping ---------------------------------------------------------------------------------------------------------


def test_snapshots_undo_and_branch_exactly():
    memory = LatentSpatialMemory(6, policy=MemoryPolicy(max_bytes=250_000))
    path = wander(300)[::20]
    depth = room_depth(path, GRID)

    def walk(frames: range) -> None:
        for t in frames:
            memory.write(noise(seed=t), depth[t : t + 1], path[t : t + 1])

    def everything() -> tuple[torch.Tensor, ...]:
        points, readout = memory.points, memory.read(path, GRID)
        return points.position, points.feature, points.frame, readout.latents, readout.index, memory.cameras.c2w

    walk(range(5))
    fork, at_fork = memory.snapshot(), everything()
    walk(range(5, 10))
    left, at_left = memory.snapshot(), everything()
    memory.restore(fork)
    walk(range(10, 15))
    right, at_right = memory.snapshot(), everything()
    for snapshot, then in ((left, at_left), (fork, at_fork), (right, at_right), (left, at_left)):
        memory.restore(snapshot)
        assert all(torch.equal(one, other) for one, other in zip(everything(), then, strict=True))
    memory.restore(fork)
    walk(range(5, 10))
    assert all(torch.equal(one, other) for one, other in zip(everything(), at_left, strict=True))


def test_clearing_can_be_undone():
    memory = LatentSpatialMemory(6)
    memory.write(noise(), wall(), CAMERA[None])
    before = memory.snapshot()
    memory.clear()
    assert len(memory) == memory.frames_written == 0
    memory.restore(before)
    assert memory.read(CAMERA[None], GRID).mask.all()


@pytest.mark.parametrize("features", ["float16", "int8", "float32"])
def test_a_memory_made_from_its_state_reads_the_same_to_the_bit(features):
    memory = LatentSpatialMemory(6, policy=MemoryPolicy(features=features))
    path = wander(40)[::8]
    memory.write(noise(len(path)), room_depth(path, GRID), path)
    again = LatentSpatialMemory.from_state(*memory.state())
    ours, theirs = memory.read(path, GRID), again.read(path, GRID)
    assert torch.equal(ours.latents, theirs.latents)
    assert torch.equal(ours.index, theirs.index)
    assert again.policy == memory.policy
    assert again.frames_written == memory.frames_written


@pytest.mark.parametrize(("features", "error"), [("float32", 0.0), ("float16", 3e-4), ("int8", 8e-3)])
def test_each_kind_of_feature_costs_its_stated_error(features, error):
    assert readout_error(features) <= error


def readout_error(features: Features) -> float:
    """Of Gaussian latents, root mean square, relative."""
    memory = LatentSpatialMemory(48, policy=MemoryPolicy(features=features))
    latents = noise(channels=48)
    memory.write(latents, wall(), CAMERA[None])
    readout = memory.read(CAMERA[None], GRID).latents
    return ((readout - latents).square().mean().sqrt() / latents.square().mean().sqrt()).item()


# -- what else a readout says ----------------------------------------------------------------------------------------


def test_coverage_is_the_share_of_known_cells():
    memory = LatentSpatialMemory(6)
    memory.write(noise(), wall(), CAMERA[None])
    path = pan(CAMERA, 4, degrees=80)
    torch.testing.assert_close(memory.coverage(path, GRID), memory.read(path, GRID).mask.float().mean((-1, -2)))
    assert memory.coverage(path, GRID)[0] == 1
    assert memory.coverage(path, GRID)[-1] < 0.2


def test_the_offset_points_to_where_the_winner_fell():
    memory = LatentSpatialMemory(6, policy=MemoryPolicy(splat="cell"))
    memory.write(noise(), wall(), CAMERA[None])
    camera = orbit(CAMERA, 3, degrees=8)[1:]
    readout = memory.read(camera, GRID)
    position = memory.points.position
    for t in range(len(camera)):
        row, column = readout.mask[t].nonzero().unbind(-1)
        uv, z = camera[t].project(position[readout.index[t, row, column]])
        found = readout.offset[t, :, row, column].T
        cells = torch.stack([column, row], dim=-1) + 0.5 + found
        torch.testing.assert_close(uv * torch.tensor([GRID[1], GRID[0]]), cells, atol=1e-3, rtol=0)
        torch.testing.assert_close(z, readout.depth.z[t, row, column])
