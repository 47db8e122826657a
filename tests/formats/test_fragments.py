"""A film that is being written plays at any moment: what a SIGKILL leaves has every frame of the writes that ended."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mirage.errors import InputError
from mirage.formats.fragments import left_behind, recover
from mirage.formats.video import VideoWriter, load_video

WRITER = r"""
import os, sys, torch
from mirage.formats.video import VideoWriter
levels = ((20 + 2 * torch.arange(97)) / 255)[:, None, None, None].expand(97, 3, 32, 48)
while True:
    os.write(1, b"new\n")
    with VideoWriter(sys.argv[1], 16) as video:
        for part in levels.split([33, 32, 32]):
            video.write(part)
            os.write(1, b"%d\n" % video.frames)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_writer_leaves_the_finished_chunks(tmp_path: Path) -> None:
    """One process is started for all moments: it forks a writer for each, which is killed at random."""
    forks = (
        "import os, sys\nimport mirage.formats.video, torch\ntorch.set_num_threads(1)\n"
        f"code = compile({WRITER!r}, 'writer', 'exec')\n"
        "for line in sys.stdin:\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        sys.argv[1:] = [line.strip()]\n"
        "        exec(code)\n"
        "    os.write(1, b'child %d\\n' % child)\n"
        "    os.waitpid(child, 0)\n"
        "    os.write(1, b'dead\\n')\n"
    )
    mother = subprocess.Popen(
        [sys.executable, "-c", forks], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert mother.stdin is not None
    assert mother.stdout is not None
    draw, left = random.Random(0), 0
    with mother:
        for number in range(20):
            folder = tmp_path / str(number)
            folder.mkdir()
            target = folder / "walk.mp4"
            mother.stdin.write(f"{target}\n")
            lines = [mother.stdout.readline()]
            while mother.poll() is None and not lines[-1].startswith("child"):
                lines.append(mother.stdout.readline())
            pid = int(lines[-1].split()[1])
            begun = time.monotonic()
            while time.monotonic() < begun + 5 and not any(film.stat().st_size for film in folder.iterdir()):
                time.sleep(0.01)  # a machine may be busy: the moments are counted from the first bytes on
            time.sleep(draw.uniform(0.0, 0.25))
            os.kill(pid, signal.SIGKILL)
            while (line := mother.stdout.readline()) not in ("dead\n", ""):
                lines.append(line)
            said = [line.strip() for line in lines if not line.startswith("child")]
            since = said[len(said) - said[::-1].index("new") :] if "new" in said else []
            done = max((int(word) for word in since if word.isdigit()), default=0)
            finished = target.exists()
            if done and not finished:  # as it lies there, it plays; beside it may be the plain film, half made
                (growing_film,) = [path for path in left_behind(target) if not path.name.startswith("..")]
                assert len(load_video(growing_film)) >= done
            if finished:
                assert load_video(target).shape == (97, 3, 32, 48)
                target.unlink()
            frames = recover(target)
            if not finished:
                assert frames >= done
            assert frames in (0, 33, 65, 97)
            left += frames > 0
            if frames:
                levels = load_video(target).float().mean((1, 2, 3))
                assert (levels - (20 + 2 * torch.arange(frames))).abs().max() < 1.5
            assert sorted(path.name for path in folder.iterdir()) == (["walk.mp4"] if frames else [])
        mother.stdin.close()
    assert left > 4, "none was killed while it wrote: the moments are no moments"


def growing(folder: Path, frames: int, name: str = ".walk-mirage-1.mp4") -> Path:
    """What a writer that was killed after so many frames has left."""
    with VideoWriter(folder / "other.mp4") as video:
        for part in torch.rand(frames, 3, 32, 32).split(32):
            video.write(part)
        content = next(folder.glob(".other-mirage-*.mp4")).read_bytes()
    (folder / "other.mp4").unlink()
    (folder / name).write_bytes(content)
    return folder / name


def test_a_film_cut_anywhere_has_its_whole_groups(tmp_path: Path) -> None:
    content = growing(tmp_path, 96).read_bytes()
    counts = []
    for cut in [0, 1, 500, *random.Random(1).sample(range(len(content)), 12), len(content)]:
        (tmp_path / ".walk-mirage-1.mp4").write_bytes(content[:cut])
        counts.append((cut, recover(tmp_path / "walk.mp4")))
        assert (tmp_path / "walk.mp4").exists() == bool(counts[-1][1])
        if counts[-1][1]:
            assert len(load_video(tmp_path / "walk.mp4")) == counts[-1][1]
            (tmp_path / "walk.mp4").unlink()
        assert not list(tmp_path.iterdir())
    assert counts[-1][1] == 96
    assert {frames for _, frames in counts} == {0, 32, 64, 96}
    assert [frames for _, frames in sorted(counts)] == sorted(frames for _, frames in counts)


def test_the_longest_of_several_is_kept_and_nothing_is_replaced(tmp_path: Path) -> None:
    growing(tmp_path, 32, ".walk-mirage-1.mp4")
    growing(tmp_path, 64, ".walk-mirage-2.mp4")
    (tmp_path / ".walk-mirage-3.mp4").touch()
    (tmp_path / "walk.mp4").write_bytes(b"an older film")
    with pytest.raises(InputError, match="there already"):
        recover(tmp_path / "walk.mp4")
    (tmp_path / "walk.mp4").unlink()
    assert recover(tmp_path / "walk.mp4") == 64
    assert [path.name for path in tmp_path.iterdir()] == ["walk.mp4"]
    assert recover(tmp_path / "walk.mp4") == 0


def test_a_living_writers_film_is_not_touched(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "walk.mp4") as video:
        video.write(torch.rand(16, 3, 32, 32))
        assert left_behind(tmp_path / "walk.mp4") == []
        assert recover(tmp_path / "walk.mp4") == 0
        (beside,) = tmp_path.iterdir()
        assert len(load_video(beside)) == 16
    assert len(load_video(tmp_path / "walk.mp4")) == 16


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_film_that_was_finished_and_not_yet_renamed_is_kept(tmp_path: Path, suffix: str) -> None:
    with VideoWriter(tmp_path / f"other.{suffix}") as video:
        video.write(torch.rand(20, 3, 32, 32))
    (tmp_path / f"other.{suffix}").rename(tmp_path / f".walk-mirage-1.{suffix}")
    (tmp_path / f"..walk-mirage-1-mirage-2.{suffix}").write_bytes(b"half made")
    assert recover(tmp_path / f"walk.{suffix}") == 20
    assert len(load_video(tmp_path / f"walk.{suffix}")) == 20
    assert [path.name for path in tmp_path.iterdir()] == [f"walk.{suffix}"]
