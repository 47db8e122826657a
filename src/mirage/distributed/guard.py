"""Ends what a local Ray leaves behind, however its driver ends: a process of its own that waits for the driver.

    python guard.py MARK FOLDER < pipe

When the pipe closes, every process that has MIRAGE_RAY=MARK in its environment is killed, and FOLDER is removed. Ray
has a reaper of its own, but two of its agents outlive it by a minute or more where the driver was killed (2.60.0).
Processes are found in /proc: on other systems only the folder goes.
"""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

MARK = "MIRAGE_RAY"
PATIENCE = 20.0
"""Seconds for which processes are looked for that others still start."""


def main() -> None:
    """Wait, then end them all."""
    mark, folder = sys.argv[1:3]
    sys.stdin.buffer.read()
    end_marked(mark)
    shutil.rmtree(folder, ignore_errors=True)


def end_marked(mark: str) -> None:
    """Kill every process with this mark, until two looks in a row find none."""
    clear, until = 0, time.monotonic() + PATIENCE
    while clear < 2 and time.monotonic() < until:
        found = marked(mark)
        for process in found:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:  # it has ended by itself
                continue
        clear = 0 if found else clear + 1
        time.sleep(0.2)


def marked(mark: str) -> list[int]:
    """Processes that were started with this mark in their environment, but not this one; zombies have none."""
    sign, found = f"{MARK}={mark}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if sign in (folder / "environ").read_bytes().split(b"\0") and int(folder.name) != os.getpid():
                found.append(int(folder.name))
        except OSError:  # it has just ended, or is somebody else's
            continue
    return found


if __name__ == "__main__":
    main()
