"""An agent in a world that remembers: it walks a loop, and is rewarded for finding what it left.

Run: python examples/11_an_environment.py [MODEL] [METRES]
"""

import sys
from typing import Any

import gymnasium
import numpy as np

from mirage.formats.keys import KEYS

LOOP = ["w", "w", "d", "d", "s", "s", "a", "a"]  # a square on the floor, without turning: it ends where it began


class RevisitReward(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Reward on a return: the PSNR of what is seen now against what was seen from there, at least `gap` steps ago."""

    def __init__(self, env: gymnasium.Env[Any, Any], *, gap: int = 4) -> None:
        super().__init__(env)
        self.gap = gap

    def reset(self, **choices: Any) -> tuple[Any, dict[str, Any]]:
        frame, info = self.env.reset(**choices)
        self.seen = [(info["pose"], frame)]
        return frame, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        frame, _, terminated, truncated, info = self.env.step(action)
        before = [then for pose, then in self.seen[: -self.gap] if np.allclose(pose, info["pose"], atol=1e-3)]
        self.seen.append((info["pose"], frame))
        return frame, psnr(frame, before[0]) if before else 0.0, terminated, truncated, info


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    error = np.mean((one.astype(float) - other) ** 2) / 255**2
    return float(-10 * np.log10(max(error, 1e-10)))


def walked(**choices: Any) -> list[float]:
    """The rewards of the loop."""
    env = RevisitReward(
        gymnasium.make("mirage/World-v0", model=model, scene=3, actions="keys", metres=metres, **choices)
    )
    env.reset(seed=0)
    rewards = [float(env.step(list(KEYS).index(key))[1]) for key in LOOP]
    env.close()
    return rewards


model = sys.argv[1] if len(sys.argv) > 1 else "mini"
metres = float(sys.argv[2]) if len(sys.argv) > 2 else 0.3
rewards = {memory: walked(memory=memory) for memory in ("latent", "none")}
print(f"back where it began: {rewards['latent'][-1]:.1f} dB with its memory, {rewards['none'][-1]:.1f} dB without")
