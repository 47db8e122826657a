"""Signals during training: the step at hand is ended, what has been learnt is kept, and then the process ends."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mirage.errors import Terminated

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """`asked`: the name of the signal that came, None: none yet."""

    def __init__(self) -> None:
        self.asked: str | None = None

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """A signal's handler."""
        self.asked = signal.Signals(number).name

    def raised(self, words: str) -> KeyboardInterrupt:
        """What to raise once all is kept."""
        return Terminated(words) if self.asked == "SIGTERM" else KeyboardInterrupt(words)


@contextmanager
def signals_noted(stop: Stop) -> Iterator[None]:
    """Within the block signals do no more than to ask for a stop. Outside the main thread, which alone hears signals,
    nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop.ask) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_interrupts_to_others(_: int = 0) -> None:
    """For helpers that share a terminal with their parent: it decides when they end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
