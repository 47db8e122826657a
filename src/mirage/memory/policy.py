"""What a memory admits, how it stores and shows it, and what goes first when it is full: orthogonal choices, frozen.

Each field stands alone; a default is the choice that did best on returns (docs/memory.md has the figures).
"""

import math
from dataclasses import dataclass
from typing import Literal

from mirage.errors import check_number
from mirage.kinds import check_fields
from mirage.units import MOST_BYTES

Admit = Literal["unseen", "all"]
Features = Literal["float16", "int8", "float32"]
Splat = Literal["footprint", "cell"]
Evict = Literal["coverage", "oldest", "least_read"]
MOST_RATIO = 1e9
Lift = Literal["center", "corner"]


@dataclass(frozen=True)
class MemoryPolicy:
    """How a `LatentSpatialMemory` behaves.

    admit: "unseen" is the write gate: a cell is stored only where the memory, read from the same camera, has nothing
        at that depth, or only something coarser (which it then replaces). "all" stores every cell, as published.
    tolerance: relative difference in depth up to which two points are the same surface. It must exceed the noise of
        the depth source, or noise is stored as new surface.
    spacing: how near to a cell's centre a stored point must lie for the cell to be known, as the side of a box in
        cells. 1 is anywhere in the cell: fewest points, and reads off by up to half a cell. With 1/2 a surface ends
        with up to four points a cell, from views at other phases, and a read finds one within a quarter of a cell.
    resolution_ratio: a stored point whose footprint is more than this many times the new one's is replaced by it;
        1 keeps the closest view of a surface, 0 the newest.
    features: how features are kept. "int8" has one scale per point.
    splat: "footprint": points have the size of the cell they came from and close the holes between them;
        "cell": a point fills the one cell it falls into, as published.
    lift: "center": a latent lies in the middle of its cell. "corner": where the published code has it, which takes the
        number of a cell for its coordinate: half a cell up and left in writing, and the same in reading.
    front: of the points of a cell within this share behind the nearest one, the one nearest to the cell's centre
        wins; 0 takes the nearest point whatever its offset.
    max_bytes: everything the memory allocates stays within this many bytes; None: it grows.
    evict: which tile of points goes first when the budget is full. "coverage": the one that the least of what past
        cameras saw would miss; "oldest"; "least_read": the one whose last read is longest ago.
    """

    admit: Admit = "unseen"
    tolerance: float = 0.05
    spacing: float = 0.5
    resolution_ratio: float = 2.0
    features: Features = "float16"
    splat: Splat = "footprint"
    lift: Lift = "center"
    front: float = 0.08
    max_bytes: int | None = None
    evict: Evict = "coverage"

    def __post_init__(self) -> None:
        check_fields(self, lambda name: f"policy {name}")
        above, below = math.nextafter(0.0, 1.0), math.nextafter(1.0, 0.0)
        ranges: dict[str, tuple[float, float, str]] = {
            "tolerance": (above, below, "a relative depth difference between 0 and 1"),
            "spacing": (above, 1.0, "a share of a cell above 0 and at most 1"),
            "resolution_ratio": (0.0, MOST_RATIO, f"a number, at least 0 and at most {MOST_RATIO:g}"),
            "front": (0.0, below, "a relative depth difference from 0 to 1"),
        }
        for name, (low, high, accepted) in ranges.items():
            check_number(f"policy {name}", getattr(self, name), low=low, high=high, accepted=accepted)
        if self.max_bytes is not None:
            accepted = f"a number of bytes from 1 to {MOST_BYTES}, or None"
            check_number("policy max_bytes", self.max_bytes, kind=int, low=1, high=MOST_BYTES, accepted=accepted)


PUBLISHED = MemoryPolicy(admit="all", features="float32", splat="cell", lift="corner", front=0.0)
"""What the memory of the published code does (microsoft/LatentSpatialMemory), and so what its branches were trained on:
every cell stored as it is, the nearest point wins, all half a cell off."""
