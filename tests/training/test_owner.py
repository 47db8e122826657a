"""A run has one owner, for as long as that one lives."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mirage.errors import InputError
from mirage.training.owner import owned

SCRIPT = """
import sys, time
from pathlib import Path
from mirage.training.owner import owned

with owned(Path(sys.argv[1])):
    print("mine", flush=True)
    time.sleep(60)
"""


def test_another_process_is_named_and_after_its_death_the_run_is_free(tmp_path):
    run = tmp_path / "runs" / "denoiser"
    other = subprocess.Popen([sys.executable, "-c", SCRIPT, str(run)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "mine\n"
        for _ in range(2):  # asking takes nothing away
            with (
                pytest.raises(InputError, match=rf"{run} is being trained by process {other.pid} on \S+; expected one"),
                owned(run),
            ):
                raise AssertionError("two owners")
        with owned(run.with_name("detail")):  # another run of the same folder
            pass
    finally:
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    begun = time.monotonic()
    with owned(run):
        assert time.monotonic() - begun < 5


def test_a_run_is_given_back_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), owned(tmp_path / "run"):
        _ = 1 / 0
    with owned(tmp_path / "run"):
        pass
    assert not list(tmp_path.glob(".*.owner"))
