"""Nothing that was made is lost: however a walk ends, its finished chunks are there, and it goes on to the bit."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer

import pytest
import torch

from mirage.cli import main
from mirage.errors import InputError
from mirage.formats.image import save_image
from mirage.formats.video import load_video
from mirage.memory.worldfile import load_world
from mirage.models.tiny import tiny_world
from mirage.rollout import Session

WALK = "--image picture.png --trajectory w_16,right_40 --steps 1 --seed 3 --static-filter"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    tiny_world().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    noise = torch.rand(1, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    save_image("picture.png", torch.nn.functional.interpolate(noise, (96, 144), mode="bicubic")[0].clamp(0, 1))
    return tmp_path / "here"


@pytest.fixture
def walk(model, place, capsys):
    """`mirage generate` with more options; (exit code, stdout, stderr)."""

    def run(*more, words=WALK):
        typed = [word.replace("_", " ").replace(",", ", ") for word in words.split()]
        code = main(["generate", *typed, *(["--model", model] if typed else []), *more])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def broken(monkeypatch):
    """Let the step of some number end in its way."""
    step = Session.step

    def arrange(number, how):
        calls = []

        def interrupted(self, *args, **choices):
            calls.append(1)
            if len(calls) == number:
                how()
            return step(self, *args, **choices)

        monkeypatch.setattr(Session, "step", interrupted)

    yield arrange
    monkeypatch.setattr(Session, "step", step)


def raising(error):
    def how():
        raise error

    return how


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def same_walk(one, other):
    """The same frames, and the same world to the bit."""
    assert torch.equal(load_video(f"{one}.mp4"), load_video(f"{other}.mp4"))
    assert Path(f"{one}.safetensors").read_bytes() == Path(f"{other}.safetensors").read_bytes()


ENDS = {
    "Ctrl-C": (lambda: signal.raise_signal(signal.SIGINT), 130, "stopped"),
    "SIGTERM": (lambda: signal.raise_signal(signal.SIGTERM), 143, "stopped"),
    "out of memory": (raising(MemoryError()), 1, "out of memory in chunk 4 of 7"),
    "a GPU's memory": (raising(torch.OutOfMemoryError("CUDA out of memory")), 1, "out of memory in chunk 4 of 7"),
    "a fault": (raising(ZeroDivisionError("a fault")), None, ""),
}


@pytest.mark.parametrize("end", ENDS)
def test_however_a_walk_ends_its_chunks_are_kept_and_it_goes_on(end, walk, broken, place, monkeypatch, capsys):
    how, expected, words = ENDS[end]
    with monkeypatch.context():
        broken(4, how)
        if expected is None:
            with pytest.raises(ZeroDivisionError):
                walk("--out", "a.mp4", "--save-world", "a.safetensors")
            said = capsys.readouterr().err
        else:
            code, _, said = walk("--out", "a.mp4", "--save-world", "a.safetensors")
            assert code == expected
        last = said.splitlines()[-1]
        assert last.startswith(f"mirage: {words}")
        assert "a.mp4 holds the first 25 of 57 frames" in last
        broken(-1, how)
    assert len(load_video("a.mp4")) == 25
    assert load_world("a.safetensors")[0].frames_written > 1
    receipt = json.loads(Path("a.receipt.json").read_text())
    assert (receipt["frames"], receipt["stopped"], len(receipt["chunks"])) == (25, True, 3)
    endings = ("mp4", "receipt.json", "resume.safetensors", "safetensors", "sheet.png")
    assert names(place) == [*(f"a.{ending}" for ending in endings), "picture.png"]
    code, out, _ = walk("--resume", "a.receipt.json", words="")
    assert (code, "wrote a.mp4: 57 frames in 7 chunks" in out) == (0, True)
    assert "a.resume.safetensors" not in names(place)
    assert walk("--out", "b.mp4", "--save-world", "b.safetensors")[0] == 0
    same_walk("a", "b")
    after = json.loads(Path("a.receipt.json").read_text())
    assert (after["stopped"], after["resume"], len(after["chunks"])) == (False, None, 7)
    assert [one["points"] for one in after["chunks"]] == [
        one["points"] for one in json.loads(Path("b.receipt.json").read_text())["chunks"]
    ]


def test_a_kill_between_the_walk_and_its_receipt_loses_no_chunk(walk, broken, place):
    """The receipt may be a chunk behind the walk, which alone says how far the film is gone on with."""
    broken(3, raising(KeyboardInterrupt()))
    assert walk("--out", "a.mp4", "--save-world", "a.safetensors")[0] == 130
    behind = Path("a.receipt.json").read_bytes()
    broken(2, raising(KeyboardInterrupt()))  # of what follows
    assert walk("--resume", "a.receipt.json", words="")[0] == 130
    broken(-1, raising(KeyboardInterrupt()))
    Path("a.receipt.json").write_bytes(behind)
    assert walk("--resume", "a.receipt.json", words="")[0] == 0
    assert len(json.loads(Path("a.receipt.json").read_text())["chunks"]) == 7
    assert walk("--out", "b.mp4", "--save-world", "b.safetensors")[0] == 0
    same_walk("a", "b")


@pytest.mark.parametrize("chunk", [1, 3])
def test_a_world_that_finds_no_room_is_said_to_be_what_it_is(chunk, walk, broken, place, monkeypatch):
    save, count = Session.save, iter(range(1, 100))

    def full(self, path, **choices):
        if path == Path("a.safetensors") and next(count) >= chunk:
            raise InputError(f"cannot write {path}: No space left on device")
        save(self, path, **choices)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "save", full)
        code, out, err = walk("--out", "a.mp4", "--save-world", "a.safetensors")
    frames = len(load_video("a.mp4"))
    assert (code, frames) == (2, 8 * chunk + 1)
    there = {1: "", 3: ", a.safetensors the world after 17 of them"}[chunk]
    goes_on = "; mirage generate --resume a.receipt.json goes on"
    assert err.splitlines()[-1].endswith(f"left on device; a.mp4 holds the first {frames} of 57 frames{there}{goes_on}")
    assert f"wrote a.mp4: {frames} frames" in out
    assert "the world is in" not in out
    broken(1, raising(KeyboardInterrupt()))  # nothing is made, and the world is brought to where the film is
    code, out, err = walk("--resume", "a.receipt.json", words="")
    assert (code, "the world is in a.safetensors" in out) == (130, True)
    assert "a.safetensors the world as it was then" in err.splitlines()[-1]
    frames_before = load_world("a.safetensors")[0].frames_written
    broken(-1, raising(KeyboardInterrupt()))
    assert walk("--resume", "a.receipt.json", words="")[0] == 0
    assert load_world("a.safetensors")[0].frames_written > frames_before


def test_a_kill_at_any_file_of_the_end_leaves_all_of_them_to_be_made(walk, broken, place, monkeypatch):
    class Killed(BaseException):
        pass

    broken(2, raising(KeyboardInterrupt()))
    short = WALK.replace("w_16,right_40", "w_8,right_8")
    assert walk("--out", "a.mp4", "--save-world", "a.safetensors", words=short)[0] == 130
    broken(-1, raising(KeyboardInterrupt()))
    left, replace = {path: path.read_bytes() for path in place.iterdir()}, Path.replace

    def resumed(kill):
        """Killed at that file, if there are so many, and gone on with if its receipt says so; the contact sheet."""
        for path in place.iterdir():
            path.unlink()
        for path, content in left.items():
            path.write_bytes(content)
        count = iter(range(kill, -1, -1))

        def counted(path, target):
            if next(count, None) == 0:
                raise Killed
            return replace(path, target)

        with monkeypatch.context() as patched, contextlib.suppress(Killed):
            patched.setattr(Path, "replace", counted)
            assert walk("--resume", "a.receipt.json", words="")[0] == 0
        if json.loads(Path("a.receipt.json").read_text())["resume"]:
            assert walk("--resume", "a.receipt.json", words="")[0] == 0
        assert json.loads(Path("a.receipt.json").read_text())["frames"] == len(load_video("a.mp4")) == 17
        assert Path("a.safetensors").exists()
        return Path("a.sheet.png").read_bytes(), next(count, None)

    whole, _ = resumed(99)
    kills = 0
    while (ended := resumed(kills))[1] is None:
        assert ended[0] == whole
        kills += 1
    assert kills >= 5  # world, receipt; film, sheet, receipt


FORKS = """
import json, os, sys, torch
torch.set_num_threads(1)
from mirage.cli import main
import mirage.cli.generate
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os._exit(main(json.loads(line)))
    os.write(1, b"child %d\\n" % child)
    os.write(1, b"ended %d\\n" % os.waitpid(child, 0)[1])
