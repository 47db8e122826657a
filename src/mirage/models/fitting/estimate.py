"""How long a chunk would take on a card that is not here: an estimate from sums, not a measurement.

    seconds = steps x max(work of a step, weights that have to come in for it) + depth + decoding + weights of stages

Work is floating-point operations, counted as the real code runs without storage (budget.py), over the share of a
card's dense bfloat16 rate that such networks reach; or reading all weights once, if that takes longer. Weights of
fewer bits are computed with in bfloat16, so they save memory and no work.
"""

from dataclasses import dataclass

from mirage.models.fitting.budget import Budget
from mirage.models.fitting.offload import Offload
from mirage.models.fitting.quantize import Quantize

REACHED = 0.45
"""Share of the dense rate that transformers of this size are known to reach with fused attention; an assumption."""
LINK = 25e9
"""Bytes a second over PCI Express 4.0 x16, as copies from pinned memory reach them."""


@dataclass(frozen=True)
class Card:
    """As its maker states it: memory in GiB, dense bfloat16 operations a second (sums in float32), bytes a second."""

    name: str
    memory: int
    rate: float
    bandwidth: float


CARDS = (
    Card("RTX 3060", 12, 25.6e12, 360e9),
    Card("RTX 4070", 12, 58.3e12, 504e9),
    Card("RTX 4080", 16, 97.5e12, 717e9),
    Card("RTX 3090", 24, 71.2e12, 936e9),
    Card("RTX 4090", 24, 165.2e12, 1008e9),
    Card("A100", 80, 312e12, 2039e9),
    Card("H100", 80, 989e12, 3350e9),
)


def cards_of(memory: int) -> list[Card]:
    """Cards that are sold with about so many bytes: 24GiB and 24GB are both a card of 24."""
    return [card for card in CARDS if 0.92 <= memory / (card.memory * 2**30) <= 1.01]


def seconds_per_chunk(
    counted: Budget, card: Card, *, steps: int, offload: Offload = "none", quantize: Quantize = "none"
) -> float:
    """An estimate. steps: denoising steps, each one evaluation of the network (no guidance scale)."""

    def work(stage: str) -> float:
        its = counted.stages[stage]
        read = sum(counted.weights(name, quantize=quantize) for name in its.networks if name in counted.networks)
        return max(its.flops / (card.rate * REACHED), read / card.bandwidth)

    def moved(stage: str) -> float:
        names = [name for name in counted.stages[stage].networks if name in counted.networks]
        return sum(counted.weights(name, quantize=quantize) for name in names) / LINK

    stages = [name for name in ("depth", "decode") if name in counted.stages]
    total = sum(work(name) + (moved(name) if offload == "model" else 0.0) for name in stages)
    if offload == "group":  # blocks come in for every step, beside the work of those before them
        return total + steps * max(work("denoise"), moved("denoise"))
    return total + steps * work("denoise") + (moved("denoise") if offload == "model" else 0.0)
