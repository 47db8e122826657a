"""What a subcommand shows while it works (a progress bar on stderr, only where somebody is looking) and what it gives.

with progress("walking", total=97) as show:
    show(33, "chunk 1 of 3")

wrote = Wrote(picture)
save_image(picture, pixels)
wrote(f"{picture}, a map")            # wrote walk.map.png, a map
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


class Wrote:
    """Says that these files or folders were written, and nothing that is not so: each is there, and is not what was
    there when this was made. No other place says "wrote" (a test looks); where it were not so, a fault is raised."""

    def __init__(self, *paths: Path | None):
        self._before = {path: _state(path) for path in paths if path is not None}

    def __call__(self, words: str, *, without: Path | None = None) -> None:
        """Print "wrote", and these words, which say nothing of `without`."""
        said = {path: before for path, before in self._before.items() if path != without}
        if missing := [str(path) for path, before in said.items() if _state(path) in (None, before)]:
            raise RuntimeError(f"{', '.join(missing)}: not written, and nothing has said why")
        print(f"wrote {words}")


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


def _state(path: Path) -> tuple[int, ...] | None:
    """What is other for a file that was put in another's place, and for a folder in which one was; None: not there."""
    try:
        its = path.stat()
    except FileNotFoundError:
        return None
    return its.st_dev, its.st_ino, its.st_size, its.st_mtime_ns


def peak_memory() -> int:
    """Most bytes of memory that this process ever held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def beside(out: Path, ending: str) -> Path:
    """walk.mp4 -> walk.sheet.png."""
    return out.with_name(out.stem + ending)
