"""Muon and AdamW: what an update is, and that state survives a checkpoint."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mirage.training.optimizer import MuonAdamW, orthogonalised
from mirage.training.schedule import Schedule


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 24), st.integers(2, 24), st.integers(0, 1000), st.booleans())
def test_an_update_has_singular_values_near_one(rows, columns, seed, bf16):
    update = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    found = orthogonalised(update, bf16=bf16)
    assert found.dtype == update.dtype
    values = torch.linalg.svdvals(found) / max(1.0, rows / columns) ** 0.5
    assert values.max() < 1.3
    assert values.median() > 0.3


def test_a_kernel_is_a_matrix():
    kernel = torch.randn(8, 3, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(orthogonalised(kernel), orthogonalised(kernel.flatten(1)).view_as(kernel))


def quadratic(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 2))
    x = torch.randn(64, 6)
    y = torch.stack([x[:, 0] * x[:, 1], x[:, 2].sin()], dim=1)
    return model, lambda: (model(x) - y).square().mean()


def descend(model, loss, optimizer, steps):
    for _ in range(steps):
        model.zero_grad()
        loss().backward()
        optimizer.step(0.5)


def test_it_descends_and_resumes_to_the_bit():
    runs = []
    for cut in (None, 20):
        model, loss = quadratic()
        before = loss().item()
        optimizer = MuonAdamW(model.named_parameters(), muon_lr=0.02, adamw_lr=0.01)
        descend(model, loss, optimizer, cut or 40)
        if cut:
            state = {name: tensor.clone() for name, tensor in optimizer.state().items()}
            optimizer = MuonAdamW(model.named_parameters(), muon_lr=0.02, adamw_lr=0.01)
            for name, tensor in optimizer.state().items():
                tensor.copy_(state[name])
            optimizer.steps = cut
            descend(model, loss, optimizer, 40 - cut)
        assert loss().item() < 0.7 * before
        runs.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*runs)


def test_names_choose_between_the_two():
    model, _ = quadratic()
    optimizer = MuonAdamW(model.named_parameters(), muon_lr=0.1, adamw_lr=0.1, adamw=r"^2\.")
    assert set(optimizer.matrices) == {"0.weight"}
    assert set(optimizer.others) == {"0.bias", "2.weight", "2.bias"}


def test_a_frozen_parameter_stays():
    model, loss = quadratic()
    frozen = model.get_parameter("0.weight").requires_grad_(False)
    kept = frozen.clone()
    descend(model, loss, MuonAdamW(model.named_parameters(), muon_lr=0.1, adamw_lr=0.1), 3)
    assert torch.equal(frozen, kept)


@pytest.mark.parametrize("steps", [10, 100])
def test_the_schedule_warms_up_and_ends_at_zero(steps):
    schedule = Schedule(steps=steps, warmup=5, cooldown=0.5)
    scales = [schedule.scale(step) for step in range(steps)]
    assert scales[0] == pytest.approx(0.2)
    assert max(scales) == pytest.approx(1.0)
    assert scales[-1] < 0.25
    assert schedule.scale(steps) == 0
