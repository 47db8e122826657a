"""A home of runs in few small files, to carry it between machines: its averaged weights in float16, and its curves.

    home/mini_autoencoder/  checkpoint.safetensors, curve.jsonl, latents.json, ...        folder/shard-00.safetensors
    home/mini_denoiser/     checkpoint.safetensors, curve.jsonl, recipe.json         <->  folder/shard-01.safetensors

A run that comes back begins from its average, at its step and second, without the optimiser's state. What another run
that is there has begun from, and so replaces, is left out.
"""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mirage.errors import InputError
from mirage.files import replacing
from mirage.training.loop import CHECKPOINT, averaged_weights, progress

REPLACED = {"mini_images": "mini_autoencoder", "mini_denoiser": "mini_memories"}
"""Runs that nobody needs once another has a checkpoint."""
_HEADER = 1 << 20  # bytes of a file that are left for names and texts


def pack(home: Path, folder: Path, *, limit: int = 16 << 20) -> list[Path]:
    """Every run of `home` that has a checkpoint as files of at most `limit` bytes in `folder`; those files."""
    runs = {path.parent.name for path in home.glob(f"*/{CHECKPOINT}")}
    tensors: dict[str, Tensor] = {}
    texts: dict[str, str] = {}
    for run in sorted(runs):
        if REPLACED.get(run) in runs:
            continue
        step, seconds = progress(home / run)
        tensors |= {f"{run}/{name}": value.half() for name, value in averaged_weights(home / run).items()}
        texts[f"{run}/"] = json.dumps({"step": step, "seconds": seconds})
        texts |= {f"{run}/{path.name}": path.read_text() for path in (home / run).glob("*.json*")}
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, part in enumerate(_parts(tensors, limit - _HEADER)):
        files.append(folder / f"shard-{number:02d}.safetensors")
        with replacing(files[-1]) as beside:
            save_file(part, beside, metadata=texts if number == 0 else None)
    return files


def unpack(folder: Path, home: Path) -> list[str]:
    """The runs that `pack` put into `folder`, in `home`, where none of them may be; their names."""
    tensors: dict[str, Tensor] = {}
    texts: dict[str, str] = {}
    for path in sorted(folder.glob("shard-*.safetensors")):
        with safe_open(path, framework="pt") as file:
            tensors |= {name: file.get_tensor(name).float() for name in file.keys()}
            texts |= file.metadata() or {}
    runs = sorted(name.removesuffix("/") for name in texts if name.endswith("/"))
    if not runs:
        raise InputError(f"{folder} holds no shards of runs; expected shard-00.safetensors and those after it")
    there = [run for run in runs if (home / run).exists()]
    if there:
        raise InputError(f"{home} has a run {there[0]} already; expected a home without")
    for run in runs:
        (home / run).mkdir(parents=True)
        weights = {name.removeprefix(f"{run}/"): t for name, t in tensors.items() if name.startswith(f"{run}/")}
        held = {name: torch.tensor(value) for name, value in json.loads(texts[f"{run}/"]).items()}
        held |= {f"{kind}.{name}": t for kind in ("weights", "averaged") for name, t in weights.items()}
        with replacing(home / run / CHECKPOINT) as beside:
            save_file({name: t.clone() for name, t in held.items()}, beside)
    for name, text in texts.items():
        if not name.endswith("/"):
            (home / name).write_text(text)
    return runs


def _parts(tensors: dict[str, Tensor], limit: int) -> list[dict[str, Tensor]]:
    """In order, as many in each as fit."""
    parts: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if tensor.nbytes > limit:
            raise InputError(f"{name} has {tensor.nbytes} bytes; a file is to have {limit} at most")
        if size + tensor.nbytes > limit:
            parts.append({})
            size = 0
        parts[-1][name] = tensor.contiguous()
        size += tensor.nbytes
    return parts
