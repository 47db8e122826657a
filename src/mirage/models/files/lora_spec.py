"""A LoRA as it is asked for: a file, and how strongly it counts. Standard library only.

LoraSpec.parse("style.safetensors:0.8")     # LoraSpec(path=Path("style.safetensors"), strength=0.8)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mirage.errors import InputError


@dataclass(frozen=True)
class LoraSpec:
    """A LoRA's file or folder, and what its difference of weights is multiplied by; a negative one turns it round."""

    path: Path
    strength: float = 1.0

    def __post_init__(self) -> None:
        """`InputError` for a strength that is no number, and for what no file can be called."""
        if "\0" in str(self.path):
            raise InputError(f"LoRA {str(self.path)[:200]!r} has a null byte in its name; expected a file or folder")
        if not math.isfinite(self.strength):
            raise InputError(f"LoRA {self.path} has strength {self.strength}; expected a number such as 0.8")

    @classmethod
    def parse(cls, text: str) -> "LoraSpec":
        """FILE or FILE:STRENGTH. A file whose whole name is there is that file, colon and all."""
        file, colon, strength = text.rpartition(":")
        if not colon or Path(text).expanduser().exists():
            return cls(Path(text).expanduser())
        try:
            return cls(Path(file).expanduser(), float(strength))
        except ValueError as error:
            if not isinstance(error, InputError) and not Path(file).expanduser().exists():
                return cls(Path(text).expanduser())  # a colon of the path itself, as in C:\loras
            raise InputError(f"LoRA {file} has strength {strength!r}; expected a number such as 0.8") from error

    def __str__(self) -> str:
        """As it is typed."""
        return str(self.path) if self.strength == 1 else f"{self.path}:{self.strength:g}"


def lora_specs(given: "str | Path | LoraSpec | Sequence[str | Path | LoraSpec] | None") -> tuple[LoraSpec, ...]:
    """None, one or several, as specs; a path may have its strength behind a colon. The same file twice is refused."""
    if given is None or isinstance(given, str | Path | LoraSpec):
        given = () if given is None else (given,)
    specs = tuple(one if isinstance(one, LoraSpec) else LoraSpec.parse(str(one)) for one in given)
    for number, spec in enumerate(specs):
        if spec.path.resolve() in {other.path.resolve() for other in specs[:number]}:
            raise InputError(f"LoRA {spec.path} is given twice; accepted: once, with the strengths added up")
    return specs
