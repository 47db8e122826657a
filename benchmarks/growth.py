"""What grows on a long walk, with a budget and without. What a budget should forget: returns.py.

    python benchmarks/growth.py [growth] [long] [long_44x80] [world]        # JSON; some minutes

growth: 50 chunks of 9 frames there and back with 1 % depth noise: points, and wrong cells on held-out views.
long: 1,000 chunks of two frames at 22 x 40 in half a mebibyte: milliseconds per read early and late; long_44x80 on four
    times the cells, in four times the bytes.
world: as long, but roaming a procedural world of three rooms and two doors, 550 chunks and then back the same way, so
    that the last hundred stand where chunks 100 to 200 stood: what a read costs follows what is to be seen.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch

from mirage.chunks import TIME_STRIDE
from mirage.evaluation.speed.memory_speed import (
    CHUNK,
    GRID,
    PAPER,
    environment,
    noisy_walk,
    room_depth,
    wander,
    wrong_share,
)
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.memory import LatentSpatialMemory, MemoryPolicy
from mirage.scenes import Scene


def growth(chunks: int = 50) -> list[dict]:
    policies = {
        "append, as published": PAPER,
        "append, default readout": MemoryPolicy(admit="all"),
        "gate (default)": MemoryPolicy(),
        "gate, nearest cell": MemoryPolicy(splat="cell"),
        "gate, nearest cell, no sub-cell choice": MemoryPolicy(splat="cell", front=0.0),
    }
    rows = []
    for name, policy in policies.items():
        memory = LatentSpatialMemory(1, policy=policy)
        noisy_walk(memory, chunks=chunks)
        rows.append({"policy": name, "points": len(memory), "wrong": wrong_share(memory, chunks * CHUNK)})
    return rows


def long_walk(chunks: int = 1000, budget: int = 2**19, grid: tuple[int, int] = (22, 40)) -> dict:
    path = wander(chunks * 2, speed=0.05)  # two frames a chunk are enough to fill the budget many times
    return walked(path, partial(room_depth, grid=grid), budget, grid)


def world_walk(seed: int = 0, budget: int = 2**19, grid: tuple[int, int] = (22, 40)) -> dict:
    scene = Scene.sample(seed)
    away = scene.path("roam", TIME_STRIDE * 1100, seed=seed)[::TIME_STRIDE]
    path = away[[min(i, 2199 - i) for i in range(2000)]]
    x, _, z = path.center.unbind(-1)
    visits = [int(((x >= x0) & (x <= x1) & (z >= z0) & (z <= z1)).sum()) for x0, z0, x1, z1 in scene.areas]
    found = walked(path, lambda camera: scene.render(camera, grid).depth, budget, grid)
    return found | {"metres": path.center.diff(dim=0).norm(dim=-1).sum().item(), "frames_in_each_area": visits}


def walked(path: Camera, depth: Callable[[Camera], DepthMap], budget: int, grid: tuple[int, int]) -> dict:
    """Two frames a chunk, read and then written; no write may hold more than the budget."""
    memory = LatentSpatialMemory(1, policy=MemoryPolicy(max_bytes=budget))
    times, most, written = [], 0, 0
    chunks = len(path) // 2
    for i in range(chunks):
        camera = path[2 * i : 2 * i + 2]
        start = time.process_time()
        memory.read(camera, grid)
        times.append(1e3 * (time.process_time() - start))
        written += memory.write(torch.zeros(2, 1, *grid), depth(camera), camera)
        most = max(most, memory.nbytes)
    early, late = statistics.median(times[100:200]), statistics.median(times[-100:])
    return {
        "chunks": chunks,
        "grid": grid,
        "budget": budget,
        "most_bytes": most,
        "points_ever": written,
        "points": len(memory),
        "read_ms_100_200": early,
        "read_ms_last_100": late,
        "ratio": late / early,
        "read_ms_by_hundred": [statistics.median(times[i : i + 100]) for i in range(0, chunks, 100)],
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    parts = {
        "growth": growth,
        "long": long_walk,
        "long_44x80": partial(long_walk, budget=2**21, grid=GRID),
        "world": world_walk,
    }
    result = {name: parts[name]() for name in sys.argv[1:] or parts}
    print(json.dumps(result | {"environment": environment()}, indent=1))
