"""The order that people mean: frame 2 before frame 10.

sorted(paths, key=natural)
"""

import re
from pathlib import Path


def natural(path: Path | str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """A key for `sorted`: numbers in a name compare as numbers, words without case; equal names as they are.

    Only the last part of a path is looked at, with its suffix apart, so that `a.png` stands before `a1.png`.
    """
    name = Path(path).name
    stem, dot, suffix = name.rpartition(".")
    parts = re.findall(r"[0-9]+|[^0-9]+", (stem if dot and stem else name).casefold())
    key = tuple((0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts)
    return key, f"{suffix}\0{path}"
