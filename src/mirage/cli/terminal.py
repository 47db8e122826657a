"""What a subcommand shows while it works (a progress bar on stderr, only where somebody is looking) and what it gives.

with progress("walking", total=97) as show:
    show(33, "chunk 1 of 3")
"""

import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Result:
    """`summary` is the last line of stdout under --json; `code` the exit code."""

    summary: dict[str, Any]
    code: int = 0


@contextmanager
def progress(what: str, *, total: float | None = None) -> Iterator[Callable[..., None]]:
    """Yields `show(done, words, total=None)`: how much of `total` is done (once it is known), and what is being done.
    Silent when not a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, words, total=None: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[words]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(what, total=total, words="")
        yield lambda done, words, total=None: bar.update(task, total=total, completed=done, words=words)


def peak_memory() -> int:
    """Most bytes of memory that this process ever held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def beside(out: Path, ending: str) -> Path:
    """walk.mp4 -> walk.sheet.png."""
    return out.with_name(out.stem + ending)
