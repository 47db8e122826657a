"""Work that is given out: pulled, retried, survived; and nothing is left of a Ray that was started for it."""

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from crewtoys import Toy

from mirage.distributed.crew import Crew, Job, drive
from mirage.distributed.guard import MARK, marked
from mirage.errors import InputError

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture(autouse=True)
def found(monkeypatch):
    """Processes that Ray starts find the toys, and Mirage where it is not installed."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))


def gone_with(mark: str, *, within: float) -> bool:
    """Whether no process has the mark any more, soon."""
    until = time.monotonic() + within
    while marked(mark) and time.monotonic() < until:
        time.sleep(0.2)
    return not marked(mark)


def test_every_job_comes_to_an_end(tmp_path):
    """One go through all that can happen to a job."""
    hows = {"a": "well", "b": "fails once", "c": "fails", "d": "dies once", "e": "wrong", "f": "dies", "g": "slow"}
    jobs = [Job(name, (name, how)) for name, how in hows.items()]
    turns = [jobs[:2], *[[job] for job in jobs[2:]]]
    mine, marks = {"a": 0, "g": 0}, set()

    def take(job):
        """Somebody else has g, for a while."""
        marks.add(os.environ[MARK])
        mine[job.name] = mine.get(job.name, 0) + 1
        return job.name != "g" or mine["g"] > 2

    reports = [report for report in drive(turns, Toy(tmp_path), crew=Crew(replicas=2), take=take) if report]
    by_name = {report.job.name: report for report in reports}
    assert len(reports) == len(by_name) == len(hows)
    assert {name for name, report in by_name.items() if report.error is None} == {"a", "b", "d", "g"}
    assert all(report.result[0] == name for name, report in by_name.items() if report.error is None)
    assert by_name["c"].error == "KeyError: 'always'"
    assert "crewtoys.py" in by_name["c"].trace
    assert by_name["e"].error == "it cannot be had"
    assert "its process has ended" in (by_name["f"].error or "")

    def tries(name):
        return len(list(tmp_path.glob(f"{name}-try-*")))

    assert {name: tries(name) for name in hows} == {"a": 2, "b": 2, "c": 3, "d": 2, "e": 1, "f": 3, "g": 1}
    assert (
        len(list(tmp_path.glob("made-*"))) >= 2 + 3
    )  # a process that ended makes its worker again, if there is a next turn
    (mark,) = marks
    assert MARK not in os.environ
    assert gone_with(mark, within=1)


DRIVER = """
import os, sys, time
from pathlib import Path
from mirage.distributed.crew import Crew, Job, drive
from crewtoys import Toy
turns = [[Job(str(n), (str(n), "slow"))] for n in range(100)]
for report in drive(turns, Toy(Path(sys.argv[1])), crew=Crew(replicas=2)):
    if report:
        print(os.environ["MIRAGE_RAY"], os.environ["RAY_AUTH_MODE"], flush=True)
"""


@pytest.mark.slow
def test_after_the_driver_was_killed_no_process_and_no_folder_stays(tmp_path):
    place = Path(tempfile.mkdtemp(prefix="m-"))  # a short name: Ray's sockets lie there
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(place)},
    )
    assert driver.stdout is not None
    mark, mode = driver.stdout.readline().split()
    assert mode == "token"
    assert len(marked(mark)) > 5
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert gone_with(mark, within=20)
    until = time.monotonic() + 10
    while list(place.iterdir()) and time.monotonic() < until:
        time.sleep(0.2)
    place.rmdir()  # which has to be empty


@pytest.mark.slow
def test_a_full_disk_and_a_worker_that_cannot_be_made_end_it_all(tmp_path):
    jobs = [[Job(str(n), (str(n), "full"))] for n in range(4)]
    with pytest.raises(InputError, match="No space left"):
        list(drive(jobs, Toy(tmp_path), crew=Crew(replicas=1)))
    with pytest.raises(InputError, match=r"no worker can be made: .*FileNotFoundError"):
        list(drive(jobs, Toy(tmp_path / "none"), crew=Crew(replicas=1)))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "somewhere", "127.0.0.1:99999", "127.0.0.1:", ":1", "a:-1"])
def test_there_has_to_be_a_ray_where_it_is_said(tmp_path, address):
    with pytest.raises(InputError, match=f"no Ray at {address} .*accepted: local, auto, HOST:PORT"):
        list(drive([[Job("a", ("a", "well"))]], Toy(tmp_path), crew=Crew(ray=address)))
