"""How a session runs, chosen once: `Settings`. They check themselves, and they are written into the world file."""

import math
from dataclasses import dataclass, field, fields
from typing import Any

from mirage.errors import InputError, check_number
from mirage.kinds import check_fields
from mirage.models.world import Conditioning
from mirage.sampler import Sampler

_STORED = {"steps": "steps", "flow_shift": "shift", "guidance_scale": "guidance", "noise_scale": "noise"}
"""What a world file calls the choices of a sampler."""
_LATER = ("last", "solver", "timesteps", "grid")
"""Choices that are stored where they are made: readers of before did not know them."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a session runs, chosen once.

    sampler            of chunks, and of drafts but for where their last step begins; None in it: the model's own
    negative_prompt    what to go away from, where the sampler's guidance is not 1; None: the model's own
    conditioning       how the memory enters: "branch", "guidance" (through the sampler) or "auto"
    references         how many earlier views the denoiser is shown, 0 to 64; None: the model's own
    preceding          how many clean latents before the chunk's first one, 0 to 15; None: the model's own
    lock               fit each new depth to the memory's own where both see
    max_residual       median relative difference above which such a fit is not believed
    free_space         keep out of the memory what an earlier frame looked through, for its depth is wrong
    filter             keep what moves out of the memory; for worlds in which something does
    draft              draw what is unknown once, in a draft of a few views that the whole chunk then knows
                       (draft.py); None: as the model was made for
    history            latent frames kept to look back at, 17 or more
    """

    sampler: Sampler = field(default_factory=Sampler)
    negative_prompt: str | None = None
    conditioning: Conditioning = "auto"
    references: int | None = None
    preceding: int | None = None
    lock: bool = True
    max_residual: float = 0.2
    free_space: bool = True
    filter: bool = False
    draft: bool | None = None
    history: int = 96

    def __post_init__(self) -> None:
        check_fields(self, lambda name: f"setting {name}")
        ranges: dict[str, tuple[type[int] | type[float], float, float]] = {
            "references": (int, 0, 64),
            "preceding": (int, 0, 15),
            "max_residual": (float, 0.0, math.inf),
            "history": (int, 17, 2**31),
        }
        for name, (kind, low, high) in ranges.items():
            value = getattr(self, name)
            if value is not None or name not in ("references", "preceding"):
                value = check_number(f"setting {name}", value, kind=kind, low=low, high=high)
            object.__setattr__(self, name, value)

    def stored(self) -> dict[str, Any]:
        """What JSON can say of them, for the world file; `from_stored` reads it."""
        plain = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "sampler"}
        sampler = {name: getattr(self.sampler, mine) for name, mine in _STORED.items()}
        later = {name: value for name in _LATER if (value := getattr(self.sampler, name)) is not None}
        return plain | sampler | later

    @classmethod
    def from_stored(cls, values: Any, *, source: str) -> "Settings":
        """Settings of a world file; an unknown or impossible one is an `InputError` that names the file."""
        known = {item.name for item in fields(cls)} - {"sampler"} | {*_STORED, *_LATER}
        if not isinstance(values, dict) or not values.keys() <= known:
            odd = sorted(values.keys() - known)[:3] if isinstance(values, dict) else type(values).__name__
            raise InputError(f"{source} has settings that this program does not know: {odd}")
        names = _STORED | {name: name for name in _LATER}
        chosen = {mine: values[name] for name, mine in names.items() if name in values}
        try:
            return cls(sampler=Sampler(**chosen), **{k: v for k, v in values.items() if k not in names})
        except InputError as error:
            raise InputError(f"{source}: {error}") from error
