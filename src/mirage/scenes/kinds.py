"""What can be asked of procedural scenes: kinds of walk, and which seeds are held out. Standard library only."""

KINDS = ("there_and_back", "orbit", "pan_and_return", "walk", "approach", "still_look")
"""The kinds of walk that training clips are drawn from."""
EVERY_KIND = (*KINDS, "back_and_forth", "roam")
"""And those that must be asked for by name."""
HELD_OUT = 1_000_000
"""Seeds below are for tests and evaluation, never for training."""


def training_seed(index: int) -> int:
    """The seed of the index-th training scene: never a held-out one."""
    return HELD_OUT + index
