"""Who may look while somebody writes: many readers at once, or one writer and nobody else.

    with sharing.reading():      # as many threads as like to
    with sharing.writing():      # alone; readers that come later wait for it, so that it is not kept waiting for good

Neither may be taken within the other.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Sharing:
    """A lock of two kinds. A copy, or one from another process, is a lock that nobody holds."""

    def __init__(self) -> None:
        self._alone = threading.Lock()  # held by the writer; a reader takes it for a moment, to come in
        self._left = threading.Condition()
        self._readers: set[object] = set()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Within the block nobody writes."""
        me = object()  # a count would be wrong for good where Ctrl-C falls beside it
        try:
            with self._alone:
                self._readers.add(me)
            yield
        finally:
            self._readers.discard(me)
            if self._alone.locked():
                with self._left:
                    self._left.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Within the block nobody else reads or writes."""
        with self._alone:
            with self._left:
                while self._readers:
                    self._left.wait(0.1)  # and look again: who leaves may have found nobody waiting
            yield

    def __reduce__(self) -> tuple[type["Sharing"], tuple[()]]:
        return Sharing, ()
