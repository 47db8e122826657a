"""What grows on a long walk, with a budget and without. What a budget should forget: returns.py.

    python benchmarks/growth.py [growth] [long] [long_44x80]        # JSON; some minutes

growth: 50 chunks of 9 frames there and back with 1 % depth noise: points, and wrong cells on held-out views.
long: 1,000 chunks of two frames at 22 x 40 in half a mebibyte: milliseconds per read early and late; the other on four
    times the cells, in four times the bytes.
"""

import json
import statistics
import sys
import time
from functools import partial

import torch

from mirage.memory import LatentSpatialMemory, MemoryPolicy
from mirage.memory.bench import CHUNK, GRID, PAPER, environment, noisy_walk, room_depth, wander, wrong_share


def growth(chunks: int = 50) -> list[dict]:
    policies = {"append, as published": PAPER, "append, default readout": MemoryPolicy(admit="all"),
                "gate (default)": MemoryPolicy(), "gate, nearest cell": MemoryPolicy(splat="cell"),
                "gate, nearest cell, no sub-cell choice": MemoryPolicy(splat="cell", front=0.0)}
    rows = []
    for name, policy in policies.items():
        memory = LatentSpatialMemory(1, policy=policy)
        noisy_walk(memory, chunks=chunks)
        rows.append({"policy": name, "points": len(memory), "wrong": wrong_share(memory, chunks * CHUNK)})
    return rows


def long_walk(chunks: int = 1000, budget: int = 2**19, grid: tuple[int, int] = (22, 40)) -> dict:
    memory = LatentSpatialMemory(1, policy=MemoryPolicy(max_bytes=budget))
    times, most = [], 0
    path = wander(chunks * 2, speed=0.05)  # two frames a chunk are enough to fill the budget many times
    for i in range(chunks):
        camera = path[2 * i:2 * i + 2]
        start = time.process_time()
        memory.read(camera, grid)
        times.append(1e3 * (time.process_time() - start))
        memory.write(torch.zeros(2, 1, *grid), room_depth(camera, grid), camera)
        most = max(most, memory.nbytes)
    early, late = statistics.median(times[100:200]), statistics.median(times[-100:])
    return {"chunks": chunks, "grid": grid, "budget": budget, "most_bytes": most, "points": len(memory),
            "read_ms_100_200": early, "read_ms_last_100": late, "ratio": late / early}


if __name__ == "__main__":
    torch.set_num_threads(1)
    parts = {"growth": growth, "long": long_walk, "long_44x80": partial(long_walk, budget=2**21, grid=GRID)}
    result = {name: parts[name]() for name in sys.argv[1:] or parts}
    print(json.dumps(result | {"environment": environment()}, indent=1))