"""


@pytest.fixture
def child(place):
    """Run a command line in a process of its own that is killed after so many seconds; whether it came to its end."""
    with (
        (place / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-c", FORKS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            bufsize=1,
        ) as mother,
    ):
        assert mother.stdin is not None
        assert mother.stdout is not None
        words = {"in": mother.stdin, "out": mother.stdout}

        def run(argv, seconds):
            words["in"].write(json.dumps(argv) + "\n")
            number = int(words["out"].readline().split()[1])
            timer = Timer(seconds, os.kill, (number, signal.SIGKILL))
            timer.start()
            while not (line := words["out"].readline()).startswith("ended"):
                assert line  # what the walk itself prints comes between
            status = int(line.split()[1])
            timer.cancel()
            assert status in (0, signal.SIGKILL), (place / "log").read_text()
            return status == 0

        yield run
        mother.stdin.close()


def check_what_is_there(folder):
    """After a kill: the world opens, and the film of the finished chunks plays."""
    if Path("a.safetensors").exists():
        assert len(load_world("a.safetensors")[0])
    if not Path("a.receipt.json").exists():
        return 0
    frames = json.loads(Path("a.receipt.json").read_text())["frames"]
    films = [path for path in folder.iterdir() if path.suffix == ".mp4" and path.name.lstrip(".").startswith("a")]
    assert max(len(load_video(path)) for path in films if path.stat().st_size) >= frames
    return frames


def test_a_walk_is_killed_at_random_moments_and_ends_as_if_it_had_not_been(walk, model, place, child):
    """SIGKILL, again and again, and each time what is on the disk opens, plays and goes on, to the bit in the end.
    `MIRAGE_KILLS=50` for as many as that."""
    started = time.perf_counter()
    assert walk("--out", "b.mp4", "--save-world", "b.safetensors")[0] == 0
    whole, draw = time.perf_counter() - started, random.Random(1)
    typed = [word.replace("_", " ").replace(",", ", ") for word in WALK.split()]
    begin = ["generate", *typed, "--model", model, "--out", "a.mp4", "--save-world", "a.safetensors", "--overwrite"]
    goes_on = ["generate", "--resume", "a.receipt.json"]

    def typed_next():
        receipt = Path("a.receipt.json")
        return goes_on if receipt.exists() and json.loads(receipt.read_text())["resume"] else begin

    kills, there = 0, []
    while kills < int(os.environ.get("MIRAGE_KILLS", "4")):
        if child(typed_next(), draw.uniform(0, whole)):
            same_walk("a", "b")
            assert not Path("a.resume.safetensors").exists()
            continue
        kills += 1
        there.append(check_what_is_there(place))
    if not child(typed_next(), 600):
        pytest.fail("killed after ten minutes")
    same_walk("a", "b")
    print(f"{kills} kills left {sorted(set(there))} frames")
