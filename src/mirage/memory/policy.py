"""What a memory admits, how it stores and shows it, and what goes first when it is full: orthogonal choices, frozen.

Each field stands alone; a default is the choice that did best on returns (docs/memory.md has the figures).
"""

from dataclasses import dataclass
from typing import Literal

from mirage.errors import InputError
from mirage.kinds import check_fields
from mirage.units import MOST_BYTES

Admit = Literal["unseen", "all"]
Features = Literal["float16", "int8", "float32"]
Splat = Literal["footprint", "cell"]
Evict = Literal["coverage", "oldest", "least_read"]


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
    front: float = 0.08
    max_bytes: int | None = None
    evict: Evict = "coverage"

    def __post_init__(self) -> None:
        check_fields(self, lambda name: f"policy {name}")
        if not 0 < self.tolerance < 1:
            raise InputError(f"policy tolerance is a relative depth difference between 0 and 1, got {self.tolerance}")
        if not 0 < self.spacing <= 1:
            raise InputError(f"policy spacing is a share of a cell above 0 and at most 1, got {self.spacing}")
        if not self.resolution_ratio >= 0:
            raise InputError(f"policy resolution_ratio is at least 0, got {self.resolution_ratio}")
        if not 0 <= self.front < 1:
            raise InputError(f"policy front is a relative depth difference from 0 to 1, got {self.front}")
        if self.max_bytes is not None and not 0 < self.max_bytes <= MOST_BYTES:
            raise InputError(
                f"policy max_bytes is a number of bytes from 1 to {MOST_BYTES} or None, got {self.max_bytes}"
            )
