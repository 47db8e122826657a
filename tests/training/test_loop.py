"""The training loop: a killed run goes on as if nothing had happened, alone or with others."""

import json
import time
from dataclasses import dataclass, replace

import pytest
import torch
from mirage.training.shards import pack, unpack
from torch import nn

from mirage.errors import InputError
from mirage.training import parallel
from mirage.training.loop import Schedule, averaged_weights, fit, progress, put_weights, swapped
from mirage.training.samples import RING, Batch, number_of

SCHEDULE = Schedule(steps=12, warmup=2, log_every=3, evaluate_every=6, checkpoint_seconds=0)


@dataclass(frozen=True)
class Inputs(Batch):
    x: torch.Tensor


@dataclass(frozen=True)
class Drawn:
    """Inputs of a batch; optionally die instead of making one of them."""

    die_at: int | None = None

    def __call__(self, number, generator):
        if number == self.die_at:
            raise KeyboardInterrupt
        return Inputs(torch.randn(8, 2, generator=generator))


class Line:
    """Fit y = 3 x with a one-layer net; optionally die at a step."""

    def __init__(self, *, die_at: int | None = None) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1))
        self.maker = Drawn(die_at)
        self.seen = []

    def loss(self, batch, generator):
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


@pytest.mark.parametrize("reuse", [1, 3])
def test_a_batch_is_seen_as_often_as_told_each_time_with_other_noise(tmp_path, reuse):
    steps = 2 * RING * reuse
    task = Line()
    fit(task, Schedule(steps=steps, warmup=1, log_every=1, reuse=reuse), tmp_path)
    numbers = [number_of(step, reuse) for step in range(steps)]
    assert sorted(numbers) == sorted(list(range(2 * RING)) * reuse)
    first = {number: x for number, x in reversed([*zip(numbers, task.seen, strict=True)])}
    assert all(torch.equal(first[number], x) for number, x in zip(numbers, task.seen, strict=True))
    assert len({float(x.sum()) for x in task.seen}) == 2 * RING
    assert len(set(losses(tmp_path))) == steps


def test_a_killed_run_that_uses_batches_again_resumes_to_the_bit(tmp_path):
    schedule = replace(SCHEDULE, steps=3 * RING, reuse=2)
    whole, resumed = Line(), Line()
    fit(whole, schedule, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(Line(die_at=RING + 3), schedule, tmp_path / "cut")  # between the uses of the second ring
    fit(resumed, schedule, tmp_path / "cut")
    assert torch.equal(weights(whole), weights(resumed))
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")


def test_minutes_end_a_run_and_cool_it_down(tmp_path):
    schedule = Schedule(steps=10**6, minutes=10, warmup=1, cooldown=0.5)
    assert [schedule.scale(5, 60 * m) for m in (0, 5, 7.5, 10, 11)] == pytest.approx([1, 1, 0.5, 0, 0])
    assert [schedule.over(5, 60 * m) for m in (0, 9.9, 10)] == [False, False, True]
    short = replace(schedule, minutes=0.3 / 60, log_every=5)
    begun = time.monotonic()
    fit(Line(), short, tmp_path)
    step, seconds = progress(tmp_path)
    assert 0 < step < 10**6
    assert 0.3 <= seconds <= time.monotonic() - begun
    again = Line()
    fit(again, short, tmp_path)  # its time is over
    assert not again.seen
    longer = Line()
    fit(longer, replace(short, minutes=(seconds + 0.2) / 60), tmp_path)
    assert longer.seen
    assert progress(tmp_path)[1] >= seconds + 0.2


def test_a_home_travels_in_shards_and_goes_on_elsewhere(tmp_path):
    for run in ("mini_images", "mini_autoencoder", "other"):
        fit(Line(), SCHEDULE, tmp_path / "home" / run)
    (tmp_path / "home" / "mini_autoencoder" / "latents.json").write_text("{}")
    limit = (1 << 20) + 20  # a layer or so each
    files = pack(tmp_path / "home", tmp_path / "out", limit=limit)
    assert len(files) > 2
    assert max(file.stat().st_size for file in files) <= limit
    runs = unpack(tmp_path / "out", tmp_path / "there")
    assert runs == ["mini_autoencoder", "other"]  # what came before the autoencoder's last run is in it
    for run in runs:
        old, new = averaged_weights(tmp_path / "home" / run), averaged_weights(tmp_path / "there" / run)
        assert old.keys() == new.keys()
        assert all(torch.equal(old[name].half().float(), new[name]) for name in old)
        assert progress(tmp_path / "there" / run)[0] == SCHEDULE.steps
        assert losses(tmp_path / "there" / run) == losses(tmp_path / "home" / run)
    assert (tmp_path / "there" / "mini_autoencoder" / "latents.json").read_text() == "{}"
    fit(Line(), replace(SCHEDULE, steps=15), tmp_path / "there" / "other")
    assert progress(tmp_path / "there" / "other")[0] == 15
    with pytest.raises(InputError, match="has a run mini_autoencoder already"):
        unpack(tmp_path / "out", tmp_path / "there")
    with pytest.raises(InputError, match="holds no shards"):
        unpack(tmp_path / "home", tmp_path / "elsewhere")
    with pytest.raises(InputError, match="a file is to have"):
        pack(tmp_path / "home", tmp_path / "out", limit=(1 << 20) + 4)
