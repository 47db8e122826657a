"""Columns that grow, and a history that can be walked in any direction."""

import gc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mirage.memory.table import History, Table

STEPS = st.lists(
    st.tuples(st.sampled_from(["append", "put", "truncate", "snapshot", "restore", "drop"]), st.integers(0, 1000)),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
def test_any_walk_through_snapshots_gives_back_every_moment(steps):
    table = Table({"a": torch.empty(0, 2), "b": torch.empty(0, dtype=torch.int64)})
    history = History(table)
    kept: list[tuple] = []
    generator = torch.Generator().manual_seed(0)
    for name, number in steps:
        if name == "append":
            k = number % 5
            table.append(a=torch.randn(k, 2, generator=generator), b=torch.arange(k) + number)
        elif name == "put" and len(table):
            rows = torch.randperm(len(table), generator=generator)[: number % 4]
            table.put(rows, b=torch.full_like(rows, number))
        elif name == "truncate":
            table.truncate(number % (len(table) + 1))
        elif name == "snapshot":
            kept.append((history.snapshot(), table["a"].clone(), table["b"].clone()))
        elif name == "restore" and kept:
            history.restore(kept[number % len(kept)][0])
        elif name == "drop" and kept:
            kept.pop(number % len(kept))
    for snapshot, a, b in kept + kept[::-1]:
        history.restore(snapshot)
        assert torch.equal(table["a"], a)
        assert torch.equal(table["b"], b)


def test_a_snapshot_costs_what_changed_and_nothing_when_nobody_holds_it():
    table = Table({"a": torch.empty(0)})
    history = History(table)
    table.append(a=torch.zeros(100_000))
    held = history.snapshot()
    table.append(a=torch.zeros(50_000))
    table.put(torch.arange(10), a=torch.ones(10))
    assert sum(sum(v.numel() for v in change.values.values()) for change in held.changes) == 10
    del held
    gc.collect()
    recorded = []
    table.record(lambda: recorded.append(1))  # pyright: ignore[reportArgumentType]
    assert not recorded


def test_an_append_copies_the_store_only_when_it_doubles():
    table = Table({"a": torch.empty(0)})
    places = set()
    for _ in range(1000):
        table.append(a=torch.zeros(10))
        places.add(table["a"].data_ptr())
    assert len(places) <= 12
    assert table.nbytes <= 2 * 4 * len(table)


def test_a_limited_table_never_allocates_again():
    table = Table({"a": torch.empty(0)}, limit=100)
    before = table["a"].data_ptr(), table.nbytes
    for _ in range(3):
        table.append(a=torch.zeros(100))
        table.truncate(0)
    assert (table["a"].data_ptr(), table.nbytes) == before


def test_a_table_that_cannot_grow_is_what_it_was_and_grows_when_it_can(monkeypatch):
    """Memory may run out at any of the columns; all of them have the same room afterwards."""
    table = Table({"a": torch.empty(0), "b": torch.empty(0, 3)})
    history = History(table)
    table.append(a=torch.ones(4), b=torch.ones(4, 3))
    before = history.snapshot()
    allocate, left = torch.Tensor.new_empty, 1

    def scarce(self, size, **choices):
        nonlocal left
        left -= 1
        if left < 0:
            raise MemoryError
        return allocate(self, size, **choices)

    with monkeypatch.context() as patched:
        patched.setattr(torch.Tensor, "new_empty", scarce)
        with pytest.raises(MemoryError):
            table.append(a=torch.zeros(40), b=torch.zeros(40, 3))
    history.restore(before)
    assert len(table) == 4
    table.append(a=torch.arange(40.0), b=torch.zeros(40, 3))
    assert torch.equal(table["a"], torch.cat([torch.ones(4), torch.arange(40.0)]))
    assert table["b"].shape == (44, 3)
