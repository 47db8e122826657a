"""An agent of stable-baselines3 in the environment: PPO, which acts untrained and learns after each 50 steps.

Run: python benchmarks/agent.py [--steps 200] [--model mini] [--chunk-frames 4]

Prints seconds per step, the memory's bytes and coverage; needs `pip install stable-baselines3` beside the extra gym.
"""

import argparse
import importlib
import json
import time
from typing import Any

import gymnasium
import numpy as np

import mirage.envs  # noqa: F401 -- registers mirage/World-v0


class Watched(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Keeps what `info` says of every step."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.infos: list[dict[str, Any]] = []

    def step(self, action: Any) -> Any:
        result = self.env.step(action)
        self.infos.append(result[-1])
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--chunk-frames", type=int, default=4)
    asked = parser.parse_args()
    choices = {"model": asked.model, "chunk_frames": asked.chunk_frames, "max_episode_steps": 50}
    env = Watched(gymnasium.make("mirage/World-v0", **choices))
    sb3: Any = importlib.import_module("stable_baselines3")
    agent = sb3.PPO("CnnPolicy", env, n_steps=50, batch_size=50, n_epochs=1, seed=0, device="cpu")
    started = time.perf_counter()
    agent.learn(asked.steps)
    seconds = [float(info["seconds"]) for info in env.infos]
    print(json.dumps({
        "steps": len(env.infos),
        "seconds": round(time.perf_counter() - started, 1),
        "seconds_per_step_median": round(float(np.median(seconds)), 2),
        "seconds_per_step_p95": round(float(np.quantile(seconds, 0.95)), 2),
        "coverage_mean": round(float(np.mean([info["coverage"] for info in env.infos])), 3),
        "memory_bytes_most": max(info["memory_bytes"] for info in env.infos),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
