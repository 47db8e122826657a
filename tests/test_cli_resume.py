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

import pytest
import torch

from mirage.cli import main
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


def test_a_walk_is_killed_at_random_moments_and_ends_as_if_it_had_not_been(walk, model, place):
    """SIGKILL, again and again, and each time what is on the disk opens, plays and goes on."""
    assert walk("--out", "b.mp4", "--save-world", "b.safetensors")[0] == 0
    typed = [word.replace("_", " ").replace(",", ", ") for word in WALK.split()]
    begin = ["generate", *typed, "--model", model, "--out", "a.mp4", "--save-world", "a.safetensors", "--overwrite"]
    forks = (
        "import json, os, sys, torch\ntorch.set_num_threads(1)\nfrom mirage.cli import main\n"
        "import mirage.cli.generate\n"
        "for line in sys.stdin:\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        os._exit(main(json.loads(line)))\n"
        "    os.write(1, b'child %d\\n' % child)\n"
        "    os.write(1, b'ended %d\\n' % os.waitpid(child, 0)[1])\n"
    )
    draw, kills = random.Random(1), 0
    with (
        (place / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-c", forks],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            bufsize=1,
        ) as mother,
    ):
        assert mother.stdin is not None
        assert mother.stdout is not None
        for number in range(6):
            going = Path("a.resume.safetensors").exists()
            argv = ["generate", "--resume", "a.receipt.json"] if going else begin
            mother.stdin.write(json.dumps(argv) + "\n")
            while not (line := mother.stdout.readline()).startswith("child"):
                assert line
            if number < 4:  # and then it may come to its end
                said = (place / "log").read_text().count("mirage: chunk")
                for _ in range(3000):
                    time.sleep(0.01)
                    if (place / "log").read_text().count("mirage: chunk") > said:
                        break
                time.sleep(draw.uniform(0.0, 0.15))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(line.split()[1]), signal.SIGKILL)
            while not (line := mother.stdout.readline()).startswith("ended"):
                assert line
            if line == "ended 0\n":
                break
            kills += 1
        mother.stdin.close()
    assert kills >= 3
    assert (place / "log").read_text().count("mirage: chunk") >= 7, "none was killed after a chunk"
    same_walk("a", "b")
