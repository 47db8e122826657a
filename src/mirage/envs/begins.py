"""Where episodes begin: a picture, a saved world, or a procedural scene, seen once and then left to the model.

Everything that can be wrong with what was asked is an `InputError` when `Begins` is made, before a model is loaded.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mirage.errors import InputError, check_number
from mirage.models.world import WorldModel
from mirage.request import Request
from mirage.rollout import Session
from mirage.rollout.begin import begin, open_request, open_scene
from mirage.scenes.scene import Scene

DECIDED = ("trajectory", "frames", "resample", "prompts", "static_mask", "seed")
"""Choices of a request that an agent makes by acting, and `reset` by its seed."""


class Begins:
    """Sessions that begin alike. `scene`: the seed of the one scene to begin in; None: each has its own. `choices`:
    those of a `Request`; with an image or a world there is no scene."""

    def __init__(self, choices: Mapping[str, Any], *, scene: int | None = None) -> None:
        if odd := sorted(choices.keys() & set(DECIDED)):
            raise InputError(f"an environment got {', '.join(odd)}: what its actions and the seed of a reset decide")
        self._file = choices.get("image") is not None or choices.get("world") is not None
        self.scene = self._checked(scene)
        nothing = {} if self._file else {"image": "a scene"}
        self._choices = {**choices, **nothing, "trajectory": "stay 4"}
        self._opened = open_request(self._request()) if self._file else None
        self._request()

    def session(self, model: WorldModel, *, seed: int, drawn: int, scene: int | None, prompt: str | None) -> Session:
        """A new one. `drawn`: the scene's seed where nobody chose; `scene`, `prompt`: of this one alone."""
        chosen = self._checked(scene)
        words = self._choices.get("prompt") if prompt is None else prompt
        if self._opened is not None:
            return begin(self._request(seed=seed, prompt=words), model, self._opened)[0]
        place = Scene.sample(next(one for one in (chosen, self.scene, drawn) if one is not None))
        request = self._request(seed=seed, prompt=place.caption if words is None else words)
        return begin(request, model, open_scene(place, request.size or model.size))[0]

    def _request(self, **choices: Any) -> Request:
        return Request.from_plain({**self._choices, **choices}, source="the environment")

    def _checked(self, scene: int | None) -> int | None:
        if scene is not None and self._file:
            raise InputError(f"got scene {scene} beside an image or a world; accepted: one of the three")
        return None if scene is None else check_number("the scene", scene, kind=int, low=0, high=2**31)


def first_frame(session: Session) -> Tensor:
    """[3,H,W], where a session stands that has not walked yet: its picture, or the last frame of its saved walk."""
    if session.image is not None:
        return session.image
    stream = session.lead_in if len(session.lead_in) else session.history.latents[-1:]
    return session.model.decode(stream)[-1]
