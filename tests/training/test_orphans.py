"""A run whose first process is killed leaves no other behind, to write into it when it is taken up again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import os, sys, time
from pathlib import Path
from mirage.training.parallel import launch

def work(folder):
    (Path(folder) / f"pid-{os.getpid()}").touch()
    time.sleep(60)

if __name__ == "__main__":
    launch(work, sys.argv[1], processes=2)
"""


def alive(pid: int) -> bool:
    """Whether it runs; a process that has ended and waits to be asked about does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def until(condition, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="tells processes by /proc")
def test_no_process_outlives_the_first(tmp_path):
    (tmp_path / "work.py").write_text(SCRIPT)
    first = subprocess.Popen([sys.executable, str(tmp_path / "work.py"), str(tmp_path)])
    try:
        assert until(lambda: len(list(tmp_path.glob("pid-*"))) == 2, 90)
        pids = [int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")]
        assert all(alive(pid) for pid in pids)
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    assert until(lambda: not any(alive(pid) for pid in pids), 30)
