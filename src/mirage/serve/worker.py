"""One thread owns the model; everybody else asks it. Sessions take turns, and the newest wish of each one counts.

    worker = Worker()
    chunk = await wrap_future(worker.walk(name, lambda check: step(session, camera, callback=check)))
    worker.cancel(name)                           # what waits is dropped, what runs ends after its denoising step

A *walk* is long and may be replaced: the one that waits is dropped when a newer one of the same session comes, and the
one that runs calls `check` between denoising steps, which raises `Cancelled` once it is not wanted. A *command* (save,
undo) is short, is never replaced, and goes before every walk. What either raises is what its future raises.
"""

import os
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from mirage.rollout.plan import Progress

T = TypeVar("T")
NICE = 4
"""Of the thread that computes: whoever answers people goes before it, on machines of few cores too."""
Check = Callable[[Progress | None], None]
"""Called between denoising steps, as a session's callback or by itself; raises `Cancelled`."""


class Cancelled(Exception):
    """Nobody wants it any more: a newer wish came, or its session was stopped. The session stands at its last chunk."""


class Worker:
    """The thread and what waits for it. `threads`: of the kernels that it runs; None: as torch has them."""

    def __init__(self, *, threads: int | None = None) -> None:
        self._wakes = threading.Condition()
        self._commands: deque[_Job] = deque()
        self._walks: OrderedDict[Hashable, _Job] = OrderedDict()
        self._running: _Job | None = None
        self._closed = False
        self._threads = threads
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def walk(self, key: Hashable, work: Callable[[Check], T]) -> "Future[T]":
        """Queue the newest walk of `key`; one that waits is dropped, one that runs goes on."""
        job = _Job(key, work)
        with self._wakes:
            self._refuse_if_closed()
            before = self._walks.get(key)
            self._walks[key] = job  # in the old one's place, so that nobody is served more by asking often
            self._wakes.notify()
        if before is not None:
            before.drop()
        return job.future

    def command(self, key: Hashable, work: Callable[[], T]) -> "Future[T]":
        """Queue something short, before all walks and after all commands that wait."""
        job = _Job(key, lambda check: work())
        with self._wakes:
            self._refuse_if_closed()
            self._commands.append(job)
            self._wakes.notify()
        return job.future

    def cancel(self, key: Hashable) -> bool:
        """Drop the walk of `key` that waits, and end the one that runs after its denoising step; whether there was one.
        Commands stay."""
        with self._wakes:
            waiting = self._walks.pop(key, None)
            running = self._running if self._running is not None and self._running.key == key else None
            if running is not None:
                running.unwanted.set()
        if waiting is not None:
            waiting.drop()
        return waiting is not None or running is not None

    def busy(self, key: Hashable) -> bool:
        """Whether a walk of `key` waits or runs."""
        with self._wakes:
            return key in self._walks or (self._running is not None and self._running.key == key)

    @property
    def waiting(self) -> int:
        """Commands and walks that have not begun."""
        with self._wakes:
            return len(self._commands) + len(self._walks)

    def close(self, *, cancel: bool = True) -> None:
        """Take nothing more; commands that wait are done, walks too unless `cancel`. Returns when the thread has
        ended."""
        with self._wakes:
            self._closed = True
            keys = {*self._walks, *([self._running.key] if self._running else [])}
            self._wakes.notify()
        for key in keys if cancel else ():
            self.cancel(key)
        self._thread.join()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise Cancelled("the server is stopping")

    def _work(self) -> None:
        if sys.platform == "linux":  # where a thread has a priority of its own, which those of its kernels inherit
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        if self._threads is not None:
            import torch

            torch.set_num_threads(self._threads)
        while (job := self._next()) is not None:
            done = job.run()
            with self._wakes:
                self._running = None
            done()  # whoever waits finds nothing running any more
            del job, done  # what it holds, a session perhaps, must not wait for the next one to be let go

    def _next(self) -> "_Job | None":
        with self._wakes:
            while not self._commands and not self._walks and not self._closed:
                self._wakes.wait()
            if self._commands:
                return self._commands.popleft()
            if self._walks:
                self._running = self._walks.popitem(last=False)[1]
            return self._running


@dataclass(eq=False)
class _Job:
    key: Hashable
    work: Callable[[Check], Any]
    future: "Future[Any]" = field(default_factory=Future)
    unwanted: threading.Event = field(default_factory=threading.Event)

    def run(self) -> Callable[[], None]:
        """Do it; what is returned tells whoever asked."""
        if not self.future.set_running_or_notify_cancel():
            return lambda: None
        try:
            result = self.work(partial(_check, self.unwanted))
        except BaseException as error:  # it belongs to whoever asked, who has the future; the thread lives on
            try:
                return partial(self.future.set_exception, error)
            finally:
                del self  # else future, error, its traceback and this frame are a ring, and a session is caught in it
        return partial(self.future.set_result, result)

    def drop(self) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(Cancelled("a newer wish came, or it was stopped"))


def _check(unwanted: threading.Event, progress: Progress | None = None) -> None:
    if unwanted.is_set():
        raise Cancelled("it was stopped between two denoising steps")
