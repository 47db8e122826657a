"""The loop that every recipe runs: steps, schedule, averaged weights, checkpoints, a curve.

A run is a folder:
    checkpoint.safetensors    weights, averaged weights, optimiser state and step; written beside and renamed
    curve.jsonl               one line every `log_every` steps
    recipe.json               what was asked for

What a step sees is drawn from (seed, step, rank) and from nothing else, so a run that was killed and resumed takes the
same steps as one that was not.
"""

import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mirage.errors import InputError
from mirage.files import replacing
from mirage.training import parallel
from mirage.training.optimizer import MuonAdamW


class Task(Protocol):
    """What is trained: the modules, one loss, and what to look at now and then."""

    module: nn.Module

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Loss of this process's batch at `step`, and numbers for the curve."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Numbers on held-out data, with the averaged weights in place; called in process 0 alone."""
        ...


@dataclass(frozen=True)
class Schedule:
    """`steps` in all: a linear warm-up, a plateau, and a linear cool-down over the last `cooldown` share."""

    steps: int
    warmup: int = 50
    cooldown: float = 0.4
    muon_lr: float = 0.02
    adamw_lr: float = 1e-3
    adamw: str = "(?!)"
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    average: float = 0.998
    seed: int = 0
    log_every: int = 20
    evaluate_every: int = 200
    checkpoint_seconds: float = 120.0

    def scale(self, step: int) -> float:
        """Factor on both learning rates at `step`."""
        end = max(1.0, self.cooldown * self.steps)
        return min((step + 1) / self.warmup, 1.0, max((self.steps - step) / end, 0.0))


def fit(task: Task, schedule: Schedule, folder: Path, *, recipe: object = None) -> None:
    """Train `task` in `folder`, going on from its checkpoint if there is one; leaves the averaged weights in place."""
    folder.mkdir(parents=True, exist_ok=True)
    chief = parallel.rank() == 0
    optimizer = MuonAdamW(
        task.module.named_parameters(),
        muon_lr=schedule.muon_lr,
        adamw_lr=schedule.adamw_lr,
        adamw=schedule.adamw,
        weight_decay=schedule.weight_decay,
    )
    averaged = {name: p.detach().clone() for name, p in optimizer.parameters.items()}
    step = _resume(folder, optimizer, averaged)
    if chief and is_dataclass(recipe) and not isinstance(recipe, type):
        (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1, default=str))
    parameters = list(optimizer.parameters.values())
    started, saved, totals = time.monotonic(), time.monotonic(), {}
    while step < schedule.steps:
        generator = torch.Generator().manual_seed((schedule.seed * 1_000_003 + step) * 64 + parallel.rank())
        loss, numbers = task.loss(step, generator)
        for p in parameters:
            p.grad = None
        loss.backward()
        parallel.average_gradients(parameters)
        numbers["norm"] = float(nn.utils.clip_grad_norm_(parameters, schedule.clip_norm))
        if not math.isfinite(numbers["norm"]):
            raise FloatingPointError(f"the gradient is not finite at step {step}; the last checkpoint is whole")
        optimizer.step(schedule.scale(step))
        step += 1
        decay = min(schedule.average, step / (step + 10))
        with torch.no_grad():
            for name, p in optimizer.parameters.items():
                averaged[name].lerp_(p, 1 - decay)
        for key, value in numbers.items():
            totals.setdefault(key, []).append(value)
        last = step == schedule.steps
        if step % schedule.log_every == 0 or last:
            line = {
                "step": step,
                "seconds": round(time.monotonic() - started, 1),
                **{k: round(parallel.average(sum(v) / len(v)), 5) for k, v in totals.items()},
            }
            totals = {}
            if chief:
                _log(folder, line, schedule.steps)
        if chief and (step % schedule.evaluate_every == 0 or last):
            with swapped(task.module, averaged):
                _log(folder, {"step": step, "evaluation": task.evaluate()}, schedule.steps)
        if chief and (last or time.monotonic() - saved > schedule.checkpoint_seconds):
            _save(folder, step, optimizer, averaged)
            saved = time.monotonic()
    put_weights(task.module, averaged)


@contextmanager
def swapped(module: nn.Module, weights: dict[str, Tensor]) -> Iterator[None]:
    """Within the block the module has other weights."""
    kept = {name: p.detach().clone() for name, p in module.named_parameters() if name in weights}
    put_weights(module, weights)
    try:
        yield
    finally:
        put_weights(module, kept)


@torch.no_grad()
def put_weights(module: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give the trainable parameters of `module` these values; every one of them, and no other, must be there."""
    own = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if own.keys() != weights.keys():
        raise InputError(
            f"the weights are of another model: {len(own.keys() ^ weights.keys())} names differ, the first "
            f"is {min(own.keys() ^ weights.keys())}"
        )
    for name, p in own.items():
        p.copy_(weights[name])


def averaged_weights(folder: Path) -> dict[str, Tensor]:
    """The averaged weights of a run, by parameter name."""
    path = folder / "checkpoint.safetensors"
    if not path.is_file():
        raise InputError(f"{folder} has no checkpoint; run the recipe that makes it first")
    with safe_open(path, framework="pt") as file:
        return {
            key.removeprefix("averaged."): file.get_tensor(key) for key in file.keys() if key.startswith("averaged.")
        }


def _save(folder: Path, step: int, optimizer: MuonAdamW, averaged: dict[str, Tensor]) -> None:
    tensors = {"step": torch.tensor(step)}
    tensors |= {f"weights.{n}": p.detach() for n, p in optimizer.parameters.items()}
    tensors |= {f"averaged.{n}": t for n, t in averaged.items()}
    tensors |= {f"optimizer.{n}": t for n, t in optimizer.state().items()}
    with replacing(folder / "checkpoint.safetensors") as beside:
        save_file({key: t.contiguous() for key, t in tensors.items()}, beside)


def _resume(folder: Path, optimizer: MuonAdamW, averaged: dict[str, Tensor]) -> int:
    path = folder / "checkpoint.safetensors"
    if not path.is_file():
        return 0
    with safe_open(path, framework="pt") as file:
        wanted = {f"weights.{n}" for n in optimizer.parameters}
        held = {key for key in file.keys() if key.startswith("weights.")}
        if wanted != held:
            raise InputError(f"{path} is of another model: {len(wanted ^ held)} parameters differ; use another folder")
        with torch.no_grad():
            for name, p in optimizer.parameters.items():
                p.copy_(file.get_tensor(f"weights.{name}"))
                averaged[name].copy_(file.get_tensor(f"averaged.{name}"))
        optimizer.load_state(
            {
                key.removeprefix("optimizer."): file.get_tensor(key)
                for key in file.keys()
                if key.startswith("optimizer.")
            }
        )
        return int(file.get_tensor("step"))


def _log(folder: Path, line: dict, steps: int) -> None:
    with (folder / "curve.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(
        f"{folder.name} {line['step']}/{steps} " + json.dumps({k: v for k, v in line.items() if k != "step"}),
        file=sys.stderr,
        flush=True,
    )
