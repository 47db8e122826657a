"""`Condition` checks itself and loses exactly what it is told to lose."""

import re
from dataclasses import replace
from typing import Any

import torch

from helpers import refusal
from mirage.models.condition import Condition


def condition() -> Condition:
    g = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=g)

    return Condition(
        memory=randn(2, 4, 3, 5, 6),
        mask=torch.ones(2, 1, 3, 5, 6),
        offset=randn(2, 2, 3, 5, 6),
        rays=randn(2, 6, 3, 5, 6),
        first=randn(2, 4, 1, 5, 6),
        preceding=randn(2, 4, 0, 5, 6),
        references=randn(2, 4, 2, 5, 6),
        text=randn(2, 7, 8),
    )


def test_wrong_shapes_are_named() -> None:
    good = condition()
    assert good.frames == 3
    wrong = {
        "memory": good.memory[0],
        "mask": good.mask[:, :, :2],
        "offset": good.memory,
        "rays": good.rays[:, :3],
        "first": good.memory,
        "preceding": good.references[:, :3],
        "references": good.references[..., :2],
        "text": good.text[:1],
        "motion": good.rays[:, :3],
        "preceding_memory": good.memory,
        "constant": good.mask,
    }
    for name, value in wrong.items():
        change: dict[str, Any] = {name: value}
        said = refusal(replace, good, **change)
        assert re.search(rf"{name} has shape .*accepted", said)


def test_without_memory_keeps_everything_else() -> None:
    good = replace(condition(), motion=torch.ones(2, 6, 3, 5, 6))
    lost = good.without_memory()
    assert lost.motion is not None
    assert not any(value.any() for value in (lost.memory, lost.mask, lost.offset, lost.motion))
    assert condition().without_memory().motion is None
    for name in ("rays", "first", "preceding", "references", "text"):
        assert getattr(lost, name) is getattr(good, name)
    assert good.mask.all()


def test_without_text_repeats_the_empty_prompt_over_the_batch() -> None:
    good = condition()
    empty = torch.zeros(1, 4, 8)
    lost = good.without_text(empty)
    assert lost.text.shape == (2, 4, 8)
    assert not lost.text.any()
    assert lost.memory is good.memory


def test_to_moves_every_field() -> None:
    beside = {"preceding_memory": torch.ones(2, 4, 0, 5, 6), "constant": torch.ones(2, 4, 3, 5, 6)}
    good = replace(condition(), motion=torch.ones(2, 6, 3, 5, 6), **beside)
    half = good.to(dtype=torch.bfloat16)
    assert all(value.dtype == torch.bfloat16 for value in vars(half).values())
    assert torch.equal(condition().to("cpu").memory, condition().memory)
