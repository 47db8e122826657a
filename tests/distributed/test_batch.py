"""`mirage batch` with a local Ray: whole, resumed, shared, survived. Most are slow (`pytest -m slow`)."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import random_image
from mirage.cli import main
from mirage.distributed.guard import MARK
from mirage.formats.image import save_image
from mirage.formats.video import load_video

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
LINE = {"image": "a.png", "trajectory": "w 8", "frames": 9, "steps": 1}


@pytest.fixture(autouse=True)
def found(monkeypatch):
    """Processes that Ray starts find Mirage where it is not installed."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.delenv(MARK, raising=False)


@pytest.fixture
def batch(tmp_path, saved):
    """Writes a manifest of so many tiny walks; what is typed to make them with two replicas."""

    def made(count: int, *more: dict, replicas: int = 2) -> list[str]:
        save_image(tmp_path / "a.png", random_image())
        lines = [LINE | {"seed": number} for number in range(count)]
        (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*lines, *more]))
        out = str(tmp_path / "out")
        return [
            "batch",
            str(tmp_path / "m.jsonl"),
            "--out",
            out,
            "--model",
            str(saved),
            "--replicas",
            f"{replicas}",
            "--json",
        ]

    return made


def started(argv: list[str], **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "mirage", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def summary(process: subprocess.Popen, *, code: int = 0) -> dict:
    said, errors = process.communicate(timeout=500)
    assert process.returncode == code, errors
    return json.loads(said.splitlines()[-1])


def done_in(out: Path) -> list[str]:
    names = (path.parent.name for path in out.glob("*/done.json"))
    return sorted(name for name in names if not name.startswith("."))  # whole, and not still being written


def whole(out: Path, count: int) -> None:
    """All tasks are there, each with its video, and nothing else."""
    assert len(done_in(out)) == count
    names = {path.name for path in out.iterdir()}
    assert names == {*done_in(out), "failures.json"}
    for folder in (out / name for name in done_in(out)):
        held = {path.name for path in folder.iterdir()}
        assert held == {"done.json", "walk.mp4", "walk.receipt.json", "walk.sheet.png"}


def wait_for(condition, seconds: float = 200) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_what_can_be_made_is_made_and_the_rest_is_listed(batch, tmp_path, capsys):
    """Alone and two at a time: the same videos. A world that is none is found when its turn comes."""
    (tmp_path / "bad.safetensors").write_bytes(b"no world")
    argv = batch(3, {"name": "bad", "world": "bad.safetensors", "trajectory": "w 8"})
    assert main(argv) == 1
    said = capsys.readouterr()
    assert "bad failed: " in said.err
    result = json.loads(said.out.splitlines()[-1])
    assert (result["total"], result["made"], list(result["failed"])) == (4, 3, ["bad"])
    whole(tmp_path / "out", 3)
    assert "bad.safetensors" in json.loads((tmp_path / "out" / "failures.json").read_text())["bad"]["error"]
    assert len(load_video(tmp_path / "out" / "000000" / "walk.mp4")) == 9

    stamp = (tmp_path / "out" / "000000" / "walk.mp4").stat().st_mtime_ns
    for path in (tmp_path / "out" / "000001").iterdir():
        path.unlink()
    (tmp_path / "out" / "000001").rmdir()
    argv = batch(3)
    assert main([*argv, "--batch", "2"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["found"], result["made"]) == (2, 1)
    assert (tmp_path / "out" / "000000" / "walk.mp4").stat().st_mtime_ns == stamp
    receipt = tmp_path / "out" / "000001" / "walk.receipt.json"
    again = ["generate", "--again", str(receipt), "--out", str(tmp_path / "again.mp4")]
    assert main(again) == 0
    films = [load_video(path).float() for path in (tmp_path / "again.mp4", receipt.with_name("walk.mp4"))]
    assert (films[0] - films[1]).abs().mean() < 1


@pytest.mark.slow
def test_together_as_alone(batch, tmp_path):
    argv = batch(4, replicas=1)
    assert summary(started([*argv, "--batch", "4"]))["made"] == 4
    alone = [*argv[:3], str(tmp_path / "alone"), *argv[4:]]
    assert summary(started(alone))["made"] == 4
    for name in done_in(tmp_path / "out"):
        films = [load_video(tmp_path / out / name / "walk.mp4").float() for out in ("out", "alone")]
        assert (films[0] - films[1]).abs().mean() < 1


@pytest.mark.slow
def test_a_worker_is_killed_and_nobody_notices(batch, tmp_path):
    out, process = tmp_path / "out", started(batch(12))
    for least in (2, 6):
        wait_for(lambda least=least: len(done_in(out)) >= least)
        os.kill(last_worker(out), signal.SIGKILL)
    assert summary(process)["made"] == 12
    whole(out, 12)


def last_worker(out: Path) -> int:
    """The process that made the task which was done last."""
    last = max(out.glob("*/done.json"), key=lambda path: path.stat().st_mtime_ns)
    return json.loads(last.read_text())["process"]


@pytest.mark.slow
def test_the_driver_is_killed_and_the_next_one_goes_on(batch, tmp_path):
    argv, out = batch(10), tmp_path / "out"
    process = started(argv)
    wait_for(lambda: len(done_in(out)) >= 3)
    process.kill()
    process.communicate()
    result = summary(started(argv))
    assert result["found"] >= 3
    assert result["found"] + result["made"] == 10
    whole(out, 10)


@pytest.mark.slow
def test_two_drivers_share_a_folder(batch, tmp_path):
    argv = batch(16, replicas=1)
    both = [started(argv) for _ in range(2)]
    results = [summary(process) for process in both]
    whole(tmp_path / "out", 16)
    assert all(result["found"] + result["made"] == 16 for result in results)
    makers = {json.loads(path.read_text())["process"] for path in (tmp_path / "out").glob("*/done.json")}
    assert len(makers) == 2


@pytest.mark.slow
def test_a_full_disk_is_one_line(batch, tmp_path):
    """A file system of 64 kB."""
    out = tmp_path / "out"
    out.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(out)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        process = started(batch(20))
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 2, errors
        assert errors.count("\n") == 1
        assert "No space left on device" in errors
        assert "make room" in errors
        done = done_in(out)
        assert [path.name for path in out.iterdir() if path.is_dir() and not path.name.startswith(".")] == done
    finally:
        subprocess.run(["umount", "-l", str(out)], check=True)


@pytest.mark.slow
def test_five_hundred_tiny_walks(batch, tmp_path):
    result = summary(started(batch(500)))
    assert result["made"] == 500
    whole(tmp_path / "out", 500)
