"""The training loop: a killed run goes on as if nothing had happened, alone or with others."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from mirage.errors import InputError
from mirage.training import parallel
from mirage.training.checkpoints import CHECKPOINT, PREVIOUS, averaged_weights, progress, save_checkpoint
from mirage.training.loop import fit, put_weights, swapped
from mirage.training.samples import Batch
from mirage.training.schedule import Schedule
from toys import curve

SCHEDULE = Schedule(steps=12, warmup=2, log_every=3, evaluate_every=6, checkpoint_seconds=0)


@dataclass(frozen=True)
class Inputs(Batch):
    x: torch.Tensor


@dataclass(frozen=True)
class Drawn:
    """Inputs of a batch; optionally die instead of making one of them."""

    die_at: int | None = None

    def size(self, number):
        return 1

    def __call__(self, number, samples):
        if number == self.die_at:
            raise KeyboardInterrupt
        return Inputs(torch.randn(8, 2, generator=samples[0].generator))


class Line:
    """Fit y = 3 x with a one-layer net; optionally die when the batch of a step is made, or raise a signal in one."""

    def __init__(self, *, die_at: int | None = None, signal_at: int | None = None, number=signal.SIGTERM) -> None:
        torch.manual_seed(0)
        self.module: nn.Module = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1))
        self.maker = Drawn(die_at)
        self.seen, self.signal_at, self.number = [], signal_at, number

    def loss(self, batch, generator):
        if len(self.seen) == self.signal_at:
            signal.raise_signal(self.number)
        self.seen.append(batch.x)
        x = batch.x + 0.1 * torch.randn(batch.x.shape, generator=generator)
        loss = (self.module(x) - 3 * x[:, :1]).square().mean()
        return loss, {"loss": float(loss.detach())}

    def evaluate(self):
        return {"norm": sum(p.square().sum().item() for p in self.module.parameters())}


def weights(task):
    return torch.cat([p.detach().flatten() for p in task.module.parameters()])


def test_a_killed_run_resumes_to_the_bit(tmp_path):
    whole = Line()
    fit(whole, SCHEDULE, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(Line(die_at=7), SCHEDULE, tmp_path / "cut")
    resumed = Line()
    fit(resumed, SCHEDULE, tmp_path / "cut")
    assert torch.equal(weights(whole), weights(resumed))
    assert curve(tmp_path / "whole") == curve(tmp_path / "cut")


def test_a_checkpoint_that_knows_of_no_epochs_goes_on_with_the_first_one(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(Line(die_at=7), SCHEDULE, tmp_path)
    held = {name: tensor.clone() for name, tensor in load_file(tmp_path / CHECKPOINT).items() if name != "sample"}
    save_checkpoint(tmp_path, held)
    fresh, resumed = Line(), Line()
    fit(resumed, SCHEDULE, tmp_path)
    fit(fresh, replace(SCHEDULE, steps=5), tmp_path / "fresh")
    assert len(resumed.seen) == 5
    assert all(torch.equal(one, other) for one, other in zip(resumed.seen, fresh.seen, strict=True))


@pytest.mark.parametrize("at", range(11))
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_has_been_learnt_at_whatever_step(tmp_path, at, number):
    """The step at hand is taken and kept, between two lines of the curve too; weights and curve come out the same."""
    whole, resumed = Line(), Line()
    never = replace(SCHEDULE, checkpoint_seconds=1e9)
    fit(whole, never, tmp_path / "whole")
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt, match=f"stopped by {number.name} at step {at + 1} of 12"):
        fit(Line(signal_at=at, number=number), never, tmp_path / "cut")
    assert signal.getsignal(number) is before
    assert progress(tmp_path / "cut" / CHECKPOINT)[0] == at + 1
    fit(resumed, never, tmp_path / "cut")
    assert len(resumed.seen) == 11 - at
    assert torch.equal(weights(whole), weights(resumed))
    assert curve(tmp_path / "whole") == curve(tmp_path / "cut")


def test_the_first_checkpoint_comes_after_20_seconds(tmp_path, monkeypatch):
    """By a clock that goes a second a step; the others come when the schedule says."""
    now, saved = [0.0], []
    monkeypatch.setattr("mirage.training.loop.time.monotonic", lambda: now[0])
    monkeypatch.setattr("mirage.training.loop.save_checkpoint", lambda folder, held: saved.append(int(held["step"])))

    class Slow(Line):
        def loss(self, batch, generator):
            now[0] += 1
            return super().loss(batch, generator)

    fit(Slow(), replace(SCHEDULE, steps=200, checkpoint_seconds=60), tmp_path)
    assert saved == [21, 82, 143, 200]


def test_an_altered_checkpoint_is_named_and_the_one_before_is_taken(tmp_path, capsys):
    whole, resumed = Line(), Line()
    fit(whole, SCHEDULE, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(Line(die_at=8), SCHEDULE, tmp_path / "cut")
    path = tmp_path / "cut" / CHECKPOINT
    assert progress(path)[0] == progress(path.with_name(PREVIOUS))[0] + 1
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    fit(resumed, SCHEDULE, tmp_path / "cut")
    said = capsys.readouterr().err
    assert f"{path} was altered" in said
    assert f"going on from {path.with_name(PREVIOUS)}" in said
    assert len(resumed.seen) == 5  # of 12 steps 8 were taken, and one of them is lost
    assert torch.equal(weights(whole), weights(resumed))
    assert curve(tmp_path / "whole") == curve(tmp_path / "cut")


SCRIPT = """
import sys
from pathlib import Path
from mirage.training import parallel
from training_line import work

