"""How surfaces look and what lights them: values that the builder hands to the faces of boxes."""

import random
from dataclasses import dataclass

from mirage.scenes import words

Colour = tuple[float, ...]


@dataclass(frozen=True)
class Finish:
    """How a surface looks: a pattern, three colours and its scale in metres."""

    family: str
    colours: tuple[Colour, ...]  # base, and what the pattern's two weights add
    period: tuple[float, ...]
    duty: float
    words: str


@dataclass(frozen=True)
class Light:
    position: tuple[float, float, float]
    falloff: float
    colour: Colour
    ambient: Colour


def lamp(rng: random.Random, name: str, plan, height: float) -> Light:
    """The light of a room `plan` (x0, z0, x1, z1)."""
    tint, strength, ambient = words.LIGHTS[name]
    x0, z0, x1, z1 = plan
    at = (rng.uniform(0.35, 0.65), rng.uniform(0.35, 0.65))
    position = (x0 + at[0] * (x1 - x0), -height + 0.35, z0 + at[1] * (z1 - z0))
    return Light(position, 0.05, tuple(0.85 * strength * c for c in tint), tuple(ambient * c for c in tint))


def plain(colour: tuple[float, ...], name: str) -> Finish:
    return Finish("flat", added(colour, colour, colour), (1.0, 1.0), 0.5, name)


def added(base, first, second, *, spread: bool = False) -> tuple[tuple[float, ...], ...]:
    """Three colours as a base and what the pattern's weights add: the second weight turns `first` into `second`."""
    d1 = tuple(b - a for a, b in zip(base, first, strict=True))
    d2 = tuple(b - a for a, b in zip(first, second, strict=True))
    return tuple(base), d1, d2
