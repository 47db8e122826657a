"""The write gate asked by compiled kernels is the gate asked by the definition, to the bit, frame after frame."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mirage.evaluation.speed.memory_speed import room_depth, wander
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.trajectory import dolly
from mirage.memory import LatentSpatialMemory, MemoryPolicy

GRID = (22, 40)


def walked(policy: MemoryPolicy, seed: int) -> LatentSpatialMemory:
    """Chunks of a noisy walk that comes closer and turns back, so that cells are known, new and replaced."""
    generator = torch.Generator().manual_seed(seed)
    memory = LatentSpatialMemory(3, policy=policy)
    path = wander(12, speed=0.08)
    nearer = dolly(path[0], 4, distance=2.0)
    for camera in (path[:4], nearer, path[4:10], path[:4]):
        z = room_depth(camera, GRID).z
        z = z * (1 + 0.02 * torch.randn(z.shape, generator=generator))
        keep = torch.rand(z.shape, generator=generator) > 0.1
        memory.write(torch.randn(len(camera), 3, *GRID, generator=generator), DepthMap(z), camera, keep=keep)
    return memory


POLICIES = [
    MemoryPolicy(),
    MemoryPolicy(splat="cell", spacing=1.0, resolution_ratio=1.2),
    MemoryPolicy(features="int8", tolerance=0.02, resolution_ratio=0.9),
    MemoryPolicy(lift="corner"),
    MemoryPolicy(max_bytes=200_000),
]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 1000))
def test_both_gates_write_the_same_memory(policy: MemoryPolicy, seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIRAGE_ZBUFFER", "torch")
        defined, _ = walked(policy, seed).state()
    compiled, _ = walked(policy, seed).state()
    assert compiled.keys() == defined.keys()
    for name, column in defined.items():
        assert torch.equal(compiled[name], column), name


def test_a_write_is_its_frames_one_after_the_other() -> None:
    camera = wander(6, speed=0.1)
    depth, latents = room_depth(camera, GRID), torch.randn(6, 3, *GRID)
    together, apart = LatentSpatialMemory(3), LatentSpatialMemory(3)
    added = together.write(latents, depth, camera)
    assert added == sum(apart.write(latents[t : t + 1], depth[t : t + 1], camera[t : t + 1]) for t in range(6))
    ours, theirs = together.state()[0], apart.state()[0]
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
