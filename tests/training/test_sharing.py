"""Several processes train as one does: the same steps; checkpoints in pieces that any number of processes reads."""

from dataclasses import replace

import pytest
import torch

from helpers import same
from mirage.models.tiny import tiny_world
from mirage.training import parallel
from mirage.training.checkpoints import averaged_weights, newest_checkpoint
from mirage.training.denoiser import DenoiserConfig, DenoiserTask
from mirage.training.exercises import Exercises, Mix
from mirage.training.loop import fit
from mirage.training.objective import Objective
from mirage.training.render import encode_clips
from mirage.training.schedule import Schedule
from mirage.training.shards import SHARDS

SCHEDULE = Schedule(
    steps=2, warmup=1, cooldown=0.0, adamw=".", adamw_lr=2e-3, log_every=1, evaluate_every=100, checkpoint_seconds=0
)


@pytest.fixture(scope="module")
def latents(clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("latents")
    encode_clips(tiny_world(), clips, folder, count=3)
    return folder


def train(latents, folder, *, preceding=1, references=1, **schedule):
    exercises = Exercises(latents, Mix(), batch=1, frames=3, preceding=preceding, references=references, held_out=1)
    config = DenoiserConfig(exercises, Objective(min_sigma=1e-3), train=("memory_branch",))
    task = DenoiserTask(tiny_world(), config)
    if parallel.world_size() > 1:
        task.shard()
    fit(task, replace(SCHEDULE, **schedule), folder)


def test_two_processes_are_one_that_takes_twice_as_many(latents, tmp_path):
    """The same samples, with the same noise; how many frames are shown beside is of a batch, so here there are none."""
    parallel.launch(_twice, latents, tmp_path / "two", processes=2)
    train(latents, tmp_path / "one", preceding=0, references=0, accumulate=4)
    assert (tmp_path / "two" / SHARDS).is_dir()
    two, one = averaged_weights(tmp_path / "two"), averaged_weights(tmp_path / "one")
    branch = tiny_world().memory_branch
    assert branch is not None
    begun = dict(branch.named_parameters())
    moved = max(float((one[name] - begun[name.removeprefix("memory_branch.")]).abs().max()) for name in one)
    apart = max(float((one[name] - two[name]).abs().max()) for name in one)
    print(f"moved by {moved:.2g}, apart by {apart:.2g}")
    assert moved > 1e-3
    assert apart < moved / 100  # measured: see docs/scale.md


def _twice(latents, folder):
    train(latents, folder, preceding=0, references=0, accumulate=2)


def _more(latents, folder, steps):
    train(latents, folder, steps=steps)


@pytest.mark.parametrize("others", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_two_go_on_as_others_and_back(latents, tmp_path, others):
    """2 processes, then 1 or 4, then 2: each finds the weights of those before, to the bit, and goes on from there."""
    folder = tmp_path / "run"
    for steps, processes in ((1, 2), (2, others), (3, 2)):
        before = averaged_weights(folder) if steps > 1 else None
        parallel.launch(_seen, latents, folder, steps, tmp_path / f"{steps}.pt", processes=processes)
        if before is not None:
            assert same(torch.load(tmp_path / f"{steps}.pt"), before)
            after = averaged_weights(folder)
            assert not same(after, before)
    newest = newest_checkpoint(folder)
    assert newest is not None
    assert newest.name == SHARDS


def _seen(latents, folder, steps, file):
    """As `_more`; what one process of several finds of the averages is left in `file`."""
    if parallel.rank() == 0 and steps > 1:
        torch.save(averaged_weights(folder), file)
    parallel.wait()
    _more(latents, folder, steps)


def test_a_shard_that_is_cut_is_not_taken(latents, tmp_path, capsys):
    parallel.launch(_more, latents, tmp_path, 2, processes=2)
    file = next((tmp_path / SHARDS).glob("*.distcp"))
    file.write_bytes(file.read_bytes()[:-1])
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert newest.name == "checkpoint.previous.shards"
    assert "is cut short" in capsys.readouterr().err
