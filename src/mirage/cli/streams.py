"""Whatever stdin, stdout and stderr are - closed, full, of ASCII - a command does its work and its exit code is right.

with steady():
    print("96 ± 2")          # 96 +/- 2 in an ASCII terminal
"""

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterator

_PLAIN = str.maketrans(
    {"±": "+/-", "×": "x", "°": " degrees", "µ": "u", "•": "*", "…": "...", "→": "->", "≤": "<=", "≥": ">=", "−": "-"}
    | dict.fromkeys("–—─━╴╶╸╺", "-")
    | dict.fromkeys("│┃╷╵", "|")
    | dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼", "+")
    | dict.fromkeys("‘’", "'")
    | dict.fromkeys("“”", '"')
)
"""What we and tyro print beyond ASCII. All else, names of files above all, is escaped, so that it can be told apart."""


@contextlib.contextmanager
def steady() -> Iterator[None]:
    """Streams that were closed lead nowhere, and a letter that a terminal does not have is written in plain ones."""
    _open_closed()
    codecs.register_error("plain", _plain)
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors="plain")
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            with contextlib.suppress(OSError):  # it flushes; what cannot be written is told by whoever printed it
                stream.reconfigure(errors=errors)


def silence(number: int) -> None:
    """Let stream 1 or 2 lead nowhere: it cannot be written, and what is left in it would be tried again at the end."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, number)
    if nowhere != number:
        os.close(nowhere)


def _open_closed() -> None:
    """A file that is opened later would get the number of a closed stream, and what is printed would go into it."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            silence(number)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_PLAIN)
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end
