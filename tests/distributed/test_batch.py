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
from mirage.distributed.guard import MARK, marked
from mirage.distributed.manifest import read_manifest
from mirage.distributed.store import DONE, Store
from mirage.distributed.walks import Making
from mirage.formats.image import save_image
from mirage.formats.video import load_video
from mirage.request import ModelRequest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
RUNNING: list[subprocess.Popen] = []
LINE = {"image": "a.png", "trajectory": "w 8", "frames": 9, "steps": 1}


@pytest.fixture(autouse=True)
def found(monkeypatch):
    """Processes that Ray starts find Mirage where it is not installed; drivers end with their test."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.delenv(MARK, raising=False)
    yield
    for process in RUNNING:
        process.kill()
    RUNNING.clear()


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
    process = subprocess.Popen(
        [sys.executable, "-m", "mirage", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )
    RUNNING.append(process)
    return process


def summary(process: subprocess.Popen, *, code: int = 0) -> dict:
    said, errors = process.communicate(timeout=500)
    assert process.returncode == code, errors
    return json.loads(said.splitlines()[-1])


def done_in(out: Path) -> list[str]:
    names = (path.parent.name for path in out.glob("*/done.json"))
    return sorted(name for name in names if not name.startswith("."))  # whole, and not still being written


def all_whole(out: Path, count: int) -> None:
    """So many tasks are there, each whole, and nothing else."""
    names = done_in(out)
    assert len(names) == count
    assert {path.name for path in out.iterdir()} == {*names, "failures.json"}
    whole(out, *names)


def whole(out: Path, *names: str) -> None:
    """These tasks have their video and all beside it."""
    for name in names:
        held = {path.name for path in (out / name).iterdir()}
        assert held == {"done.json", "walk.mp4", "walk.receipt.json", "walk.sheet.png"}


def wait_for(condition, seconds: float = 200) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_what_is_missing_is_made_and_what_cannot_be_is_listed(batch, tmp_path, saved, capsys):
    """Two at a time, as one alone; what is there stays. A world that is none is found when its turn comes."""
    (tmp_path / "bad.safetensors").write_bytes(b"no world")
    argv, out = batch(3, {"name": "bad", "world": "bad.safetensors", "trajectory": "w 8"}, replicas=1), tmp_path / "out"
    making, there = Making(ModelRequest(model=str(saved)), str(out)), read_manifest(str(tmp_path / "m.jsonl"))[1]
    with Store.of(making.out).making(there.name) as beside:
        (beside / DONE).write_text(json.dumps({"asked": making.asked(there)}))
    assert main([*argv, "--batch", "2"]) == 1
    said = capsys.readouterr()
    assert "bad failed: " in said.err
    result = json.loads(said.out.splitlines()[-1])
    assert (result["total"], result["found"], result["made"], list(result["failed"])) == (4, 1, 2, ["bad"])
    assert {path.name for path in (out / there.name).iterdir()} == {DONE}
    assert done_in(out) == ["000000", "000001", "000002"]
    whole(out, "000000", "000002")
    assert "bad.safetensors" in json.loads((out / "failures.json").read_text())["bad"]["error"]
    for name in ("000000", "000002"):
        receipt = out / name / "walk.receipt.json"
        assert main(["generate", "--again", str(receipt), "--out", str(tmp_path / f"{name}.mp4")]) == 0
        films = [load_video(path).float() for path in (tmp_path / f"{name}.mp4", receipt.with_name("walk.mp4"))]
        assert len(films[0]) == len(films[1]) == 9
        assert (films[0] - films[1]).abs().mean() < 1

    capsys.readouterr()
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert main(batch(3)) == 0  # all are there now, so no Ray is started
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["found"], result["made"]) == (3, 0)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == stamps


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
    all_whole(out, 12)


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
    all_whole(out, 10)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_driver_that_is_asked_to_stop_says_so_and_nothing_of_it_stays(batch, tmp_path, number, code):
    out, process = tmp_path / "out", started(batch(400))
    wait_for(lambda: len(done_in(out)) >= 2)
    environment = Path(f"/proc/{last_worker(out)}/environ").read_bytes().decode().split("\0")
    mark = next(word.removeprefix(f"{MARK}=") for word in environment if word.startswith(f"{MARK}="))
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert errors.splitlines()[-1] == "mirage: stopped"
    assert "PC: @" not in errors
    wait_for(lambda: not marked(mark), 60)
    assert {path.name for path in out.iterdir() if not path.name.startswith(".")} == set(done_in(out))


@pytest.mark.slow
def test_two_drivers_share_a_folder(batch, tmp_path):
    argv = batch(16, replicas=1)
    both = [started(argv) for _ in range(2)]
    results = [summary(process) for process in both]
    all_whole(tmp_path / "out", 16)
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
    all_whole(tmp_path / "out", 500)
