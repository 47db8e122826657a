"""The closed vocabulary: every word that names a colour, a pattern, a thing or a light, and what it looks like.

A caption says only what really determines surfaces, so a prompt can act on them.
"""

import colorsys
import random
import re

# name: hue, saturation, value (as displayed), each jittered a little when drawn
COLOURS = {
    "red": (0.99, 0.72, 0.78),
    "orange": (0.07, 0.78, 0.90),
    "yellow": (0.135, 0.70, 0.93),
    "green": (0.34, 0.55, 0.66),
    "teal": (0.49, 0.62, 0.66),
    "blue": (0.59, 0.68, 0.80),
    "purple": (0.76, 0.48, 0.70),
    "pink": (0.93, 0.42, 0.92),
    "brown": (0.065, 0.55, 0.52),
    "beige": (0.10, 0.25, 0.88),
    "white": (0.12, 0.05, 0.95),
    "grey": (0.60, 0.06, 0.60),
    "dark": (0.62, 0.25, 0.27),
}
PATTERNS = {
    "stripes": "striped",
    "checker": "checkered",
    "dots": "dotted",
    "blotches": "mottled",
    "gradient": "shaded",
    "bricks": "brick",
    "tiles": "tiled",
}
LIGHTS = {  # colour of the light, its strength, strength of the ambient light
    "bright": ((1.0, 1.0, 0.98), 1.0, 0.62),
    "dim": ((1.0, 0.96, 0.9), 0.62, 0.45),
    "warm": ((1.06, 0.93, 0.76), 0.98, 0.55),
    "cool": ((0.84, 0.96, 1.08), 0.95, 0.56),
}
SKIES = {  # horizon, zenith, cloud colours, amount of cloud
    "clear": ((0.80, 0.90, 0.98), (0.28, 0.55, 0.90), (1.0, 1.0, 1.0), 0.0),
    "cloudy": ((0.84, 0.90, 0.95), (0.40, 0.62, 0.88), (0.97, 0.97, 0.98), 0.85),
    "sunset": ((1.0, 0.72, 0.48), (0.45, 0.42, 0.72), (1.0, 0.78, 0.66), 0.6),
}
SKY_LIGHT = {"clear": "bright", "cloudy": "cool", "sunset": "warm"}
THINGS = ("box", "pillar", "cabinet", "table")
_GLUE = (
    "a",
    "an",
    "and",
    "boxes",
    "buildings",
    "floor",
    "ground",
    "has",
    "light",
    "moving",
    "next",
    "room",
    "sky",
    "street",
    "the",
    "under",
    "walls",
    "with",
)


def vocabulary() -> list[str]:
    """Every word that a caption may hold, sorted, in lower case, without punctuation."""
    names = [*COLOURS, *PATTERNS.values(), *LIGHTS, *SKIES, *THINGS, *_GLUE]
    return sorted(set(names))


def shortened(caption: str, rng: random.Random) -> str:
    """A caption with some of what it names, one thing at least, in its order; a street's as it is."""
    parts = []  # of each room: how it begins, and its things
    for part in caption.split("; "):
        room = re.fullmatch(r"(a room with|the next room has) (.*)", part)
        parts.append((room[1], re.split(", | and ", room[2])) if room else ("", [part]))
    if not parts[0][0]:
        return caption
    share, things = rng.random(), [thing for _, its in parts for thing in its]
    kept = {n for n in range(len(things)) if rng.random() < share} or {rng.randrange(len(things))}
    number, clauses = iter(range(len(things))), []
    for beginning, its in parts:
        some = [thing for thing in its if next(number) in kept]
        if some:
            clauses.append(f"{beginning} {listed(some)}".strip())
    return "; ".join(clauses)


def listed(parts: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def article(phrase: str) -> str:
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def shade(name: str, rng: random.Random) -> tuple[float, float, float]:
    """RGB of a named colour, a little different each time."""
    hue, saturation, value = COLOURS[name]
    saturation = saturation * rng.uniform(0.85, 1.12)
    value = min(1.0, value * rng.uniform(0.93, 1.05))
    return colorsys.hsv_to_rgb((hue + rng.uniform(-0.018, 0.018)) % 1, min(1.0, saturation), value)