if __name__ == "__main__":
    parallel.launch(work, Path(sys.argv[1]), processes=2)
"""
LINE = """
import sys, time
sys.path[:0] = {here!r}
from test_loop import SCHEDULE, Line, fit, replace

class Slow(Line):
    def loss(self, batch, generator):
        time.sleep(0.02)
        return super().loss(batch, generator)

def work(folder):
    fit(Slow(), replace(SCHEDULE, steps=10_000, checkpoint_seconds=1e9), folder)
"""


def test_a_signal_to_the_first_of_several_processes_keeps_what_they_have_learnt(tmp_path):
    """Between two lines of the curve, with the numbers of both."""
    number = signal.SIGTERM
    (tmp_path / "training_line.py").write_text(LINE.format(here=[str(folder) for folder in Path(__file__).parents[:2]]))
    (tmp_path / "work.py").write_text(SCRIPT)
    run = tmp_path / "run"
    first = subprocess.Popen([sys.executable, "work.py", str(run)], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        begun = time.monotonic()
        while not (run / "curve.jsonl").is_file() and first.poll() is None and time.monotonic() - begun < 90:
            time.sleep(0.05)
        os.kill(first.pid, number)
        said = first.communicate(timeout=60)[1]
    finally:
        first.kill()
    assert f"Terminated: stopped by {number.name}" in said
    step = progress(run / CHECKPOINT)[0]
    assert step >= 3
    assert averaged_weights(run)
    lines = [line["step"] for line in curve(run) if "loss" in line]
    with safe_open(run / CHECKPOINT, framework="pt") as file:
        pending = {tuple(file.get_tensor(key).shape) for key in file.keys() if key.startswith("pending.")}
    assert pending <= {(2, step - lines[-1])}


def test_averaged_weights_are_what_a_finished_run_leaves(tmp_path):
    task = Line()
    fit(task, SCHEDULE, tmp_path)
    other = Line()
    put_weights(other.module, averaged_weights(tmp_path))
    assert torch.equal(weights(task), weights(other))


def test_another_model_does_not_load(tmp_path):
    fit(Line(), SCHEDULE, tmp_path)
    other = Line()
    other.module = nn.Linear(2, 1)
    with pytest.raises(InputError, match="another model"):
        fit(other, SCHEDULE, tmp_path)
    with pytest.raises(InputError, match="names differ"):
        put_weights(other.module, averaged_weights(tmp_path))


def test_swapped_weights_come_back_even_after_an_error():
    task = Line()
    before = weights(task)
    zeros = {name: torch.zeros_like(p) for name, p in task.module.named_parameters()}

    def fail_inside():
        with swapped(task.module, zeros):
            assert not weights(task).any()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_inside()
    assert torch.equal(before, weights(task))


def _two(folder):
    fit(Line(), SCHEDULE, folder)


def test_two_processes_train_one_model(tmp_path):
    parallel.launch(_two, tmp_path, processes=2)
    assert averaged_weights(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert sum("loss" in line for line in lines) == 4


def test_any_number_of_workers_leaves_the_same_weights_and_curve(tmp_path):
    tasks = []
    for workers in (0, 2):
        task = Line()
        fit(task, replace(SCHEDULE, workers=workers), tmp_path / str(workers))
        tasks.append(task)
    assert torch.equal(weights(tasks[0]), weights(tasks[1]))
    assert all(torch.equal(a, b) for a, b in zip(tasks[0].seen, tasks[1].seen, strict=True))
    assert losses(tmp_path / "0") == losses(tmp_path / "2")


def losses(folder):
    lines = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def test_minutes_end_a_run_and_cool_it_down(tmp_path):
    schedule = Schedule(steps=10**6, minutes=10, warmup=1, cooldown=0.5)
    assert [schedule.scale(5, 60 * m) for m in (0, 5, 7.5, 10, 11)] == pytest.approx([1, 1, 0.5, 0, 0])
    assert [schedule.over(5, 60 * m) for m in (0, 9.9, 10)] == [False, False, True]
    short = replace(schedule, minutes=0.3 / 60, log_every=5)
    begun = time.monotonic()
    fit(Line(), short, tmp_path)
    step, seconds = progress(tmp_path / CHECKPOINT)
    assert 0 < step < 10**6
    assert 0.3 <= seconds <= time.monotonic() - begun
    again = Line()
    fit(again, short, tmp_path)  # its time is over
    assert not again.seen
    longer = Line()
    fit(longer, replace(short, minutes=(seconds + 0.2) / 60), tmp_path)
    assert longer.seen
    assert progress(tmp_path / CHECKPOINT)[1] >= seconds + 0.2
