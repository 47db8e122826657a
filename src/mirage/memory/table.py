"""Columns that grow by doubling, and a history that makes undo and branching cost what changed.

`n`: rows in use. A `Table` never copies itself to take an append, except when it doubles. Every change can be undone:
`History` keeps, for the snapshots that somebody still holds and for no others, the old values of the rows that changed
(the rerooting trick of Baker's persistent arrays: the newest state is the real one, the others are differences to it).
"""

import signal
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import current_thread, main_thread
from typing import Any

import torch
from torch import Tensor

from mirage.errors import InputError


class Table:
    """Named columns [n, ...] of one length, in buffers of `capacity` rows.

    Without `limit` buffers double when full. With it they are allocated once, at `limit` rows, so that nothing
    is ever held twice; an append beyond it is a mistake of the caller.
    """

    def __init__(self, columns: dict[str, Tensor], *, limit: int | None = None, round_to: int = 1) -> None:
        self.n = 0
        self.limit = limit
        self._round_to = round_to
        self._buffers = {name: empty.new_empty((limit or 0, *empty.shape[1:])) for name, empty in columns.items()}
        self.record: Callable[[Callable[[], Change]], None] = lambda change: None

    def __getitem__(self, name: str) -> Tensor:
        return self._buffers[name][: self.n]

    def __len__(self) -> int:
        return self.n

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._buffers)

    @property
    def device(self) -> torch.device:
        return next(iter(self._buffers.values())).device

    @property
    def capacity(self) -> int:
        return len(next(iter(self._buffers.values())))

    @property
    def row_bytes(self) -> int:
        return sum(
            b[:1].numel() * b.element_size() if len(b) else b.new_empty(1, *b.shape[1:]).nbytes
            for b in self._buffers.values()
        )

    @property
    def nbytes(self) -> int:
        """Bytes allocated, used or not."""
        return sum(b.nbytes for b in self._buffers.values())

    def buffer(self, name: str, n: int) -> Tensor:
        """The first `n` rows of a column, which may reach past the rows in use: what lies there means nothing."""
        return self._buffers[name][:n]

    def append(self, **values: Tensor) -> None:
        """Add rows at the end; every column must be given."""
        n, added = self.n, len(next(iter(values.values())))
        self.record(lambda: Change(self, n, torch.empty(0, dtype=torch.int64, device=self.device), {}))
        self._reserve(n + added)
        self.n = n + added
        for name, buffer in self._buffers.items():
            buffer[n : self.n] = values[name]

    def put(self, rows: Tensor, **values: Tensor) -> None:
        """Overwrite some columns of `rows` [k], which must differ from each other."""
        self.record(lambda: Change(self, self.n, rows, {name: self._buffers[name][rows] for name in values}))
        for name, value in values.items():
            self._buffers[name][rows] = value.to(self._buffers[name].dtype)

    def truncate(self, n: int) -> None:
        """Forget the rows from `n` on."""
        self.record(
            lambda: Change(
                self,
                self.n,
                torch.arange(n, self.n, device=self.device),
                {name: b[n : self.n].clone() for name, b in self._buffers.items()},
            )
        )
        self.n = n

    def undo(self, change: "Change") -> "Change":
        """Take a change back; returns what takes the taking-back back."""
        known = change.rows[change.rows < self.n]
        rows = torch.cat([known, torch.arange(change.n, max(change.n, self.n), device=self.device)])
        inverse = Change(self, self.n, rows, {name: b[rows] for name, b in self._buffers.items()})
        self._reserve(change.n)
        self.n = change.n
        for name, value in change.values.items():
            self._buffers[name][change.rows] = value
        return inverse

    def _reserve(self, n: int) -> None:
        if n <= self.capacity:
            return
        assert self.limit is None, f"{n} rows do not fit into {self.limit}"
        capacity = -(-max(n, 2 * self.capacity) // self._round_to) * self._round_to
        grown = {name: old.new_empty((capacity, *old.shape[1:])) for name, old in self._buffers.items()}
        for name, old in self._buffers.items():
            grown[name][: self.n] = old[: self.n]
        self._buffers = grown  # all columns or none: who runs out of memory here can go on with what there was


@dataclass(frozen=True, eq=False)
class Change:
    """What a table was before one change: its length and the old values of overwritten rows."""

    table: Table
    n: int
    rows: Tensor
    values: dict[str, Tensor]


@dataclass(eq=False)
class Snapshot:
    """A moment of a memory. Opaque: hand it to `restore`. Dropping it frees what was kept for it."""

    owner: "History"
    changes: list[Change] = field(default_factory=list)
    newer: "Snapshot | None" = None

    def __repr__(self) -> str:
        return f"Snapshot({len(self.changes)} changes since)"


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C and its like wait until what is inside is done: half of it would be worth nothing. Only the main thread is
    ever interrupted."""
    waiting: list[tuple[int, Any]] = []
    handlers: dict[int, Any] = {}
    if current_thread() is main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):
                handlers[number] = handler
                signal.signal(number, lambda *caught: waiting.append(caught))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number, frame in waiting:
            handlers[number](number, frame)


class History:
    """Snapshots of some tables. `snapshot()` costs nothing; `restore(s)` costs what changed between then and now."""

    def __init__(self, *tables: Table) -> None:
        for table in tables:
            table.record = self._record
        self._latest: weakref.ref[Snapshot] | None = None

    def snapshot(self) -> Snapshot:
        latest = self._latest() if self._latest else None
        taken = Snapshot(self)
        if latest is not None:
            latest.newer = taken
        self._latest = weakref.ref(taken)
        return taken

    def restore(self, target: Snapshot) -> None:
        """Make the tables what they were at `target`. Snapshots of the abandoned future stay valid."""
        if target.owner is not self:
            raise InputError("the snapshot is of another memory; accepted: one that this memory took")
        with undisturbed():
            self._restore(target)

    def _restore(self, target: Snapshot) -> None:
        current = self.snapshot()
        path = [target]
        while path[-1] is not current:
            newer = path[-1].newer
            assert newer is not None
            path.append(newer)
        for older, newer in zip(path[-2::-1], path[:0:-1], strict=True):
            newer.changes = [change.table.undo(change) for change in reversed(older.changes)]
            newer.newer, older.newer, older.changes = older, None, []
        self._latest = weakref.ref(target)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """All changes of what is inside, or none of them."""
        before = self.snapshot()
        try:
            yield
        except BaseException:  # also Ctrl-C, between any two lines
            self.restore(before)
            raise

    def _record(self, change: Callable[[], Change]) -> None:
        latest = self._latest() if self._latest else None
        if latest is not None:
            latest.changes.append(change())
