"""A branch in the published layout goes on learning from the published training data, shown what its code shows it."""

import pytest
import torch
from safetensors.torch import save_file

import published_layout as published
from mirage.cli import main
from mirage.models.condition import Condition
from mirage.models.files.branchfile import load_branch
from mirage.models.tiny import tiny_world
from mirage.models.transformer import MemoryBranch
from mirage.training.clips import ReadyChunk, chunk_path, save_chunk
from mirage.training.denoiser import DenoiserConfig, DenoiserTask
from mirage.training.exercises import Exercises, Mix
from mirage.training.objective import Objective
from mirage.training.past import AS_IT_IS
from toys import at


@pytest.fixture
def chunks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chunks")
    generator = torch.Generator().manual_seed(0)
    for name in "abcd":
        target, memory, preceding, references, before = (
            torch.randn(count, 48, 4, 6, generator=generator) for count in (3, 3, 2, 1, 2)
        )
        save_chunk(chunk_path(folder, name), ReadyChunk(target, memory, preceding, references, "a room", before))
    return folder


@pytest.mark.parametrize("inputs", ["published", "published_hole"])
def test_a_published_branch_learns_from_published_chunks(inputs, chunks, monkeypatch):
    model = tiny_world()
    branch = MemoryBranch.from_transformer(model.transformer, layers=(0, 2), inputs=inputs)
    model.register_modules(memory_branch=branch)
    exercises = Exercises(chunks, Mix(), batch=2, frames=3, preceding=2, references=1, held_out=1, augment=AS_IT_IS)
    task = DenoiserTask(model, DenoiserConfig(exercises, Objective(per_frame=True), train=("memory_branch",)))
    shown: list[Condition] = []
    hints = MemoryBranch.forward

    def seen(self, hidden, text, modulation, rotary, condition):
        shown.append(condition)
        return hints(self, hidden, text, modulation, rotary, condition)

    monkeypatch.setattr(MemoryBranch, "forward", seen)
    optimizer = torch.optim.Adam(branch.parameters(), lr=1e-3)
    for number in range(6):
        loss = at(task, number)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert torch.isfinite(loss)
    assert any(block.get_parameter("proj_out.weight").any() for block in branch.blocks)  # which began at zero
    for condition in shown:
        assert condition.preceding_memory is not None
        assert condition.preceding_memory.shape == condition.preceding.shape
        assert (condition.constant is None) == (inputs == "published_hole")
    assert any(condition.preceding.shape[2] and condition.preceding_memory.any() for condition in shown)  # pyright: ignore
    assert set(task.evaluate()) == {"loss_memory", "loss_none"}


def test_a_published_file_goes_on_from_the_command_line(chunks, tmp_path, capsys):
    world = tiny_world()
    world.register_modules(memory_branch=None)
    world.save_pretrained(tmp_path / "model")
    save_file(published.branch_state(), tmp_path / "vace.safetensors")
    asked = ["train", "--recipe", "wan:published", "--out", str(tmp_path / "runs"), "--model", str(tmp_path / "model"),
             "--data", str(chunks), "--steps", "1"]  # fmt: skip
    assert main(asked) == 2
    assert "there is no memory branch" in capsys.readouterr().err
    assert main([*asked, "--branch", str(tmp_path / "vace.safetensors")]) == 0
    branch = MemoryBranch.from_pretrained(tmp_path / "runs" / "published" / "memory_branch")
    assert (branch.inputs, branch.layers) == ("published", (0, 2))
    was = load_branch(tmp_path / "vace.safetensors", world.transformer).state_dict()
    assert any(not torch.equal(weight, was[name]) for name, weight in branch.state_dict().items())
