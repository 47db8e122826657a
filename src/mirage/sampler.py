"""How latents are drawn from noise: `Sampler`, chosen by whoever asks, completed by what a model was made for.

On the ground floor, standard library only: requests, sessions and models all speak of one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Literal, get_args

from mirage.errors import InputError, check_number
from mirage.kinds import checked

MOST_STEPS = 1000
Grid = Literal["diffusers", "published"]
Solver = Literal["unipc", "euler", "dmd"]


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Choices of a flow-matching sampler. None: the model's own (`WorldModel.sampler`, `WorldModel.draft_sampler`).

    steps      denoising steps, 1 to 1000
    shift      of the noise schedule, sigma = shift * u / (1 + (shift - 1) * u): above 1, more steps at high noise
    last       noise level at which the last step begins, below 1 (diffusers' `shift_terminal`); 0: where it falls
    noise      standard deviation of the initial noise, 0 to 1
    guidance   scale of classifier-free guidance; 1: none
    grid       where steps begin before the shift: "diffusers", from 1 evenly down towards 1/1000; "published", from
               0.999 towards 0, as in the UniPC of Wan's own code and of the paper's (`mirage.models.flow.unshifted`)
    solver     "unipc": a multistep solver of second order; "euler": straight from level to level; "dmd": each step
               predicts the clean latents and adds fresh noise of the next level, as few-step models distilled by
               distribution matching are run
    timesteps  1000 times the noise level at which each step begins, falling, in place of steps, shift and last; for
               "euler" and "dmd", which they mean where no solver is named

    >>> Sampler(steps=8).over(Sampler(steps=40, shift=5.0, last=0.0, noise=1.0, guidance=1.0)).steps
    8
    """

    steps: int | None = None
    shift: float | None = None
    last: float | None = None
    noise: float | None = None
    guidance: float | None = None
    grid: Grid | None = None
    solver: Solver | None = None
    timesteps: tuple[float, ...] | None = None

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
        if self.grid is not None and self.grid not in get_args(Grid):
            raise InputError(f"the sampler's grid is {self.grid!r}; accepted: {', '.join(get_args(Grid))}")
        if self.solver is not None and self.solver not in get_args(Solver):
            raise InputError(f"the solver is {self.solver!r}; accepted: {', '.join(get_args(Solver))}")
        if self.timesteps is not None:
            self._check_timesteps(self.timesteps)

    def _check_timesteps(self, given: Any) -> None:
        if not isinstance(given, list | tuple):
            raise InputError(f"timesteps are {given!r}; accepted: numbers, such as 1000, 757, 522")
        low = math.nextafter(0.0, 1.0)
        its = tuple(check_number("a timestep", one, low=low, high=1000.0, accepted="above 0, to 1000") for one in given)
        object.__setattr__(self, "timesteps", its)
        if not its:
            return
        if any(one <= other for one, other in pairwise(its)):
            raise InputError(f"timesteps are {', '.join(f'{one:g}' for one in its)}; accepted: falling ones")
        if self.solver == "unipc":
            raise InputError("timesteps of one's own are for the solvers dmd and euler, not for unipc")
        if self.steps not in (None, len(its)):
            raise InputError(f"steps is {self.steps}, and {len(its)} timesteps are given; accepted: one of the two")
        object.__setattr__(self, "steps", len(its))
        object.__setattr__(self, "solver", self.solver or "dmd")

    @checked
    def over(self, own: Sampler) -> Sampler:
        """These choices, and `own` where none was made. Whoever chooses steps, a shift or UniPC does without the
        timesteps of `own`."""
        chosen = {field.name: getattr(self, field.name) for field in fields(self)}
        chosen = {name: value for name, value in chosen.items() if value is not None}
        others = self.solver == "unipc" or self.steps is not None or self.shift is not None
        if self.timesteps is None and own.timesteps and others:
            chosen["timesteps"] = ()
        return Sampler(**({field.name: getattr(own, field.name) for field in fields(self)} | chosen))

    @property
    def complete(self) -> bool:
        """Whether every choice is made; without a solver it is UniPC, without timesteps they come from the others."""
        return None not in (self.steps, self.shift, self.last, self.noise, self.guidance)
