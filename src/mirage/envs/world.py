"""`WorldEnv`: one walk as a Gymnasium environment. A step is a chunk: the action becomes poses, the model draws them.

    env = gymnasium.make("mirage/World-v0", scene=7, steps=2)
    seen, info = env.reset(seed=0)
    seen, reward, terminated, truncated, info = env.step(env.action_space.sample())

There is no goal: the reward is 0 and nothing terminates; what is worth something says a wrapper, of which
examples/11_an_environment.py has one. The same seed and actions give the same frames, bit for bit, on one machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import gymnasium
import numpy as np
from torch import Tensor

from mirage.chunks import TIME_STRIDE
from mirage.envs.begins import Begins, first_frame
from mirage.envs.spaces import Actions, Observations, action_space, motion, observation, observation_space, pixels
from mirage.errors import InputError, check_number
from mirage.models.world import WorldModel
from mirage.request import ModelRequest
from mirage.rollout import Session
from mirage.rollout.begin import load_model
from mirage.rollout.plan import Plan, denoise
from mirage.scenes.kinds import HELD_OUT

FPS = 16  # video frames per second at the pace of a walk

Step = tuple[Any, float, bool, bool, dict[str, Any]]
"""Observation, reward, terminated, truncated, info."""


class WorldEnv(gymnasium.Env[Any, Any]):
    """A walk from a picture, a saved world, or (without either) a procedural scene, another one in each episode.

    model         a `WorldModel`, which several environments may share; or its name, folder or hub id
    scene         seed of the scene that every episode begins in; None: drawn from those held out from training
    chunk_frames  video frames of a step, 4k: more of them are drawn together, and take longer
    metres        most that a step goes along each axis; `degrees`: most that it turns, and tilts
    actions, obs  see `mirage.envs.spaces`
    request       other choices of a `Request`: image, world, prompt, fov, steps, draft, memory, memory_budget, ...

    `reset(options={"scene": 7, "prompt": "a red room"})` chooses otherwise for one episode. In `info`: coverage (share
    of the step's views that the memory knew before they were drawn), memory_bytes, seconds (`Seconds`), pose [4,4]
    (camera-to-world).
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": FPS // TIME_STRIDE}  # noqa: RUF012

    def __init__(
        self,
        model: WorldModel | str = "mini",
        *,
        scene: int | None = None,
        chunk_frames: int = TIME_STRIDE,
        metres: float = 0.2,
        degrees: float = 6.0,
        actions: Actions = "motion",
        obs: Observations = "frame",
        render_mode: Literal["rgb_array"] | None = None,
        **request: Any,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise InputError(f"render_mode is {render_mode!r}; accepted: 'rgb_array', None")
        self._reach = {
            "metres": check_number("metres", metres, low=1e-3, high=1e3),
            "degrees": check_number("degrees", degrees, low=1e-3, high=180),
        }
        self._actions: Actions = actions
        self._obs: Observations = obs
        self.action_space = action_space(actions, **self._reach)
        self._begins = Begins(request, scene=scene)
        self.model = load_model(ModelRequest(model=model)) if isinstance(model, str) else model
        if chunk_frames not in range(TIME_STRIDE, self.model.chunk_frames, TIME_STRIDE):
            most = self.model.chunk_frames - 1
            raise InputError(f"a step has 4k video frames, {TIME_STRIDE} to {most}, got {chunk_frames}")
        self.chunk_frames, self.render_mode = chunk_frames, render_mode
        self.metadata = {**self.metadata, "render_fps": max(1, FPS // chunk_frames)}
        session = self._begins.session(self.model, seed=0, drawn=0, scene=None, prompt=None)
        _, height, width = first_frame(session).shape
        self.observation_space = observation_space(obs, size=(height, width), grid=session.grid, frames=chunk_frames)
        self.session: Session | None = None

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        other = {"scene": None, "prompt": None} | dict(options or {})
        if len(other) > 2:
            raise InputError(f"reset got the options {', '.join(sorted(other))}; accepted: scene, prompt")
        drawn, noise = int(self.np_random.integers(HELD_OUT)), int(self.np_random.integers(2**62))
        session = self._begins.session(self.model, seed=noise, drawn=drawn, **other)
        self.session, self._start = session, session.camera
        self._frames = np.repeat(pixels(first_frame(session)[None]), self.chunk_frames, axis=0)
        known = session.look(session.camera).mask
        return self._seen(), self._info(float(known.float().mean()), {})

    def step(self, action: Any) -> Step:
        plan = self.plan(action)
        return self.accept(plan, denoise([plan])[0])

    def plan(self, action: Any) -> Plan:
        """The first half of a step, before what may be done for several at once (`mirage.rollout.plan.denoise`)."""
        asked = motion(action, self._actions, **self._reach)
        return self._walk.plan(asked.along(self._walk.camera, self.chunk_frames))

    def accept(self, plan: Plan, latents: Tensor) -> Step:
        """The second half, with what the plan became."""
        chunk = self._walk.accept(plan, latents)
        self._frames = pixels(chunk.frames[-self.chunk_frames :])
        return self._seen(), 0.0, False, False, self._info(float(chunk.readout.mask.float().mean()), chunk.timings)

    def render(self) -> Any:
        return None if self.render_mode is None else self._frames[-1]

    def close(self) -> None:
        self.session = None

    @property
    def _walk(self) -> Session:
        if self.session is None:
            raise gymnasium.error.ResetNeeded("the environment was not reset yet, or it is closed")
        return self.session

    def _seen(self) -> Any:
        return observation(self._obs, self._frames, self._walk, self._start)

    def _info(self, coverage: float, timings: Mapping[str, float]) -> dict[str, Any]:
        return {
            "coverage": coverage,
            "memory_bytes": self._walk.memory.nbytes,
            "seconds": Seconds(dict(timings)),
            "pose": self._walk.camera.c2w.cpu().numpy(),
        }


@dataclass(frozen=True)
class Seconds:
    """Of a step, by stage; `float` is their sum. What a clock shows is no part of what a step is, so all are equal and
    two steps that are the same compare as the same."""

    stages: Mapping[str, float] = field(compare=False)

    def __float__(self) -> float:
        return sum(self.stages.values())
