"""`WorldVectorEnv`: several walks on one model, whose steps go through the network as one batch.

    envs = gymnasium.make_vec("mirage/World-v0", num_envs=4)

Each walk is a `WorldEnv` of its own; only the denoising is shared. Row i of a reset with seed s is what a single
environment is with seed s + i, as far as the kernels of a batch and of a row agree (`mirage.rollout.plan.denoise`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

from mirage.envs.world import Step, WorldEnv
from mirage.errors import check_number
from mirage.models.world import WorldModel
from mirage.request import ModelRequest
from mirage.rollout.begin import load_model
from mirage.rollout.plan import denoise


class WorldVectorEnv(VectorEnv[Any, Any, Any]):
    """`num_envs` walks; `choices` are those of a `WorldEnv`, the same for all. A walk that has taken
    `max_episode_steps` is truncated, and the step after that begins its next episode whatever its action is."""

    metadata: dict[str, Any] = {**WorldEnv.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        *,
        model: WorldModel | str = "mini",
        max_episode_steps: int | None = None,
        **choices: Any,
    ) -> None:
        self.num_envs = check_number("num_envs", num_envs, kind=int, low=1)
        self.longest = max_episode_steps
        shared = load_model(ModelRequest(model=model)) if isinstance(model, str) else model
        self.envs = [WorldEnv(shared, **choices) for _ in range(num_envs)]
        one = self.envs[0]
        self.render_mode = one.render_mode
        self.metadata = {**self.metadata, "render_fps": one.metadata["render_fps"]}
        self.single_observation_space, self.single_action_space = one.observation_space, one.action_space
        self.observation_space = batch_space(one.observation_space, num_envs)
        self.action_space = batch_space(one.action_space, num_envs)
        self._taken = np.zeros(num_envs, np.int64)
        self._over = np.zeros(num_envs, bool)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else seed or [None] * self.num_envs
        begun = [env.reset(seed=one, options=options) for env, one in zip(self.envs, seeds, strict=True)]
        self._taken[:], self._over[:] = 0, False
        return self._together([seen for seen, _ in begun]), self._infos([info for _, info in begun])

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        asked = list(iterate(self.action_space, actions))
        walking = [i for i in range(self.num_envs) if not self._over[i]]
        plans = [self.envs[i].plan(asked[i]) for i in walking]
        drawn = dict(zip(walking, zip(plans, denoise(plans), strict=True), strict=True))
        steps = [env.accept(*drawn[i]) if i in drawn else _begun(env) for i, env in enumerate(self.envs)]
        self._taken = np.where(self._over, 0, self._taken + 1)
        self._over = np.full(self.num_envs, self.longest is not None) & (self._taken >= (self.longest or 0))
        seen, rewards, ended, _, infos = zip(*steps, strict=True)
        numbers = np.array(rewards, np.float64), np.array(ended, bool), self._over.copy()
        return self._together(seen), *numbers, self._infos(infos)

    def render(self) -> tuple[Any, ...] | None:
        return None if self.render_mode is None else tuple(env.render() for env in self.envs)

    def close_extras(self, **kwargs: Any) -> None:
        for env in self.envs:
            env.close()

    def _together(self, seen: Sequence[Any]) -> Any:
        space = self.single_observation_space
        return concatenate(space, seen, create_empty_array(space, self.num_envs))

    def _infos(self, each: Sequence[dict[str, Any]]) -> dict[str, Any]:
        infos: dict[str, Any] = {}
        for number, info in enumerate(each):
            infos = self._add_info(infos, info, number)
        return infos


def _begun(env: WorldEnv) -> Step:
    seen, info = env.reset()
    return seen, 0.0, False, False, info
