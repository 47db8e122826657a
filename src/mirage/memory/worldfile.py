"""A world that is kept: its memory, and beside it whatever a session wants to find again, in one file.

What the file looks like, and what of it is believed, is in statefile.py.
"""

import os
from typing import Any

import torch
from torch import Tensor

from mirage.memory.memory import LatentSpatialMemory
from mirage.memory.statefile import read_state


def save_world(
    path: str | os.PathLike[str],
    memory: LatentSpatialMemory,
    *,
    extra_tensors: dict[str, Tensor] | None = None,
    extra: dict[str, Any] | None = None,
) -> None:
    """Write the memory to `path`; a kill at any moment leaves there what was there before, or the whole new file.

    `extra_tensors` and `extra` (what JSON can say) come back from `load_world` as they are: the state of a session.
    """
    memory.save_beside(path, extra_tensors=extra_tensors, extra=extra)


def load_world(
    path: str | os.PathLike[str],
    *,
    device: torch.device | str | None = None,
) -> tuple[LatentSpatialMemory, dict[str, Tensor], dict[str, Any]]:
    """(memory, extra tensors, extra values) of a world file. Raises `InputError` that says what is wrong with it."""
    state = read_state(path)
    memory = LatentSpatialMemory.from_state(state.tensors, state.meta, device=device, source=str(path))
    return memory, {name: tensor.to(device or "cpu") for name, tensor in state.extra_tensors.items()}, state.extra
