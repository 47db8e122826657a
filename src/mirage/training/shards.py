"""A checkpoint of weights that are shared out among processes: each writes its own pieces, and none gathers them.

These are torch's distributed checkpoints (`torch.distributed.checkpoint`).

    checkpoint.shards/                 a file or more of each process, and .metadata, which says what lies where
    checkpoint.previous.shards/        the one before it

Any number of processes reads it, each the pieces that are its own there. It is written beside and renamed, so it is
whole or not there; a file of it that was cut short later is found by its length, an altered one is not.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata

from mirage.training import parallel

SHARDS, PREVIOUS_SHARDS = "checkpoint.shards", "checkpoint.previous.shards"


def save_shards(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """As the newest of a run; every process must ask. What was the newest becomes the one before."""
    beside, newest, previous = folder / f".{SHARDS}-mirage", folder / SHARDS, folder / PREVIOUS_SHARDS
    if parallel.rank() == 0:
        shutil.rmtree(beside, ignore_errors=True)
    parallel.wait()
    dcp.save(dict(tensors), checkpoint_id=beside)
    if parallel.rank() == 0:
        for path in beside.iterdir():
            _on_disk(path)
        shutil.rmtree(previous, ignore_errors=True)
        if newest.is_dir():
            newest.replace(previous)
        beside.replace(newest)
    parallel.wait()


def load_shards(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Fill these tensors, or this process's pieces of them, with what is there by their names. Every process must ask,
    each for the same; one alone may ask for whole ones."""
    shared = any(parallel.is_shared(tensor) for tensor in tensors.values())
    dcp.load(dict(tensors), checkpoint_id=path, no_dist=not shared)


def described(path: Path) -> dict[str, Tensor]:
    """Every tensor that is there, by name, as an empty one of its shape and type."""
    return {
        name: torch.empty(its.size, dtype=its.properties.dtype)
        for name, its in _metadata(path).state_dict_metadata.items()
        if isinstance(its, TensorStorageMetadata)
    }


def fault(path: Path) -> str | None:
    """What is wrong with it; None: nothing that lengths tell."""
    try:
        held = _metadata(path).storage_data or {}
    except Exception as error:  # it is a pickle: what is wrong with one has no name
        return f"is cut short or no checkpoint ({type(error).__name__})"
    for piece in held.values():
        file = path / piece.relative_path
        if not file.is_file() or file.stat().st_size < piece.offset + piece.length:
            return f"is cut short: {piece.relative_path} has less than was written"
    return None


def _metadata(path: Path) -> Metadata:
    return dcp.FileSystemReader(path).read_metadata()


def _on_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
