"""The loop that every recipe runs: steps, averaged weights, checkpoints, a curve.

A run is a folder:
    checkpoint.safetensors    weights, averaged weights, optimiser state and step (checkpoints.py); and the one before
    checkpoint.shards         the same of weights that are shared out (shards.py)
    curve.jsonl               one line every `log_every` steps, and one for every look at held-out data

What a step sees is drawn from the seed and the numbers of its samples, and from nothing else (samples.py), and a
checkpoint holds the next sample's number and what is not on the curve yet, so a run that was killed and resumed takes
the same steps, and leaves the same curve, as one that was not. A run that is to last so many `minutes` counts them over
all its pieces; its learning rate follows the clock. A signal ends the step at hand, leaves a checkpoint, and then ends
the run.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mirage.errors import InputError
from mirage.files import appending, replacing
from mirage.optional import optional
from mirage.training import parallel
from mirage.training.checkpoints import fill, held_by, newest_checkpoint, save_checkpoint
from mirage.training.optimizer import MuonAdamW
from mirage.training.parallel import local, piece
from mirage.training.samples import Batch, Maker, Turn, made
from mirage.training.schedule import Schedule
from mirage.training.shards import save_shards
from mirage.training.stopping import Stop, signals_noted

FIRST_CHECKPOINT = 20.0
"""Seconds to the first checkpoint, if not sooner: a mistake in what was asked shows early, and so does a full disk."""
Look = Callable[["Task", int, Path], dict[str, float]]
"""What is looked at beside the numbers: called with the task, the step and the run's folder, after `Task.evaluate`."""


