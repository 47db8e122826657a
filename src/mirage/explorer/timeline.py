"""The chunks of a walk as a tree: every moment can be gone back to, and going on from there makes a branch.

    0 -- 1 -- 2 -- 3          go(1), then walk:       0 -- 1 -- 2 -- 3
                                                           \\ -- 4

Frames are kept as JPEG, as they were sent. `F` video frames.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.models.world import WorldModel
from mirage.rollout.state import Snapshot

EXACT, MOST = 4, 256
"""Moments that are kept with the decoder's state, and those that can be gone back to at all; of older ones the frames
stay."""


@dataclass(frozen=True, eq=False)
class Moment:
    """The end of a chunk. `path` [F] of its frames; `report` as receipts have it. Without a snapshot: only seen."""

    number: int
    parent: int | None
    snapshot: Snapshot | None
    frames: tuple[bytes, ...]
    path: Camera
    prompt: str
    report: dict[str, Any] = field(default_factory=dict)


class Timeline:
    """All moments by number; `current` is where the session stands."""

    def __init__(self, model: WorldModel) -> None:
        self._model = model
        self.moments: dict[int, Moment] = {}
        self.current = -1

    def add(self, moment: Moment) -> None:
        """A new chunk, made where the session stood; it stands there now."""
        self.moments[moment.number] = moment
        self.current = moment.number
        for number, keep in ((self.next - 1 - EXACT, True), (self.next - 1 - MOST, False)):
            if (old := self.moments.get(number)) is not None and old.snapshot is not None:
                self.moments[number] = replace(old, snapshot=old.snapshot.light(self._model) if keep else None)

    @property
    def next(self) -> int:
        """The number of the next moment."""
        return len(self.moments)

    def get(self, number: object) -> Moment:
        """The moment of that number, or `InputError`."""
        if not isinstance(number, int) or number not in self.moments:
            raise InputError(f"there is no chunk {str(number)[:20]!r} on this walk")
        return self.moments[number]

    def back_to(self, number: object) -> tuple[Moment, Snapshot]:
        """A moment that can be gone back to."""
        moment = self.get(number)
        if moment.snapshot is None:
            raise InputError(f"chunk {moment.number} can only be looked at: the last {MOST} can be gone back to")
        return moment, moment.snapshot

    def line(self, number: object) -> list[Moment]:
        """From the beginning to a moment."""
        at, line = self.get(number), []
        while True:
            line.append(at)
            if at.parent is None:
                return line[::-1]
            at = self.moments[at.parent]
