"""The loop that every recipe runs: steps, schedule, averaged weights, checkpoints, a curve.

A run is a folder:
    checkpoint.safetensors    weights, averaged weights, optimiser state and step; written beside and renamed
    curve.jsonl               one line every `log_every` steps
    recipe.json               what was asked for

What a step sees is drawn from (seed, step, rank) and from nothing else (samples.py), and a checkpoint falls on a line
of the curve, so a run that was killed and resumed takes the same steps, and leaves the same curve, as one that was not.
A run that is to last so many `minutes` counts them over all its pieces; its learning rate follows the clock.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mirage.errors import InputError
from mirage.files import replacing
from mirage.optional import optional
from mirage.training import parallel
from mirage.training.optimizer import MuonAdamW
from mirage.training.parallel import local, piece, whole
from mirage.training.samples import Maker, batches, generator_of

CHECKPOINT = "checkpoint.safetensors"
_ENDED = 10**9  # more steps than any schedule has
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


@dataclass(frozen=True)
class Schedule:
    """`steps` in all: a linear warm-up, a plateau, and a linear cool-down over the last `cooldown` share.

    `minutes`: the end is then, or after `steps` if that is sooner; the cool-down, too. `workers`: processes that make
    batches ahead. `reuse`: how often a batch is seen, with other noise. `accumulate`: batches whose gradients are added
    up for a step. `shard`: share the weights out among the processes (FSDP2). `tensorboard`: the curve there, too.
    `muon_bf16`: Muon's matrices are worked out in bfloat16.
    """

    steps: int
    minutes: float | None = None
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
    workers: int = 0
    reuse: int = 1
    accumulate: int = 1
    shard: bool = False
    tensorboard: bool = False
    muon_bf16: bool = False

    def scale(self, step: int, seconds: float = 0.0) -> float:
        """Factor on both learning rates at `step`, so many seconds after the beginning."""
        end = max(1.0, self.cooldown * self.steps)
        left = (self.steps - step) / end
        if self.minutes is not None:
            left = min(left, (1 - seconds / (60 * self.minutes)) / max(self.cooldown, 1e-6))
        return min((step + 1) / self.warmup, 1.0, max(left, 0.0))

    def over(self, step: int, seconds: float) -> bool:
        """Whether the run has ended."""
        return step >= self.steps or (self.minutes is not None and seconds >= 60 * self.minutes)


def fit(task: Task, schedule: Schedule, folder: Path, *, recipe: object = None, look: Look | None = None) -> None:
    """Train `task` in `folder`, going on from its checkpoint if there is one; leaves the averaged weights in place."""
    folder.mkdir(parents=True, exist_ok=True)
    chief = parallel.rank() == 0
    board = _board(folder) if schedule.tensorboard and chief else None
    optimizer = MuonAdamW(
        task.module.named_parameters(),
        muon_lr=schedule.muon_lr,
        adamw_lr=schedule.adamw_lr,
        adamw=schedule.adamw,
        weight_decay=schedule.weight_decay,
        bf16=schedule.muon_bf16,
    )
    averaged = {name: local(p.detach()).clone() for name, p in optimizer.parameters.items()}
    step, before = _resume(folder, optimizer, averaged)
    if chief:
        _cut_curve(folder, step)
    if chief and is_dataclass(recipe) and not isinstance(recipe, type):
        (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1, default=str))
    parameters = list(optimizer.parameters.values())
    shared = any(isinstance(p, DTensor) for p in parameters)
    started, saved, seconds, totals = time.monotonic(), time.monotonic(), before, {}
    made = batches(
        task.maker,
        seed=schedule.seed,
        rank=parallel.rank(),
        first=step * schedule.accumulate,
        stop=schedule.steps * schedule.accumulate,
        workers=schedule.workers,
        reuse=schedule.reuse,
        device=parameters[0].device,
    )
    while not schedule.over(step, seconds):
        for p in parameters:
            p.grad = None
        for part in range(step * schedule.accumulate, (step + 1) * schedule.accumulate):
            loss, numbers = task.loss(next(made), generator_of(schedule.seed, part, parallel.rank(), noise=True))
            (loss / schedule.accumulate).backward()
            for key, value in numbers.items():
                totals.setdefault(key, []).append(value)
        parallel.average_gradients(parameters)
        norm = parallel.clip_gradients(parameters, schedule.clip_norm)
        if not math.isfinite(norm):
            raise FloatingPointError(f"the gradient is not finite at step {step}; the last checkpoint is whole")
        totals.setdefault("norm", []).append(norm)
        optimizer.step(schedule.scale(step, seconds))
        step += 1
        seconds = parallel.average(before + time.monotonic() - started)
        decay = min(schedule.average, step / (step + 10))
        with torch.no_grad():
            for name, p in optimizer.parameters.items():
                averaged[name].lerp_(local(p), 1 - decay)
        last = schedule.over(step, seconds)
        told = step % schedule.log_every == 0 or last
        if told:
            line = {
                "step": step,
                "seconds": round(seconds, 1),
                **{k: round(parallel.average(sum(v) / len(v)), 5) for k, v in totals.items()},
            }
            totals = {}
            if chief:
                _log(folder, line, schedule.steps, board)
        if (chief or shared) and (step % schedule.evaluate_every == 0 or last):
            with swapped(task.module, averaged):
                seen = task.evaluate() | (look(task, step, folder) if look is not None else {})
            if chief:
                _log(folder, {"step": step, "evaluation": seen}, schedule.steps, board)
        if told and (chief or shared):
            due = last or time.monotonic() - saved > schedule.checkpoint_seconds
            if parallel.agreed(due) if shared else due:
                _save(folder, step, seconds, optimizer, averaged)
                saved = time.monotonic()
    if board is not None:
        board.close()
    _put(task.module, averaged)


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


@torch.no_grad()
def put_some(module: nn.Module, weights: dict[str, Tensor], *, source: Path) -> None:
    """As `put_weights`, but parameters of `module` that no weight is for keep theirs: a later stage trains more."""
    own = {name: p for name, p in module.named_parameters() if p.requires_grad}
    strange = sorted(weights.keys() - own.keys())
    if strange:
        more = f" and {len(strange) - 1} more" if strange[1:] else ""
        raise InputError(f"{source} is of another model: it has {strange[0]}{more}, which is not trained here")
    for name, value in weights.items():
        own[name].copy_(value)


def averaged_weights(folder: Path) -> dict[str, Tensor]:
    """The averaged weights of a run, by parameter name."""
    path = folder / CHECKPOINT
    if not path.is_file():
        raise InputError(f"{folder} has no checkpoint; run the recipe that makes it first")
    with safe_open(path, framework="pt") as file:
        return {
            key.removeprefix("averaged."): file.get_tensor(key) for key in file.keys() if key.startswith("averaged.")
        }


def finished(folder: Path, weights: dict[str, Tensor]) -> None:
    """Leave weights, by parameter name, as a run that has ended."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"step": torch.tensor(_ENDED), "seconds": torch.tensor(0.0)}
    for kind in ("weights", "averaged"):
        tensors |= {f"{kind}.{name}": value.float().contiguous().clone() for name, value in weights.items()}
    with replacing(folder / CHECKPOINT) as beside:
        save_file(tensors, beside)


