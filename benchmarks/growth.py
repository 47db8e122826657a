"""What grows on a long walk, what goes when a budget is full, and what a return then still finds.

    python benchmarks/growth.py [growth] [evict] [long]             # JSON; all of it takes many minutes

growth: 50 chunks of 9 frames there and back with 1 % depth noise: points, and wrong cells on held-out views.
evict: the same budget under each rule; `return`: of the cells of the way back, read before they are written again, the
    share that is known and right to 5 %.
long: 1,000 chunks of two frames at 22 x 40 in half a mebibyte: milliseconds per read early and late.
"""

import json
import statistics
import sys
import time

import torch

from mirage.geometry.camera import Camera
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


def out_and_back(chunks: int, speed: float) -> Camera:
    half = wander(chunks * CHUNK // 2, speed=speed)
    return Camera.concatenate([half, half[list(range(len(half)))[::-1]]])


def evicting(chunks: int = 60) -> list[dict]:
    """Out and back through the whole room; the budget holds about a third of what the gate would keep."""
    rows = []
    for path_name, speed in (("out and back", 0.03), ("roaming", 0.12)):
        path = out_and_back(chunks, speed)
        free = LatentSpatialMemory(1)
        unbounded = _walk(free, path)
        for evict in ("coverage", "oldest", "least_read"):
            policy = MemoryPolicy(evict=evict, max_bytes=int(len(free) * 26 / 3))
            memory = LatentSpatialMemory(1, policy=policy)
            found = _walk(memory, path)
            rows.append({"walk": path_name, "evict": evict, "points": len(memory), "return": found})
        rows.append({"walk": path_name, "evict": None, "points": len(free), "return": unbounded})
    return rows


def _walk(memory: LatentSpatialMemory, path: Camera) -> float:
    found = []
    for i in range(len(path) // CHUNK):
        camera = path[i * CHUNK:(i + 1) * CHUNK]
        depth = room_depth(camera)
        readout = memory.read(camera, GRID)
        if i >= len(path) // CHUNK // 2:
            right = readout.mask & ((readout.depth.z / depth.z - 1).abs() < 0.05)
            found.append(right.float().mean().item())
        memory.write(torch.zeros(CHUNK, 1, *GRID), depth, camera)
    return statistics.mean(found)


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
    parts = {"growth": growth, "evict": evicting, "long": long_walk}
    result = {name: parts[name]() for name in sys.argv[1:] or parts}
    print(json.dumps(result | {"environment": environment()}, indent=1))
