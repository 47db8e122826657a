"""pytest-benchmark of the memory: N points x 9 cameras at 44x80, C = 48.

    pytest benchmarks/test_memory.py --benchmark-enable

`mirage bench memory` prints the same contenders as ratios of interleaved medians; this is for watching one of them.
"""

import pytest
import torch

from mirage.evaluation.speed.memory_speed import CHANNELS, CHUNK, GRID, filled, room_depth, wander

CAMERA = wander(CHUNK + 4)[4:]


@pytest.fixture(scope="module", params=[31_680, 316_800])
def memories(request):
    torch.set_num_threads(1)
    return filled(request.param)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_read(benchmark, memories, backend):
    benchmark(memories[0].read, CAMERA, GRID, backend=backend)


def test_read_published(benchmark, memories):
    benchmark.pedantic(memories[1].read, (CAMERA, GRID), rounds=3, warmup_rounds=1)


def test_write(benchmark, memories):
    memory = memories[0]
    depth, latents = room_depth(CAMERA), torch.randn(CHUNK, CHANNELS, *GRID)
    empty = memory.snapshot()

    def take_back():
        memory.restore(empty)

    benchmark.pedantic(memory.write, (latents, depth, CAMERA), setup=take_back, rounds=5, warmup_rounds=1)
    take_back()
