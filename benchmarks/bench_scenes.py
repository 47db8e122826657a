"""Frames per second of the scenes' ray caster at 192x256: one CPU thread, and CUDA where there is one.

Run: python benchmarks/bench_scenes.py
"""

import statistics
import time

import torch

from mirage.scenes import Scene

SIZE, FRAMES = (192, 256), 33


def seconds(work) -> float:
    """Of this thread's own time on a CPU, so that busy neighbours count little; of the clock where there is a GPU."""
    clock = time.perf_counter if torch.cuda.is_available() else time.thread_time
    begun = clock()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - begun


def main() -> None:
    torch.set_num_threads(1)
    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        rates, built, walked = [], [], []
        for seed in range(12):
            built.append(seconds(lambda seed=seed: Scene.sample(seed)))
            scene = Scene.sample(seed)
            walked.append(seconds(lambda scene=scene: scene.path("walk", FRAMES)))
            camera, scene = scene.path("walk", FRAMES), scene.to(device)
            scene.render(camera[:1], SIZE)
            rates.append(FRAMES / seconds(lambda scene=scene, camera=camera: scene.render(camera, SIZE)))
        print(
            f"{device}: median {statistics.median(rates):.0f} frames/s (slowest world {min(rates):.0f}), "
            f"world {1e3 * statistics.median(built):.1f} ms, path {1e3 * statistics.median(walked):.1f} ms"
        )


if __name__ == "__main__":
    main()
