"""What a full memory should forget: the eviction rules, scored on returns in procedural worlds with true depth.

    python benchmarks/returns.py                          # a table; some minutes

Latents are the true colours of each cell, so that "right" can be said of them too. The budget is a third of what the
gate would keep. Two walks through worlds of two rooms or more, of which the way back is what counts:

    out and back   a walk of 160 frames, and the same way back, written on
    rooms          a walk of 320 frames through all there is; then, as from a map, every eighth place of it
"""

import statistics
import sys

import torch

from mirage.geometry.camera import Camera
from mirage.memory import LatentSpatialMemory, MemoryPolicy
from mirage.worlds import World

GRID = (24, 32)
RULES = ("coverage", "oldest", "least_read")


def returns(worlds: int = 6) -> dict[tuple[str, str], tuple[float, float]]:
    """Means over worlds by (walk, rule): share of the cells of returned-to views that is known, and the root of the
    mean squared error of the latents where known (colours are 0 to 1)."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for seed in roomy(worlds):
        world = World.sample(seed)
        there = world.path("walk", 4 * 160, seed=seed)[::4]
        roaming = world.path("walk", 4 * 320, seed=seed + 1)[::4]
        walks = {"out and back": (Camera.concatenate([there, there[list(range(159, -1, -1))]]), 160, True),
                 "rooms": (Camera.concatenate([roaming, roaming[::8]]), 320, False)}
        for walk, (path, turn, writing) in walks.items():
            free = LatentSpatialMemory(3)
            found.setdefault((walk, "no budget"), []).append(walked(free, world, path, turn, writing))
            for rule in RULES:
                policy = MemoryPolicy(evict=rule, max_bytes=int(len(free) * 28 / 3))
                memory = LatentSpatialMemory(3, policy=policy)
                found.setdefault((walk, rule), []).append(walked(memory, world, path, turn, writing))
            print(f"world {seed}, {walk}: " + ", ".join(f"{rule} {of[-1][0]:.3f} {of[-1][1]:.3f}"
                                                        for (of_walk, rule), of in found.items() if of_walk == walk),
                  file=sys.stderr, flush=True)
    return {key: tuple(map(statistics.mean, zip(*scores, strict=True))) for key, scores in found.items()}


def walked(memory: LatentSpatialMemory, world: World, path: Camera, turn: int, writing: bool) -> tuple[float, float]:
    """Walk in chunks of 8 frames, read before write; the scores are those of the frames from `turn` on."""
    known, error = [], []
    for first in range(0, len(path), 8):
        camera = path[first:first + 8]
        view = world.render(camera, GRID)
        readout = memory.read(camera, GRID)
        if first >= turn:
            known.append(readout.mask.float().mean().item())
            error.append((readout.latents - view.rgb).square().mean(1)[readout.mask].mean().item())
        if first < turn or writing:
            memory.write(view.rgb, view.depth, camera)
    return statistics.mean(known), statistics.mean(error) ** 0.5


def roomy(count: int) -> list[int]:
    """The first held-out seeds whose world has two places or more to walk in."""
    seeds, seed = [], 0
    while len(seeds) < count:
        if len(World.sample(seed).areas) > 1:
            seeds.append(seed)
        seed += 1
    return seeds


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"{'walk':<14}{'rule':<12}{'known':>8}{'error':>8}")
    for (walk, rule), (known, error) in returns().items():
        print(f"{walk:<14}{rule:<12}{known:>8.3f}{error:>8.3f}")
