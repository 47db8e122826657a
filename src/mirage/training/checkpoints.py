"""A run's checkpoint on disk: weights, averaged weights, optimiser state, step; and that it is whole.

    checkpoint.safetensors             the newest, written beside and renamed, with a digest of all that it holds
    checkpoint.previous.safetensors    the one before it

One that was cut short or altered is refused by name, and the one before it is taken instead.
"""

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mirage.errors import InputError
from mirage.files import replacing

CHECKPOINT, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"


def save_checkpoint(folder: Path, tensors: dict[str, Tensor]) -> None:
    """As the newest of a run; what was the newest becomes the one before."""
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(folder / CHECKPOINT) as beside:
        save_file(held, beside, metadata={"digest": _digest(held.items())})
        if (folder / CHECKPOINT).is_file():
            (folder / CHECKPOINT).replace(folder / PREVIOUS)


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest one of a run that is whole; None: the run has none yet. Says on stderr which one it leaves out.

    Raises `InputError` where there are some and none is whole."""
    there = [path for path in (folder / CHECKPOINT, folder / PREVIOUS) if path.is_file()]
    wrong = []
    for path in there:
        fault = _fault(path)
        if fault is None:
            if wrong:
                print(f"{'; '.join(wrong)}; going on from {path}", file=sys.stderr, flush=True)
            return path
        wrong.append(f"{path} {fault}")
    if wrong:
        raise InputError(f"{'; '.join(wrong)}; expected a whole checkpoint, or none to begin anew")
    return None


def averaged_weights(folder: Path) -> dict[str, Tensor]:
    """The averaged weights of a run's newest checkpoint, by parameter name."""
    path = newest_checkpoint(folder)
    if path is None:
        raise InputError(f"{folder} has no checkpoint; run the recipe that makes it first")
    with safe_open(path, framework="pt") as file:
        return {
            key.removeprefix("averaged."): file.get_tensor(key) for key in file.keys() if key.startswith("averaged.")
        }


def progress(path: Path) -> tuple[int, float]:
    """Step and second of a run's checkpoint."""
    with safe_open(path, framework="pt") as file:
        return int(file.get_tensor("step")), float(file.get_tensor("seconds"))


def _fault(path: Path) -> str | None:
    """What is wrong with a checkpoint; None: nothing."""
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
