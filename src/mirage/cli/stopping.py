"""Ctrl-C and SIGTERM (docker stop, a scheduler) end a walk between two things and never in the middle of one.

with stoppable() as stop:
    ...                       # here either raises at once
    with stop.held():
        ...                   # and here when the block has ended

with terminable():
    ...                       # SIGTERM is raised here, as Ctrl-C is of itself: what tidies up does so for both
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mirage.errors import Terminated


class Stop:
    """What was asked for while it could not be done; once it has been raised, what is tidied up is not disturbed."""

    def __init__(self) -> None:
        self._depth, self._asked, self._terminated = 0, None, False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing is stopped in here; what was asked for meanwhile is raised at the end, if the block ended well."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if self._asked is not None and not self._depth:
            raise self._raised()

    def ending(self) -> None:
        """From here on only what is left is tidied up, and nothing stops that."""
        self._depth += 1

    def _answer(self, number: int, frame: FrameType | None) -> None:
        self._asked = Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
        if not self._depth:
            raise self._raised()

    def _raised(self) -> BaseException:
        asked, self._asked = self._asked, None
        self.ending()
        self._terminated = isinstance(asked, Terminated)
        return asked or KeyboardInterrupt()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What was raised comes out as it was: of all that ends its waiting Ray (2.60.0) makes `KeyboardInterrupt`."""
        try:
            yield
        except KeyboardInterrupt as stopped:
            if self._terminated and not isinstance(stopped, Terminated):
                raise Terminated from stopped
            raise


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Both signals are answered by the `Stop` within; in a thread that is not the first one they go where they went."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    ours = [number for number in numbers if before[number] is not signal.SIG_IGN]  # nohup, or a shell's background
    try:
        for number in ours:
            signal.signal(number, stop._answer)
        with stop.kept():
            yield stop
    finally:
        for number in ours:
            signal.signal(number, before[number])


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM raises `Terminated` within, wherever nobody else answers it; in processes that are forked from this one
    it does what it always does."""
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    process = os.getpid()

    def answer(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:
            raise Terminated
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    if ours:
        signal.signal(signal.SIGTERM, answer)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
