"""Sizes as people write them: "8MiB", "200 KB", "65536". Standard library only."""

import re

from mirage.errors import InputError

MOST_BYTES = 2**48
"""No machine has more; sizes beyond it are slips of the hand, and sums of them overflow."""
_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


def parse_bytes(text: str, *, what: str = "a memory budget") -> int:
    """A number of bytes from "8MiB", "200 KB" or "65536"."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)\s*", text.lower())
    size = float(found[1]) * _UNITS.get(found[2], 0) if found else 0
    if not 1 <= size <= MOST_BYTES:
        raise InputError(
            f"{what} is a size above 0 such as 8MiB or 200KB, at most {MOST_BYTES >> 40}TiB; got {text[:80]!r}"
        )
    return int(size)
