"""`mirage batch`: a manifest of walks on many processes; exit code 1 if any failed."""

import sys
import time
from collections.abc import Iterable

from mirage.cli.arguments import Batch
from mirage.cli.arguments.common import noun_of
from mirage.cli.crews import crew_of
from mirage.cli.stopping import stoppable
from mirage.cli.terminal import Result, progress
from mirage.distributed.batch import At, run_batch
from mirage.distributed.walks import Making
from mirage.errors import check_number
from mirage.request import ModelRequest
from mirage.rollout.begin import device_of

QUIET = 10.0
"""Seconds between two lines, where no bar is."""


def run(asked: Batch) -> Result:
    """Make what is missing, and say what failed."""
    started = time.perf_counter()
    check_number("--batch", asked.batch, kind=int, low=1)
    making = Making(noun_of(asked, ModelRequest), asked.out, asked.fps, asked.save_world)
    crew = crew_of(asked)
    if crew.ray == "local":
        device_of(making.model)
    with stoppable():
        at = _shown(run_batch(asked.manifest, making, crew=crew, together=asked.batch))
    seconds = time.perf_counter() - started
    made, failed = len(at.made), len(at.failed)
    print(f"{asked.out}: {at.total} walks, {at.found} were there, {made} made, {failed} failed, {seconds:.1f} s")
    for name, reason in at.failed.items():
        print(f"mirage: {name} failed: {reason}", file=sys.stderr)
    if at.unwritten is not None:
        print(f"mirage: no failures.json: {at.unwritten}", file=sys.stderr)
    summary = {"out": asked.out, "total": at.total, "found": at.found, "made": made, "failed": at.failed}
    return Result(summary | {"seconds": seconds}, 1 if at.failed or at.unwritten else 0)


def _shown(states: Iterable[At]) -> At:
    """The last one, after a bar or lines on stderr."""
    at, told, over = At(0), time.monotonic(), 0
    with progress("walks") as show:
        for at in states:
            words = f"{at.done} of {at.total}" + (f", {len(at.failed)} failed" if at.failed else "")
            show(at.done, words, total=at.total)
            now = time.monotonic()
            if not sys.stderr.isatty() and at.done > over and now - told > QUIET:
                told, over = now, at.done
                left = f", {at.left:.0f} s left" if at.left is not None else ""
                print(f"mirage: {words}{left}", file=sys.stderr, flush=True)
    return at
