"""The order that people mean: frame 2 before frame 10. The one order of names everywhere; standard library only.

sorted(paths, key=natural)
"""

import os
import re
from pathlib import PurePath


def natural(path: str | os.PathLike[str]) -> tuple[tuple[tuple[tuple[int, int, str], ...], ...], str]:
    """A key for `sorted`: numbers in a name compare as numbers, words without case; equal names as they are.

    Folders compare before what is in them, and a suffix is apart, so that `a.png` stands before `a1.png`.
    """
    text = os.fspath(path)
    *folders, name = PurePath(text).parts or ("",)
    stem, dot, suffix = name.rpartition(".")
    keys = tuple(_key(part) for part in (*folders, stem if dot and stem else name))
    return keys, f"{suffix}\0{text}"


def _key(part: str) -> tuple[tuple[int, int, str], ...]:
    """Runs of digits by length and digits, which is their value: Python refuses to make a number of 5,000 of them."""
    runs = re.findall(r"[0-9]+|[^0-9]+", part.casefold())
    bare = [run.lstrip("0") if run[0] in "0123456789" else None for run in runs]
    return tuple(
        (1, 0, run) if digits is None else (0, len(digits), digits) for run, digits in zip(runs, bare, strict=True)
    )
