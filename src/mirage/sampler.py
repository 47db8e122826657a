"""How latents are drawn from noise: `Sampler`, chosen by whoever asks, completed by what a model was made for.

On the ground floor, standard library only: requests, sessions and models all speak of one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

from mirage.errors import check_number
from mirage.kinds import checked

MOST_STEPS = 1000


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Choices of a flow-matching sampler. None: the model's own (`WorldModel.sampler`, `WorldModel.draft_sampler`).

    steps      denoising steps, 1 to 1000
    shift      of the noise schedule, sigma = shift * u / (1 + (shift - 1) * u): above 1, more steps at high noise
    last       noise level at which the last step begins, below 1 (diffusers' `shift_terminal`); 0: where it falls
    noise      standard deviation of the initial noise, 0 to 1
    guidance   scale of classifier-free guidance; 1: none

    >>> Sampler(steps=8).over(Sampler(steps=40, shift=5.0, last=0.0, noise=1.0, guidance=1.0)).steps
    8
    """

    steps: int | None = None
    shift: float | None = None
    last: float | None = None
    noise: float | None = None
    guidance: float | None = None

    def __post_init__(self) -> None:
        shift = "a number above 0, at most 100 (Wan2.2: 5)"
        checks: dict[str, dict[str, Any]] = {
            "steps": {"what": "steps", "kind": int, "low": 1, "high": MOST_STEPS},
            "shift": {"what": "flow shift", "low": math.nextafter(0.0, 1.0), "high": 100.0, "accepted": shift},
            "last": {"what": "noise level of the last step", "low": 0.0, "high": math.nextafter(1.0, 0.0)},
            "noise": {"what": "noise scale", "low": 0.0, "high": 1.0},
            "guidance": {"what": "guidance scale", "accepted": "a finite number, 1 for none"},
        }
        for name, check in checks.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, check_number(value=value, **check))

    @checked
    def over(self, own: Sampler) -> Sampler:
        """These choices, and `own` where none was made."""
        chosen = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(own, **{name: value for name, value in chosen.items() if value is not None})

    @property
    def complete(self) -> bool:
        """Whether every choice is made."""
        return None not in (getattr(self, field.name) for field in fields(self))
