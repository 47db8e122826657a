"""References are the past frames that together see most of the target: more than overlap of voxels finds."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import walls
from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.trajectory import pan
from mirage.geometry.visibility import sight
from mirage.memory import LatentSpatialMemory
from mirage.memory.references import _greedy, best_overlap_first, choose_references, known_points
from mirage.scenes import Scene

GRID = (24, 32)
CAMERA = Camera.looking(horizontal_fov=65, aspect=4 / 3)


def voxel_overlap(memory: LatentSpatialMemory, target: Camera, history: Camera, *, count: int = 4, side: float = 0.1):
    """The published rule: intersection over union of 10 cm voxels of the points inside the frusta, hidden or not."""
    position = memory.points.position
    voxel = (position / side).floor().long()
    keys = (voxel - voxel.amin()) @ torch.tensor([1, 2**20, 2**40])

    def inside(camera: Camera) -> set[int]:
        uv, z = camera.project(position)
        return set(keys[((z > 0) & (uv >= 0).all(-1) & (uv <= 1).all(-1)).any(0)].tolist())

    wanted = inside(target)
    seen = [inside(history[j : j + 1]) for j in range(len(history))]
    overlap = [len(wanted & voxels) / max(len(wanted | voxels), 1) for voxels in seen]
    return sorted(range(len(history)), key=overlap.__getitem__, reverse=True)[:count]


def seen_share(target: Camera, target_depth: DepthMap, history: Camera, depth: DepthMap, chosen: list[int]) -> float:
    """Share of what the targets truly show that at least one chosen frame truly saw; full resolution, nearest pixel."""
    h, w = depth.shape[-2:]
    rays = target.rays((h, w))
    points = (rays[0][:, None, None] + target_depth.z[..., None] * rays[1])[target_depth.valid]
    uv, z = history[chosen].project(points)
    pixel = (uv * torch.tensor([w, h])).long().clamp(torch.tensor(0), torch.tensor([w - 1, h - 1]))
    there = depth.z[torch.tensor(chosen)[:, None], pixel[..., 1], pixel[..., 0]]
    inside = (z > 0) & (uv >= 0).all(-1) & (uv < 1).all(-1)
    return (inside & ((z / there - 1).abs() < 0.03)).any(0).float().mean().item()


def walk(seed: int, *, past: int = 16) -> tuple[LatentSpatialMemory, Camera, Camera, DepthMap, DepthMap]:
    """A walk through a world, and nine views between its frames: memory, targets, history, and their true depths."""
    scene = Scene.sample(seed)
    path = scene.path("walk", 8 * past, seed=seed)
    history = path[::8]
    target = path[4::8][torch.linspace(0.1 * past, 0.8 * past, 9).long()]
    depth, seen = scene.render(history, (48, 64)).depth, scene.render(target, (48, 64)).depth
    memory = LatentSpatialMemory(3)
    small = depth.resized(GRID)
    memory.write(torch.zeros(past, 3, *GRID), small, history)
    return memory, target, history, depth, seen


@pytest.mark.parametrize("seed", [1, 4, 11])
def test_greedy_covisibility_sees_more_than_voxel_overlap(seed):
    memory, target, history, depth, seen = walk(seed)
    chosen = choose_references(memory.read(target, GRID), target, history, depth.resized(GRID))
    rival = voxel_overlap(memory, target, history)
    assert len(set(chosen)) == 4
    share, baseline = (seen_share(target, seen, history, depth, frames) for frames in (chosen, rival))
    assert share >= baseline - 0.01
    assert share > 0.8


def test_it_looks_through_no_wall():
    """Two frames face the target's wall; a third faces it too, but another wall stands in between."""
    wall, near = walls(1, GRID, 4.0), walls(1, GRID, 1.0)
    memory = LatentSpatialMemory(3)
    memory.write(torch.zeros(1, 3, *GRID), wall, CAMERA[None])
    depth = DepthMap(torch.cat([wall.z, near.z, near.z]))
    history = Camera.concatenate([CAMERA[None]] * 3)
    assert choose_references(memory.read(CAMERA[None], GRID), CAMERA[None], history, depth) == [0]


