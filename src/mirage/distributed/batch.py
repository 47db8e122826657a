"""A manifest of walks, on many processes: what is missing is made, what is there stays, what fails is listed.

    for at in run_batch("walks.jsonl", making, crew=Crew(replicas=2)):
        at.done, at.total, at.failed          as it goes; the last one is the outcome

    OUT/NAME/...           a walk (walks.py); a folder appears whole, with its done.json
    OUT/failures.json      {NAME: {error, trace}} of the last run

Two drivers may work on one folder, at once or one after the other: each takes what nobody is at. In an object store
nothing can be held, so there a task may be done twice, with the same outcome.
"""

import contextlib
import functools
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from mirage.distributed.crew import Crew, Job, drive
from mirage.distributed.manifest import Entry, read_manifest
from mirage.distributed.store import Store
from mirage.distributed.walks import Making, Walker, check
from mirage.errors import InputError
from mirage.files import Taken, claimed, sweep_claims


@dataclass
class At:
    """How far a batch is: tasks that were `found` done, `made` now, and `failed` with the reason, of `total`;
    `unwritten`: why failures.json is not there, if it is not."""

    total: int
    found: int = 0
    made: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    unwritten: str | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> int:
        """Tasks that are over, one way or the other."""
        return self.found + len(self.made) + len(self.failed)

    @property
    def left(self) -> float | None:
        """Seconds to go at the pace so far; None: nobody can tell yet."""
        over = self.done - self.found
        return (time.monotonic() - self.started) / over * (self.total - self.done) if over else None


def run_batch(manifest: str, making: Making, *, crew: Crew, together: int = 1) -> Iterator[At]:
    """How far it is, at every end of a task and about every second; the same object, which is the outcome in the end.

    together: so many walks of one shape are denoised at once. Raises `InputError` before anything runs where a line of
    the manifest, a file that it names, or what is in `making.out` is not as it has to be.
    """
    entries, store = read_manifest(manifest), Store.of(making.out)
    done = store.done()
    found = [entry for entry in entries if entry.name in done and making.finished(entry, done[entry.name])]
    left = [entry for entry in entries if entry.name not in done]
    _check_places(left, store)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(functools.partial(check, making=making), left))
    at = At(len(entries), found=len(found))
    yield at
    traces: dict[str, dict[str, str]] = {}
    with contextlib.closing(_Claims(store)) as claims:
        turns = [[Job(one.name, one) for one in turn] for turn in _turns(left, together)]
        for report in drive(turns, functools.partial(Walker, making), crew=crew, take=claims.take):
            if report is not None:
                claims.release(report.job)
                if report.error is None:
                    at.made[report.job.name] = report.result
                else:
                    at.failed[report.job.name] = report.error
                    traces[report.job.name] = {"error": report.error, "trace": report.trace}
            yield at
    if left:
        try:
            store.write("failures.json", json.dumps(traces, indent=1) + "\n")
        except OSError as error:  # a server that has gone, and the outcome is to be told all the same
            at.unwritten = str(error)


def _check_places(entries: Sequence[Entry], store: Store) -> None:
    """What is not done may not be there."""
    for entry in entries:
        folder = None if store.folder is None else store.folder / entry.name
        if folder is not None and folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise InputError(f"{folder} is there, and no result of a batch; expected another name or folder")


def _turns(entries: Sequence[Entry], together: int) -> Iterator[Sequence[Entry]]:
    """Entries of one shape, so many at a time."""
    shapes: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        shapes.setdefault(entry.shape if together > 1 else (), []).append(entry)
    for alike in shapes.values():
        yield from (alike[first : first + together] for first in range(0, len(alike), together))


class _Claims:
    """Tasks that this driver is at; a second driver on the same folder takes others."""

    def __init__(self, store: Store) -> None:
        self.store, self.held = store, dict[str, contextlib.ExitStack]()

    def take(self, job: Job) -> bool:
        """Whether it is ours now."""
        if self.store.folder is None or job.name in self.held:
            return True
        self.store.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as own:
            try:
                own.enter_context(claimed(self.store.folder / f"{job.name}.task"))
            except Taken:
                return False
            self.held[job.name] = own.pop_all()
        return True

    def release(self, job: Job) -> None:
        """It is over."""
        if job.name in self.held:
            self.held.pop(job.name).close()

    def close(self) -> None:
        """None is held any more."""
        for own in self.held.values():
            own.close()
        if self.store.folder is not None:
            sweep_claims(self.store.folder, ".task")
