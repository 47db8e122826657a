"""Times that nobody measured: operations are those that torch counts on real tensors, sums follow the choices."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mirage.models.fitting.budget import budget
from mirage.models.fitting.estimate import CARDS, LINK, REACHED, cards_of, seconds_per_chunk
from mirage.models.tiny import tiny_world


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tiny_world().save_pretrained(path)
    return path


def test_operations_are_those_of_the_same_work_on_real_tensors(folder: Path) -> None:
    counted, model = budget(folder, dtype=torch.float32), tiny_world()
    length = model.config["text_length"]
    with FlopCounterMode(display=False) as real, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model.text_encoder(torch.zeros(1, length, dtype=torch.long))
    assert counted.stages["prompt"].flops == pytest.approx(real.get_total_flops(), rel=0.01)
    with FlopCounterMode(display=False) as real, sdpa_kernel(SDPBackend.MATH):
        model.encode(torch.rand(1, 3, *model.size))
    assert counted.stages["encode"].flops == pytest.approx(real.get_total_flops(), rel=0.01)


def test_a_larger_picture_costs_more_than_in_proportion(folder: Path) -> None:
    small, large = (budget(folder, dtype=torch.float32, size=size) for size in ((64, 96), (128, 192)))
    ratio = large.stages["denoise"].flops / small.stages["denoise"].flops
    assert ratio > 4 * 0.9  # the prompt's share does not grow, attention's does
    assert large.stages["decode"].flops / small.stages["decode"].flops == pytest.approx(4, rel=0.2)


def test_time_follows_steps_cards_and_what_has_to_come_in(folder: Path) -> None:
    counted = budget(folder, dtype=torch.bfloat16)
    card = CARDS[0]
    few, many = (seconds_per_chunk(counted, card, steps=steps) for steps in (4, 40))
    step = max(counted.stages["denoise"].flops / (card.rate * REACHED), (many - few) / 36)
    assert many - few == pytest.approx(36 * step, rel=1e-6)
    assert seconds_per_chunk(counted, replace(card, rate=2 * card.rate, bandwidth=1e18), steps=4) < few
    held = [seconds_per_chunk(counted, card, steps=40, offload=how) for how in ("none", "model", "group")]
    assert held[0] < held[1]
    assert held[0] < held[2]
    slow = seconds_per_chunk(counted, replace(card, rate=1e30, bandwidth=1e30), steps=40, offload="group")
    weights = sum(counted.weights(name) for name in ("transformer", "memory_branch"))
    assert slow == pytest.approx(40 * weights / LINK, rel=0.01)


def test_cards_are_found_by_their_memory() -> None:
    assert {card.name for card in cards_of(24 * 2**30)} == {card.name for card in cards_of(24 * 10**9)}
    assert [card.name for card in cards_of(16 * 2**30)] == ["RTX 4080"]
    assert cards_of(6 * 2**30) == []