def test_nothing_known_and_nothing_past_give_no_references():
    memory = LatentSpatialMemory(3)
    path = pan(CAMERA, 3)
    depth = walls(3, GRID, 1.0)
    assert choose_references(memory.read(path, GRID), path, path, depth) == []
    memory.write(torch.zeros(3, 3, *GRID), depth, path)
    assert choose_references(memory.read(path, GRID), path, path[:0], depth[:0]) == []
    with pytest.raises(InputError, match="target cameras"):
        choose_references(memory.read(path, GRID), path[:2], path, depth)


def test_known_points_are_where_the_memory_put_them():
    memory = LatentSpatialMemory(3)
    scene = Scene.sample(3)
    path = scene.path("walk", 9, seed=0)[::4]
    memory.write(torch.zeros(3, 3, *GRID), scene.render(path, (48, 64)).depth.resized(GRID), path)
    readout = memory.read(path, GRID)
    exact = readout.mask & (readout.offset.abs().amax(1) < 0.5)
    points = known_points(readout, path, samples=10**9)[exact[readout.mask]]
    torch.testing.assert_close(points, memory.points.position[readout.index[exact]], atol=1e-3, rtol=1e-3)


@given(st.integers(1, 7), st.integers(1, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None)
def test_each_choice_adds_most_to_those_before_it(frames, cells, seed):
    seen = torch.rand(frames, cells, generator=torch.Generator().manual_seed(seed)) < 0.4
    chosen = _greedy(seen, 3)
    assert len(set(chosen)) == len(chosen) == min(3, int(seen.any(1).sum()))
    best = max(seen[list(pair)].any(0).sum() for pair in itertools.combinations(range(frames), min(2, frames)))
    if len(chosen) >= 2:
        assert seen[chosen[:2]].any(0).sum() >= (1 - 1 / torch.e) * best  # what greed promises (Nemhauser 1978)


def test_sight_tells_on_before_and_behind():
    depth = walls(1, GRID, 4.0)
    points = CAMERA.unproject(torch.tensor([[0.4, 0.4]] * 4), torch.tensor([3.0, 4.1, 5.0, -1.0]))
    told = sight(points, CAMERA[None], depth)
    assert told.before[0].tolist() == [True, False, False, False]
    assert told.on[0].tolist() == [False, True, False, False]
    assert told.behind[0].tolist() == [False, False, True, False]
    nothing = sight(points, CAMERA[None], depth.masked(torch.zeros(1, *GRID, dtype=torch.bool)))
    assert not (nothing.on | nothing.before | nothing.behind).any()


def test_the_published_order_is_by_overlap_with_one_target_best_first() -> None:
    """Said again: for each frame the largest share, over the targets, of what that target shows and the frame sees."""
    memory, target, history, depth, _ = walk(3)
    readout = memory.read(target, GRID)
    points = known_points(readout, target, samples=10**9)
    of = readout.mask.flatten().nonzero()[:, 0] // (GRID[0] * GRID[1])
    on = sight(points, history, depth).on.float()
    shares = torch.stack([on[:, of == t].mean(1) for t in range(len(target)) if (of == t).any()]).amax(0)
    chosen = best_overlap_first(readout, target, history, depth)
    assert len(chosen) == 4
    assert shares[chosen].tolist() == sorted(shares[chosen].tolist(), reverse=True) or (
        shares[chosen].diff().max() < 0.05  # a thousand cells are asked, not all
    )
    left = [j for j in range(len(history)) if j not in chosen]
    assert shares[chosen].min() > shares[left].max() - 0.05
    assert best_overlap_first(readout, target, history, depth, least=1.01) == []
    assert best_overlap_first(readout, target, history[:0], depth[:0]) == []
