"""The tables of a memory, empty: the cameras of written frames, and the points; under a budget with all of its room.

`K` written frames whose camera is kept.
"""

import torch

from mirage.errors import InputError
from mirage.memory.points import PAGE, Points
from mirage.memory.policy import MemoryPolicy
from mirage.memory.table import Table


def tables(channels: int, policy: MemoryPolicy, device: torch.device | str | None) -> tuple[Table, Points, int | None]:
    """The log (index [K], c2w [K,4,4], intrinsics [K,4]), the points, and how many pages of them there is room for;
    None: they grow."""
    log = {
        "index": torch.empty(0, dtype=torch.int32, device=device),
        "c2w": torch.empty(0, 4, 4, dtype=torch.float32, device=device),
        "intrinsics": torch.empty(0, 4, dtype=torch.float32, device=device),
    }
    if policy.max_bytes is None:
        return Table(log), Points(channels, features=policy.features, device=device, pages=None), None
    # a sixteenth for the cameras of written frames, the rest for points; both allocated once, never doubled
    row = Table(log).row_bytes
    frames = max(1, policy.max_bytes // 16 // row)
    page_bytes = Points(channels, features=policy.features, device=device, pages=None).page_bytes
    pages = (policy.max_bytes - frames * row) // page_bytes
    if pages < 1:
        raise InputError(
            f"a memory of {policy.max_bytes} bytes holds no tile of {PAGE} points; "
            f"give it at least {page_bytes + frames * row} bytes"
        )
    try:
        points = Points(channels, features=policy.features, device=device, pages=pages)
        return Table(log, limit=frames), points, pages
    except RuntimeError as error:
        raise InputError(
            f"a budget of {policy.max_bytes} bytes is taken at once, and this machine does not have them; give less"
        ) from error