class Task(Protocol):
    """What is trained: the modules, what makes their batches, one loss, and what to look at now and then."""

    module: nn.Module

    @property
    def maker(self) -> Maker: ...

    def loss(self, batch: Any, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Loss of this process's batch, which the maker made, and numbers for the curve."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Numbers on held-out data, with the averaged weights in place; called in process 0 alone, unless the weights
        are shared out among all."""
        ...


def fit(task: Task, schedule: Schedule, folder: Path, *, look: Look | None = None) -> None:
    """Train `task` in `folder`, going on from its checkpoint if there is one; leaves the averaged weights in place.

    Raises `KeyboardInterrupt` when a signal ended it, after a checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    run = _Run(task, schedule, folder)
    curve = _Curve(folder, schedule, run.step) if parallel.rank() == 0 else None
    chief = curve is not None
    shared = any(isinstance(p, DTensor) for p in run.optimizer.parameters.values())
    batches, stop = run.batches(), Stop()
    saved, wait = time.monotonic(), min(FIRST_CHECKPOINT, schedule.checkpoint_seconds)
    with signals_noted(stop):
        while not schedule.over(run.step, run.seconds):
            run.take_step(batches)
            last = schedule.over(run.step, run.seconds)
            if run.step % schedule.log_every == 0 or last:
                line = run.means()
                if curve is not None:
                    curve.add(line)
            if (chief or shared) and (run.step % schedule.evaluate_every == 0 or last):
                with swapped(task.module, run.averaged):
                    seen = task.evaluate() | (look(task, run.step, folder) if look is not None else {})
                if curve is not None:
                    curve.add({"step": run.step, "evaluation": seen})
            due = last or stop.asked is not None or time.monotonic() - saved > wait
            if parallel.any_of(due):
                run.save()
                saved, wait = time.monotonic(), schedule.checkpoint_seconds
                if parallel.any_of(stop.asked is not None) and not last:
                    raise stop.raised(
                        f"stopped by {stop.asked or 'a signal'} at step {run.step} of {schedule.steps}; the same "
                        "command goes on from there"
                    )
    if curve is not None:
        curve.close()
    _put(task.module, run.averaged)


class _Run:
    """What a checkpoint holds, between two steps."""

    def __init__(self, task: Task, schedule: Schedule, folder: Path) -> None:
        self.task, self.schedule, self.folder = task, schedule, folder
        self.optimizer = MuonAdamW(
            task.module.named_parameters(),
            muon_lr=schedule.muon_lr,
            adamw_lr=schedule.adamw_lr,
            adamw=schedule.adamw,
            weight_decay=schedule.weight_decay,
            bf16=schedule.muon_bf16,
        )
        self.averaged = {name: local(p.detach()).clone() for name, p in self.optimizer.parameters.items()}
        self.step, self.seconds = 0, 0.0
        self.sample = 0  # the number of the next one
        self.pending: dict[str, list[float]] = {}  # numbers that are not on the curve yet
        self._resume()
        self._before, self._started = self.seconds, time.monotonic()

    def batches(self) -> Iterator[tuple[Turn, Batch]]:
        """What the steps that are left see."""
        schedule = self.schedule
        return made(
            self.task.maker,
            seed=schedule.seed,
            batches=range(self.step * schedule.accumulate, schedule.steps * schedule.accumulate),
            sample=self.sample,
            workers=schedule.workers,
            device=next(iter(self.optimizer.parameters.values())).device,
        )

    def take_step(self, batches: Iterator[tuple[Turn, Batch]]) -> None:
        """Forward, backward, and both averages: of gradients over processes, of weights over steps."""
        schedule, parameters = self.schedule, list(self.optimizer.parameters.values())
        for p in parameters:
            p.grad = None
        for _ in range(schedule.accumulate):
            turn, batch = next(batches)
            loss, numbers = self.task.loss(batch, turn.noise)
            (loss / schedule.accumulate).backward()
            for key, value in numbers.items():
                self.pending.setdefault(key, []).append(value)
            self.sample = turn.end
        parallel.average_gradients(parameters)
        norm = parallel.clip_gradients(parameters, schedule.clip_norm)
        if not math.isfinite(norm):
            raise FloatingPointError(f"the gradient is not finite at step {self.step}; the last checkpoint is whole")
        self.pending.setdefault("norm", []).append(norm)
        self.optimizer.step(schedule.scale(self.step, self.seconds))
        self.step += 1
        self.seconds = parallel.average(self._before + time.monotonic() - self._started)
        decay = min(schedule.average, self.step / (self.step + 10))
        with torch.no_grad():
            for name, p in self.optimizer.parameters.items():
                self.averaged[name].lerp_(local(p), 1 - decay)

    def means(self) -> dict[str, Any]:
        """A line of the curve: means over the steps since the last one, and over the processes."""
        means = {k: round(parallel.average(sum(v) / len(v)), 5) for k, v in self.pending.items()}
        self.pending = {}
        return {"step": self.step, "seconds": round(self.seconds, 1), **means}

    def save(self) -> None:
        """For any number of processes to go on from; each writes what it has of weights that are shared out."""
        state = self._state() | self._numbers()
        state |= {f"pending.{n}": parallel.each(values) for n, values in sorted(self.pending.items())}
        if any(parallel.is_shared(tensor) for tensor in state.values()):
            save_shards(self.folder, state)
        elif parallel.rank() == 0:
            save_checkpoint(self.folder, state)

    def _state(self) -> dict[str, Tensor]:
        """Weights, averages and what the optimiser remembers: the very tensors, to be read or filled."""
        like = self.optimizer.parameters
        return {
            **{f"weights.{n}": p.detach() for n, p in like.items()},
            **{f"averaged.{n}": parallel.shared(t, like[n]) for n, t in self.averaged.items()},
            **{f"optimizer.{n}": t for n, t in self.optimizer.state().items()},
        }

    def _numbers(self) -> dict[str, Tensor]:
        return {
            "step": torch.tensor(self.step),
            "seconds": torch.tensor(self.seconds, dtype=torch.float64),
            "sample": torch.tensor(self.sample),
            "optimizer.steps": torch.tensor(self.optimizer.steps),
        }

    def _resume(self) -> None:
        path = newest_checkpoint(self.folder)
        if path is None:
            return
        held, state = held_by(path), self._state()
        wanted = {name for name in state if name.startswith("weights.")}
        if odd := wanted ^ {name for name in held if name.startswith("weights.")}:
            raise InputError(f"{path} is of another model: {len(odd)} parameters differ; use another folder")
        for name, p in self.optimizer.parameters.items():
            for key in (f"weights.{name}", f"averaged.{name}"):
                shape = list(held[key].shape) if key in held else None
                if shape != list(p.shape):
                    raise InputError(f"{path} has {key} {shape}, the model {list(p.shape)}; use another folder")
        numbers = {name: torch.empty_like(tensor) for name, tensor in self._numbers().items()}
        pending = {name: torch.empty_like(held[name]) for name in held if name.startswith("pending.")}
        if "sample" not in held:  # of a version without epochs, whose clips were drawn: the first one begins here
            del numbers["sample"]
        for name, tensor in numbers.items():
            if name not in held or held[name].shape != tensor.shape:
                raise InputError(f"{path} does not say its {name} as a number; use another folder")
        with torch.no_grad():
            fill(path, state | numbers | pending)
        self.step, self.seconds = int(numbers["step"]), float(numbers["seconds"])
        self.sample = int(numbers.get("sample", 0))
        self.optimizer.steps = int(numbers["optimizer.steps"])
        for name, rows in pending.items():
            mine = rows[parallel.rank()] if len(rows) == parallel.world_size() else rows.mean(0)
            self.pending[name.removeprefix("pending.")] = mine.tolist()


class _Curve:
    """curve.jsonl without the lines after a checkpoint's step, for those steps are taken again; and stderr, and
    TensorBoard where it is asked for."""

    def __init__(self, folder: Path, schedule: Schedule, step: int) -> None:
        self.path, self.steps = folder / "curve.jsonl", schedule.steps
        if self.path.is_file():
            lines = [
                line for line in self.path.read_text().splitlines() if (at := _step(line)) is not None and at <= step
            ]
            with replacing(self.path) as beside:
                beside.write_text("".join(f"{line}\n" for line in lines))
        self.board = _board(folder) if schedule.tensorboard else None

    def add(self, line: dict[str, Any]) -> None:
        """One more line, at its step."""
        if self.board is not None:
            for key, value in (line | line.get("evaluation", {})).items():
                if isinstance(value, float):
                    self.board.add_scalar(key, value, line["step"])
        with appending(self.path) as file:
            file.write(json.dumps(line) + "\n")
        numbers = json.dumps({k: v for k, v in line.items() if k != "step"})
        print(f"{self.path.parent.name} {line['step']}/{self.steps} {numbers}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """At the end of the run."""
        if self.board is not None:
            self.board.close()


def _step(line: str) -> int | None:
    """Of a line of a curve; None: a kill cut it short."""
    try:
        return json.loads(line)["step"]
    except ValueError:
        return None


def _board(folder: Path) -> Any:
    with optional("tensorboard", wanted="a board of curves (curve.jsonl has them too)"):
        from torch.utils.tensorboard import SummaryWriter  # slow to import
    return SummaryWriter(str(folder / "tensorboard"))


@contextmanager
def swapped(module: nn.Module, weights: dict[str, Tensor]) -> Iterator[None]:
    """Within the block the module has other weights (of shared-out ones, this process's pieces)."""
    kept = {name: local(p.detach()).clone() for name, p in module.named_parameters() if name in weights}
    _put(module, weights)
    try:
        yield
    finally:
        _put(module, kept)


def put_weights(module: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give the trainable parameters of `module` these values; every one of them, and no other, must be there."""
    own = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if own.keys() == weights.keys():
        weights = {name: piece(weights[name], p) for name, p in own.items()}
    _put(module, weights)


@torch.no_grad()
def _put(module: nn.Module, weights: dict[str, Tensor]) -> None:
    own = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if own.keys() != weights.keys():
        raise InputError(
            f"the weights are of another model: {len(own.keys() ^ weights.keys())} names differ, the first "
            f"is {min(own.keys() ^ weights.keys())}"
        )
    for name, p in own.items():
        local(p).copy_(weights[name])
