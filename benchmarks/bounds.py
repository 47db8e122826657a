"""The figures behind bounds that tests hold: the scenes are those of the tests, which say what is measured.

    python benchmarks/bounds.py                          # JSON; seconds

references: share of what nine new views of a world truly show that the four chosen past frames saw, by greedy z-tested
    covisibility and by overlap of 10 cm voxels.
features: what a readout of Gaussian latents is off by, relative, for each way to keep features.
lock: a depth source that drifts by 2 % a chunk, 20 chunks there and back, with the scale lock and without.
"""

import json
import runpy
from pathlib import Path

import torch

TESTS = Path(__file__).resolve().parents[1] / "tests"


def references(seeds: tuple[int, ...] = (1, 4, 11, 12, 13, 14)) -> list[dict]:
    scene = runpy.run_path(str(TESTS / "memory/test_references.py"))
    rows = []
    for seed in seeds:
        memory, target, history, depth, seen = scene["walk"](seed)
        greedy = scene["choose_references"](
            memory.read(target, scene["GRID"]), target, history, depth.resized(scene["GRID"])
        )
        voxels = scene["voxel_overlap"](memory, target, history)
        rows.append(
            {
                "world": seed,
                "greedy": scene["seen_share"](target, seen, history, depth, greedy),
                "voxels": scene["seen_share"](target, seen, history, depth, voxels),
            }
        )
    return rows


def features() -> dict[str, float]:
    error = runpy.run_path(str(TESTS / "memory/test_memory.py"))["readout_error"]
    return {kind: error(kind) for kind in ("float32", "float16", "int8")}


def lock() -> dict[str, dict[str, float]]:
    walk = runpy.run_path(str(TESTS / "depth/test_align.py"))["walk_with_drift"]
    return {"locked": walk(lock=True), "free": walk(lock=False)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({"references": references(), "features": features(), "lock": lock()}, indent=1))
