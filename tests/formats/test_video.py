"""Video: what is written is what is read; an interrupted run leaves a playable film, a failed one leaves nothing."""

import ctypes
import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import av
import pytest
import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.formats.video import VideoWriter, load_video


def film(frames: int, height: int = 32, width: int = 48, seed: int = 0) -> Tensor:
    """Smooth colours that change from frame to frame."""
    coarse = torch.rand(frames, 3, 2, 3, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=True)


def test_ffv1_is_lossless_at_any_size(tmp_path: Path) -> None:
    frames = torch.rand(5, 3, 17, 23)
    with VideoWriter(tmp_path / "a.mkv", 16, codec="ffv1") as video:
        video.write(frames[:2])
        video.write(frames[2:])
    assert (load_video(tmp_path / "a.mkv") == (frames * 255).round().to(torch.uint8)).all()


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_h264_keeps_frames_and_colours(tmp_path: Path, suffix: str) -> None:
    frames = film(9)
    with VideoWriter(tmp_path / f"a.{suffix}", 12.5, crf=10) as video:
        for frame in frames:
            video.write(frame[None])
    read = load_video(tmp_path / f"a.{suffix}")
    assert read.shape == frames.shape
    assert (read / 255 - frames).abs().mean() < 0.01
    # A patch of one colour has that colour: the matrix that encoded it is the one written in the file.
    with VideoWriter(tmp_path / f"b.{suffix}", 16) as video:
        video.write(torch.tensor([0.9, 0.1, 0.3])[None, :, None, None].expand(2, 3, 32, 32))
    assert (load_video(tmp_path / f"b.{suffix}")[0, :, 8, 8] - torch.tensor([230, 26, 76])).abs().max() <= 2
    with av.open(str(tmp_path / f"a.{suffix}")) as container:
        assert abs(float(container.streams.video[0].average_rate or 0) - 12.5) < 0.01
        assert container.streams.video[0].codec_context.colorspace == 1  # BT.709


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc's mallopt")
@pytest.mark.parametrize("size", [(64, 96), (130, 230)])
def test_the_bytes_do_not_depend_on_what_the_memory_held_before(tmp_path: Path, size: tuple[int, int]) -> None:
    """Fresh memory is filled with another value each time. x264's macroblock tree fails this at both sizes."""
    noise = torch.rand(9, 3, 12, 16, generator=torch.Generator().manual_seed(1))
    frames = torch.nn.functional.interpolate(noise, size, mode="nearest")
    mallopt, fill = ctypes.CDLL(None).mallopt, -6  # M_PERTURB
    files = set()
    for value in (0, 60, 128, 255):
        mallopt(fill, value)
        try:
            with VideoWriter(tmp_path / "a.mp4", 8) as video:
                video.write(frames)
        finally:
            mallopt(fill, 0)
        files.add((tmp_path / "a.mp4").read_bytes())
    assert len(files) == 1


def test_same_frames_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        with VideoWriter(tmp_path / name, 16) as video:
            video.write(film(8))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, InputError])
def test_an_interrupted_film_is_playable(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), VideoWriter(tmp_path / "a.mp4", 16) as video:  # noqa: PT012
        video.write(film(5))
        raise error("stop")
    assert load_video(tmp_path / "a.mp4").shape[0] == 5
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_ctrl_c_in_a_real_process(tmp_path: Path) -> None:
    script = (
        "import sys, torch, time\nfrom mirage.formats.video import VideoWriter\n"
        "with VideoWriter(sys.argv[1], 16) as video:\n"
        "    video.write(torch.rand(5, 3, 32, 32)); print('go', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "a.mp4")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"go\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) != 0
    process.stdout.close()
    assert load_video(tmp_path / "a.mp4").shape == (5, 3, 32, 32)
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_nothing_is_left_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"an older film")
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "a.mp4", 16):
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="no frame"), VideoWriter(tmp_path / "a.mp4", 16):
        pass
    with pytest.raises(InputError, match="even sides, got 33 x 32"), VideoWriter(tmp_path / "a.mp4", 16) as video:
        video.write(film(1, 32, 33))
    assert (tmp_path / "a.mp4").read_bytes() == b"an older film"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """The system's limit on the size of a file stands for the disk: writes fail with "file too large" in mid-film."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        with pytest.raises(InputError, match="cannot write"), VideoWriter(tmp_path / "a.mkv", codec="ffv1") as video:  # noqa: PT012
            for _ in range(20):
                video.write(torch.rand(4, 3, 64, 64))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())


def test_somebody_elses_full_disk_is_one_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No space"), VideoWriter(tmp_path / "a.mp4") as video:  # noqa: PT012
        video.write(film(3))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.gif", {}),
        ("a.mp4", {"codec": "ffv1"}),
        ("a.mp4", {"codec": "x"}),
        ("a.mp4", {"fps": 0}),
        ("a.mp4", {"fps": float("nan")}),
        ("a.mp4", {"crf": 99}),
        ("no/a.mp4", {}),
    ],
)
def test_wrong_requests(tmp_path: Path, name: str, options: dict) -> None:
    with pytest.raises(InputError), VideoWriter(tmp_path / name, **options):
        pass
    assert not list(tmp_path.iterdir())


def test_frames_that_are_none(tmp_path: Path) -> None:
    for frames in (
        torch.zeros(3, 32, 32),
        torch.zeros(1, 4, 32, 32),
        torch.zeros(1, 3, 32, 32, dtype=torch.uint8),
        torch.full((1, 3, 32, 32), float("nan")),
    ):
        with pytest.raises(ValueError, match="frames"), VideoWriter(tmp_path / "a.mp4") as video:
            video.write(frames)
    with pytest.raises(ValueError, match="got frames"), VideoWriter(tmp_path / "b.mp4") as video:  # noqa: PT012
        video.write(film(1))
        video.write(film(1, 64, 64))


def test_wrong_files(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a film " * 100)
    with VideoWriter(tmp_path / "whole.mp4") as video:
        video.write(film(20))
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "whole.mp4").read_bytes()[:300])
    for name, words in [("none.mp4", "no file"), ("text.mp4", "not a whole video"), ("cut.mp4", "video")]:
        with pytest.raises(InputError, match=words):
            load_video(tmp_path / name)
    with pytest.raises(InputError, match="at most 0 MiB"):
        load_video(tmp_path / "whole.mp4", max_bytes=10_000)


def test_real_clips(data_dir: Path) -> None:
    video = load_video(data_dir / "re10k_poses/0bf152ef84195293.mp4")
    assert video.shape == (16, 3, 256, 384)
    assert video.dtype == torch.uint8
    assert video.float().std() > 20
