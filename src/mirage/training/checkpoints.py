"""A run's checkpoint on disk: weights, averaged weights, optimiser state, step; and that it is whole.

    checkpoint.safetensors             the newest, written beside and renamed, with a digest of all that it holds
    checkpoint.previous.safetensors    the one before it

One that was cut short or altered is refused by name, and the one before it is taken instead. Weights that are shared
out among processes have theirs in pieces (shards.py); whichever kind is newer is gone on from.
"""

import hashlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mirage.errors import InputError
from mirage.files import replacing
from mirage.training.parallel import local, piece
from mirage.training.shards import PREVIOUS_SHARDS, SHARDS, described, fault, load_shards

CHECKPOINT, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"


def save_checkpoint(folder: Path, tensors: dict[str, Tensor]) -> None:
    """As the newest of a run; what was the newest becomes the one before."""
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(folder / CHECKPOINT, alone=True) as beside:
        save_file(held, beside, metadata={"digest": _digest(held.items())})
        if (folder / CHECKPOINT).is_file():
            (folder / CHECKPOINT).replace(folder / PREVIOUS)


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest one of a run that is whole; None: the run has none yet. Says on stderr which one it leaves out.

    Raises `InputError` where there are some and none is whole."""
    there = [path for name in (CHECKPOINT, SHARDS, PREVIOUS, PREVIOUS_SHARDS) if (path := folder / name).exists()]
    faults = {path: fault(path) if path.is_dir() else _fault(path) for path in there}
    wrong = [f"{path} {why}" for path, why in faults.items() if why is not None]
    whole = [path for path, why in faults.items() if why is None]
    if whole:
        newest = max(whole, key=lambda path: progress(path)[0])
        if wrong:
            print(f"{'; '.join(wrong)}; going on from {newest}", file=sys.stderr, flush=True)
        return newest
    if wrong:
        raise InputError(f"{'; '.join(wrong)}; expected a whole checkpoint, or none to begin anew")
    return None


def averaged_weights(folder: Path) -> dict[str, Tensor]:
    """The averaged weights of a run's newest checkpoint, by parameter name."""
    path = newest_checkpoint(folder)
    if path is None:
        raise InputError(f"{folder} has no checkpoint; run the recipe that makes it first")
    found = {name: tensor for name, tensor in held_by(path).items() if name.startswith("averaged.")}
    fill(path, found)
    return {name.removeprefix("averaged."): tensor for name, tensor in found.items()}


def held_by(path: Path) -> dict[str, Tensor]:
    """Every tensor of a checkpoint by name, as an empty one of its shape and type."""
    if path.is_dir():
        return described(path)
    with safe_open(path, framework="pt") as file:
        return {name: torch.empty_like(file.get_tensor(name)) for name in file.keys()}


def fill(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Put into these tensors what a checkpoint has under their names, or of those that are shared out the pieces."""
    if path.is_dir():
        load_shards(path, tensors)
        return
    with safe_open(path, framework="pt") as file:
        for name, tensor in tensors.items():
            value = file.get_tensor(name)
            if value.shape != tensor.shape:
                raise InputError(f"{path} has {name} {list(value.shape)}; expected {list(tensor.shape)}")
            local(tensor).copy_(piece(value, tensor))


def progress(path: Path) -> tuple[int, float]:
    """Step and second of a run's checkpoint."""
    step, seconds = torch.zeros((), dtype=torch.long), torch.zeros((), dtype=torch.float64)
    fill(path, {"step": step, "seconds": seconds})
    return int(step), float(seconds)


def _fault(path: Path) -> str | None:
    """What is wrong with a checkpoint in one file; None: nothing."""
    try:
        with safe_open(path, framework="pt") as file:
            digest = (file.metadata() or {}).get("digest")
            if digest is None:
                return "has no digest, so it is of an earlier version of Mirage"
            found = _digest((name, file.get_tensor(name)) for name in file.keys())
            clock = [file.get_tensor(name) for name in ("step", "seconds") if name in file.keys()]
            if len(clock) < 2 or any(one.numel() != 1 or not 0 <= one.item() < 2**53 for one in clock):
                return "does not say at which step and second it was written"
    except (SafetensorError, OSError, ValueError) as error:
        return f"is cut short or no checkpoint ({' '.join(str(error).split())})"
    return None if found == digest else "was altered: its digest is not that of what it holds"


def _digest(named: Iterable[tuple[str, Tensor]]) -> str:
    """Of names, types, shapes and bits, in whatever order they come."""
    total = 0
    for name, tensor in named:
        one = hashlib.blake2b(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), digest_size=32)
        one.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        total = (total + int.from_bytes(one.digest(), "big")) % (1 << 256)
    return f"{total:064x}"
