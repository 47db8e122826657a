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
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from mirage.errors import Terminated

MOMENT = 0.05
"""Seconds until a stop that was lost is asked for again."""


class Stop:
    """What was asked for while it could not be done; once it has been raised, what is tidied up is not disturbed."""

    def __init__(self) -> None:
        self._depth = 0
        self._asked: KeyboardInterrupt | None = None
        self._stopped: KeyboardInterrupt | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing is stopped in here; what was asked for meanwhile is raised at the end, if the block ended well."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if self._asked is not None and not self._depth:
            self._raise()

    def ending(self) -> None:
        """From here on only what is left is tidied up, and nothing stops that."""
        self._depth += 1

    def _answer(self, number: int, frame: FrameType | None) -> None:
        self._asked = _asked(number)
        if not self._depth:
            self._raise()

    def _raise(self) -> NoReturn:
        self.ending()
        assert self._asked is not None
        self._stopped, self._asked = self._asked, None
        raise self._stopped

    def _lost(self) -> None:
        self._depth -= 1
        self._stopped = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What comes out is what was raised; see `_same` and `_again`."""
        with _again(lambda: self._stopped, self._lost), _same(lambda: self._stopped):
            yield


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
    """Both signals are raised within, wherever nobody else answers them, and come out as they were raised; in processes
    that are forked from this one they do what they always do."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    first = threading.current_thread() is threading.main_thread()
    ours = [number for number in usual if first and signal.getsignal(number) is usual[number]]
    process, raised = os.getpid(), list[KeyboardInterrupt]()

    def answer(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:
            signal.signal(number, usual[signal.Signals(number)])
            signal.raise_signal(number)
            return
        raised.append(_asked(number))
        raise raised[0]

    for number in ours:
        signal.signal(number, answer)
    try:
        with _again(lambda: raised[0] if raised else None, raised.clear), _same(lambda: raised[0] if raised else None):
            yield
    finally:
        for number in ours:
            signal.signal(number, usual[number])


def _asked(number: int) -> KeyboardInterrupt:
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()


@contextmanager
def _same(raised: Callable[[], KeyboardInterrupt | None]) -> Iterator[None]:
    """What comes out after a stop was raised is that stop. Others may make something else of it: a package that was
    being imported says that it is broken, torch that a storage has no shape, Ray that a Terminated was Ctrl-C.

    What a disk refused (an `OSError`, or what came of one) while things were tidied up is told as it is."""
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:
        stop = raised()
        if stop is None or type(error) is type(stop) or any(isinstance(cause, OSError) for cause in causes(error)):
            raise
        raise type(stop) from error


@contextmanager
def _again(raised: Callable[[], KeyboardInterrupt | None], lost: Callable[[], None]) -> Iterator[None]:
    """A stop that came where nothing can be raised (a destructor, what C calls: LLVM when a kernel is kept) ends there,
    with a traceback and no other sign, and the work would go on: it is asked for again, a moment later."""
    before, asked = sys.unraisablehook, list[threading.Timer]()

    def look(unraisable: "sys.UnraisableHookArgs") -> None:
        stop = raised()
        if stop is None or stop not in causes(unraisable.exc_value):
            before(unraisable)
            return
        lost()
        number = signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT
        asked.append(threading.Timer(MOMENT, os.kill, (os.getpid(), number)))
        asked[-1].start()

    sys.unraisablehook = look
    try:
        yield
    finally:
        sys.unraisablehook = before
        for timer in asked:
            timer.cancel()  # what was to be stopped has ended


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what it came of, what that came of, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
