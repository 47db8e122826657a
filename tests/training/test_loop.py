"""The training loop: a killed run goes on as if nothing had happened, alone or with others."""

import json

import pytest
import torch
from torch import nn

from mirage.errors import InputError
from mirage.training import parallel
from mirage.training.loop import Schedule, averaged_weights, fit, put_weights, swapped

SCHEDULE = Schedule(steps=12, warmup=2, log_every=3, evaluate_every=6, checkpoint_seconds=0)


class Line:
    """Fit y = 3 x with a one-layer net; optionally die at a step."""

    def __init__(self, *, die_at: int | None = None) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1))
        self.die_at = die_at

    def loss(self, step, generator):
        if step == self.die_at:
            raise KeyboardInterrupt
        x = torch.randn(8, 2, generator=generator)
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
    curves = [
        [json.loads(line) for line in (tmp_path / name / "curve.jsonl").read_text().splitlines()]
        for name in ("whole", "cut")
    ]
    last = [next(line["loss"] for line in reversed(curve) if "loss" in line) for curve in curves]
    assert last[0] == last[1]


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
