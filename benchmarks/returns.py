"""What a full memory should forget: the eviction rules, scored on returns in procedural scenes with true depth.

    python benchmarks/returns.py [SCENES]                 # a table; 6 scenes, some minutes

Latents are the true colours of each cell, so that it can be said of them too how far they are off. The budget is a
third of what the gate would keep. Two walks through scenes of two rooms or more, of which the way back is what counts:

    out and back   a walk of 160 frames, and the same way back, written on
    rooms          a walk of 320 frames through all there is; then, as from a map, every eighth place of it
"""

import statistics
import sys

import torch

from mirage.chunks import TIME_STRIDE
from mirage.geometry.camera import Camera
from mirage.memory import LatentSpatialMemory, MemoryPolicy
from mirage.scenes import Scene, View

GRID = (24, 32)
RULES = ("coverage", "oldest", "least_read")


Scores = tuple[float, float, float]
"""Of the cells of views that are returned to: the share that is known, and the share that is known with a depth right
to 5 %; and the root of the mean squared error of the latents where known (colours are 0 to 1)."""


def returns(scenes: int = 6) -> dict[tuple[str, str], Scores]:
    """Means over scenes by (walk, rule)."""
    found: dict[tuple[str, str], list[Scores]] = {}
    for seed in roomy(scenes):
        scene = Scene.sample(seed)
        there = scene.path("walk", TIME_STRIDE * 160, seed=seed)[::TIME_STRIDE]
        roaming = scene.path("walk", TIME_STRIDE * 320, seed=seed + 1)[::TIME_STRIDE]
        walks = {
            "out and back": (there, list(range(160)), list(range(159, -1, -1)), True),
            "rooms": (roaming, list(range(320)), list(range(0, 320, 8)), False),
        }
        for walk, (places, away, back, writing) in walks.items():
            view = scene.render(places, GRID)
            free = LatentSpatialMemory(3)
            found.setdefault((walk, "no budget"), []).append(walked(free, view, places, away, back, writing))
            for rule in RULES:
                policy = MemoryPolicy(evict=rule, max_bytes=int(len(free) * 28 / 3))
                memory = LatentSpatialMemory(3, policy=policy)
                found.setdefault((walk, rule), []).append(walked(memory, view, places, away, back, writing))
            print(
                f"world {seed}, {walk}: "
                + ", ".join(
                    f"{rule} " + " ".join(f"{x:.3f}" for x in of[-1])
                    for (of_walk, rule), of in found.items()
                    if of_walk == walk
                ),
                file=sys.stderr,
                flush=True,
            )
    return {key: tuple(map(statistics.mean, zip(*scores, strict=True))) for key, scores in found.items()}


def walked(
    memory: LatentSpatialMemory, view: View, places: Camera, away: list[int], back: list[int], writing: bool
) -> Scores:
    """Walk to `places` (by number, with the true `view` of each) in chunks of 8 frames, read before write; the scores
    are those of the way back, which is written too if `writing`."""
    known, right, error = [], [], []
    chunks = [(way[first : first + 8], way is back) for way in (away, back) for first in range(0, len(way), 8)]
    for at, returning in chunks:
        rgb, depth = view.rgb[at], view.depth[at]
        readout = memory.read(places[at], GRID)
        if returning:
            known.append(readout.mask.float().mean().item())
            close = (readout.depth.z / depth.z - 1).abs() < 0.05
            right.append((readout.mask & close).float().mean().item())
            error.append((readout.latents - rgb).square().mean(1)[readout.mask].mean().item())
        if writing or not returning:
            memory.write(rgb, depth, places[at])
    return statistics.mean(known), statistics.mean(right), statistics.mean(error) ** 0.5


def roomy(count: int) -> list[int]:
    """The first held-out seeds whose world has two places or more to walk in."""
    seeds, seed = [], 0
    while len(seeds) < count:
        if len(Scene.sample(seed).areas) > 1:
            seeds.append(seed)
        seed += 1
    return seeds


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"{'walk':<14}{'rule':<12}{'known':>8}{'right':>8}{'error':>8}")
    for (walk, rule), scores in returns(*map(int, sys.argv[1:])).items():
        print(f"{walk:<14}{rule:<12}" + "".join(f"{score:>8.3f}" for score in scores))