def progress(folder: Path) -> tuple[int, float]:
    """Step and second of a run's checkpoint."""
    with safe_open(folder / CHECKPOINT, framework="pt") as file:
        seconds = float(file.get_tensor("seconds")) if "seconds" in file.keys() else 0.0
        return int(file.get_tensor("step")), seconds


def _save(folder: Path, step: int, seconds: float, optimizer: MuonAdamW, averaged: dict[str, Tensor]) -> None:
    """Whole tensors, so that any number of processes may go on; process 0 holds and writes them."""
    like = optimizer.parameters
    tensors = {"step": torch.tensor(step), "seconds": torch.tensor(seconds)}
    tensors |= {f"weights.{n}": whole(local(p.detach()), p) for n, p in like.items()}
    tensors |= {f"averaged.{n}": whole(t, like[n]) for n, t in averaged.items()}
    tensors |= {f"optimizer.{n}": t for n, t in optimizer.state().items()}
    if parallel.rank() == 0:
        with replacing(folder / CHECKPOINT) as beside:
            save_file({key: t.contiguous().cpu() for key, t in tensors.items()}, beside)


def _resume(folder: Path, optimizer: MuonAdamW, averaged: dict[str, Tensor]) -> tuple[int, float]:
    """The step and the second of the run to go on from. What came in shards (shards.py) has no optimiser's state."""
    path = folder / CHECKPOINT
    if not path.is_file():
        return 0, 0.0
    with safe_open(path, framework="pt") as file:
        wanted = {f"weights.{n}" for n in optimizer.parameters}
        held = {key for key in file.keys() if key.startswith("weights.")}
        if wanted != held:
            raise InputError(f"{path} is of another model: {len(wanted ^ held)} parameters differ; use another folder")
        with torch.no_grad():
            for name, p in optimizer.parameters.items():
                local(p).copy_(piece(file.get_tensor(f"weights.{name}"), p))
                averaged[name].copy_(piece(file.get_tensor(f"averaged.{name}"), p))
        state = {k.removeprefix("optimizer."): file.get_tensor(k) for k in file.keys() if k.startswith("optimizer.")}
        if state:
            optimizer.load_state(state)
    return progress(folder)


def _cut_curve(folder: Path, step: int) -> None:
    """Without the lines after the checkpoint, for those steps are taken again."""
    path = folder / "curve.jsonl"
    if path.is_file():
        whole_lines = [line for line in path.read_text().splitlines() if line.endswith("}")]
        lines = [line for line in whole_lines if json.loads(line)["step"] <= step]
        with replacing(path) as beside:
            beside.write_text("".join(f"{line}\n" for line in lines))


def _board(folder: Path) -> Any:
    with optional("tensorboard", wanted="a board of curves (curve.jsonl has them too)"):
        from torch.utils.tensorboard import SummaryWriter  # slow to import
    return SummaryWriter(str(folder / "tensorboard"))


def _log(folder: Path, line: dict, steps: int, board: Any = None) -> None:
    if board is not None:
        for key, value in (line | line.get("evaluation", {})).items():
            if isinstance(value, float):
                board.add_scalar(key, value, line["step"])
    with (folder / "curve.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(
        f"{folder.name} {line['step']}/{steps} " + json.dumps({k: v for k, v in line.items() if k != "step"}),
        file=sys.stderr,
        flush=True,
    )
