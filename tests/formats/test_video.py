"""Video: what is written is what is read; an interrupted run leaves a playable film, a failed one leaves nothing."""

import ctypes
import errno
import os
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import ColorRange
from hypothesis import given, settings
from hypothesis import strategies as st
from test_hdr import graded
from torch import Tensor

from mirage.errors import InputError
from mirage.formats.footage import find_footage
from mirage.formats.image import load_image
from mirage.formats.video import SWS, Frame, VideoWriter, at_rate, load_video, video_frames


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


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """The system's limit on the size of a file stands for the disk: writes fail with "file too large" in mid-film."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    with (  # noqa: PT012
        room_for(60_000),
        pytest.raises(InputError, match="cannot write"),
        VideoWriter(tmp_path / "a.mkv", codec="ffv1") as video,
    ):
        for _ in range(20):
            video.write(torch.rand(4, 3, 64, 64))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_keeps_the_groups_that_had_room(tmp_path: Path) -> None:
    """Room for some chunks and not for all, nor for the film twice: what is kept plays, and the line says how much."""
    with (  # noqa: PT012
        room_for(600_000),
        pytest.raises(InputError, match="first 32"),
        VideoWriter(tmp_path / "a.mkv", codec="ffv1") as film,
    ):
        for _ in range(20):
            film.write(torch.rand(16, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert len(load_video(tmp_path / "a.mkv")) == 32
    assert [file.name for file in tmp_path.iterdir()] == ["a.mkv"]


def test_somebody_elses_full_disk_is_one_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No space"), VideoWriter(tmp_path / "a.mp4") as video:  # noqa: PT012
        video.write(film(3))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert len(load_video(tmp_path / "a.mp4")) == 3


def test_ten_trips_do_not_darken(tmp_path: Path) -> None:
    """libswscale's default conversion loses 1.3 levels a trip, and with accurate rounding alone 2."""
    colours = torch.randint(16, 240, (64, 3), generator=torch.Generator().manual_seed(3))
    colours[0] = torch.tensor([200, 120, 60])
    first = (colours / 255)[:, :, None, None].expand(-1, -1, 32, 32)  # a frame each
    trip = first
    for _ in range(10):
        with VideoWriter(tmp_path / "a.mp4", crf=1) as video:
            video.write(trip)
        trip = load_video(tmp_path / "a.mp4") / 255
    change = (trip - first).mean((2, 3)) * 255
    assert (change.mean(0).abs() < 0.2).all()
    assert change.abs().max() < 2
    assert change[0].abs().max() <= 1.01


def test_a_picture_survives_ten_trips(data_dir: Path, tmp_path: Path) -> None:
    picture = load_image(data_dir / "images/vmem_living_room.jpg")[None, :, 200:456, 300:684]
    trip = picture
    for _ in range(10):
        with VideoWriter(tmp_path / "a.mp4", crf=1) as video:
            video.write(trip)
        trip = load_video(tmp_path / "a.mp4") / 255
    assert ((trip - picture).mean((0, 2, 3)).abs() * 255 < 0.2).all()
    assert (trip - picture).square().mean().log10() * -10 > 33


def mux(path: Path, stamps: list[int], frames: Tensor, *, rate: int = 30, tagged: bool = True) -> None:
    """A film of these time stamps (in frames of `rate`), not by our writer; untagged: it says nothing of colours."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width, stream.pix_fmt = frames.shape[-2], frames.shape[-1], "yuv420p"
        stream.codec_context.time_base = Fraction(1, rate)
        stream.codec_context.options = {"crf": "4"}
        matrix = "itu709" if tagged else "itu601"
        if tagged:
            stream.codec_context.colorspace = 1
        for stamp, frame in zip(stamps, frames, strict=True):
            picture = av.VideoFrame.from_ndarray((frame * 255).byte().permute(1, 2, 0).numpy(), format="rgb24")
            picture = picture.reformat(format="yuv420p", dst_colorspace=matrix, dst_color_range=1, interpolation=SWS)
            picture.colorspace = 1 if tagged else 2
            picture.pts, picture.time_base = stamp, Fraction(1, rate)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def greys(count: int, size: tuple[int, int] = (32, 48)) -> Tensor:
    """Frame k is an even grey of 20 + 8 k."""
    return ((20 + 8 * torch.arange(count)) / 255)[:, None, None, None].expand(count, 3, *size)


def shown(video: Tensor) -> list[int]:
    return [round((float(frame.float().mean()) - 20) / 8) for frame in video]


def test_a_variable_rate_goes_by_time_stamps(tmp_path: Path) -> None:
    stamps = [0, 1, 2, 6, 7, 12, 18]  # thirtieths of a second
    mux(tmp_path / "phone.mp4", stamps, greys(7))
    assert shown(load_video(tmp_path / "phone.mp4")) == list(range(7))  # all that there are
    at_10 = load_video(tmp_path / "phone.mp4", fps=10)  # at 0, 3, 6, 9, ... thirtieths; the last lasts 6
    assert shown(at_10) == [0, 2, 3, 4, 5, 5, 6, 6]
    assert shown(load_video(tmp_path / "phone.mp4", fps=30))[:8] == [0, 1, 2, 2, 2, 2, 3, 4]
    seconds = [frame.seconds for frame in video_frames(tmp_path / "phone.mp4")]
    assert seconds == pytest.approx([stamp / 30 for stamp in stamps], abs=1e-3)
    with pytest.raises(InputError, match="frames per second"):
        load_video(tmp_path / "phone.mp4", fps=0)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.integers(1, 9), min_size=1, max_size=12), fps=st.sampled_from([5, 10, 15, 24, 30, 60]))
def test_what_is_shown_at_a_time_is_the_last_frame_before_it(steps: list[int], fps: int) -> None:
    stamps = [sum(steps[:k]) / 30 for k in range(len(steps) + 1)]
    frames = [Frame(stamp, None) for stamp in stamps]  # pyright: ignore[reportArgumentType]
    got = [frame.seconds for frame in at_rate(iter(frames), fps)]
    assert len(got) == pytest.approx((stamps[-1] + steps[-1] / 30) * fps, abs=1.01)
    for number, stamp in enumerate(got):
        assert stamp == max(s for s in stamps if s <= number / fps + 2e-6)


def test_a_clip_cut_without_encoding_has_the_frames_that_decode(tmp_path: Path) -> None:
    """As `ffmpeg -ss ... -c copy` cuts: from the key frame before, which an edit list then leaves out."""
    mux(tmp_path / "whole.mp4", list(range(20)), greys(20))
    with av.open(str(tmp_path / "whole.mp4")) as whole, av.open(str(tmp_path / "cut.mp4"), "w") as cut:
        stream = cut.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(whole.streams.video[0]):
            if packet.size:
                assert packet.pts is not None
                assert packet.dts is not None
                early = round(5 / 30 / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - early, packet.dts - early, stream
                cut.mux(packet)
    with av.open(str(tmp_path / "cut.mp4")) as container:
        assert container.streams.video[0].frames == 20  # so its header says
    assert shown(load_video(tmp_path / "cut.mp4")) == list(range(5, 20))
    (footage,) = find_footage(tmp_path, cameras=tmp_path).keys() - {"whole"}
    assert find_footage(tmp_path)[footage].count() == 15
    assert shown(find_footage(tmp_path)[footage].frames([0, 14])) == [5, 19]


MATRICES = {  # of a display matrix: a b c d, and what it does to an array
    0: ((1, 0, 0, 1), lambda x: x),
    90: ((0, 1, -1, 0), lambda x: torch.rot90(x, -1, (-2, -1))),
    180: ((-1, 0, 0, -1), lambda x: torch.rot90(x, 2, (-2, -1))),
    270: ((0, -1, 1, 0), lambda x: torch.rot90(x, 1, (-2, -1))),
    "mirror": ((-1, 0, 0, 1), lambda x: x.flip(-1)),
    "flip": ((1, 0, 0, -1), lambda x: x.flip(-2)),
    "transpose": ((0, 1, 1, 0), lambda x: x.transpose(-2, -1)),
    "transverse": ((0, -1, -1, 0), lambda x: x.transpose(-2, -1).flip((-2, -1))),
}


@pytest.mark.parametrize("turn", MATRICES)
def test_phone_clips_are_turned_by_their_display_matrix(tmp_path: Path, turn: int | str) -> None:
    (a, b, c, d), seen = MATRICES[turn]
    with VideoWriter(tmp_path / "a.mp4", crf=4) as video:
        video.write(film(4))
    lying, content = load_video(tmp_path / "a.mp4"), bytearray((tmp_path / "a.mp4").read_bytes())
    at = content.index(b"tkhd") + 4 + 40  # version and flags, times, id, duration, layer, volume; then the matrix
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 2**30)
    assert content[at : at + 36] == identity
    content[at : at + 36] = struct.pack(">9i", *(65536 * x for x in (a, b, 0, c, d, 0)), 0, 0, 2**30)
    (tmp_path / "turned.mp4").write_bytes(content)
    assert torch.equal(load_video(tmp_path / "turned.mp4"), seen(lying))
    with av.open(str(tmp_path / "turned.mp4")) as container:
        frame = next(container.decode(video=0))
    assert isinstance(turn, str) or frame.rotation % 360 == -turn % 360  # FFmpeg's own word for the same


def test_a_stream_that_says_no_matrix_is_read_as_players_do(tmp_path: Path) -> None:
    red = torch.tensor([0.8, 0.2, 0.1])[None, :, None, None]
    mux(tmp_path / "small.mp4", [0], red.expand(1, 3, 64, 64), tagged=False)
    small = load_video(tmp_path / "small.mp4")
    assert (small[0, :, 8, 8].float() - red[0, :, 0, 0] * 255).abs().max() < 3  # BT.601, as it was made
    mux(tmp_path / "large.mp4", [0], red.expand(1, 3, 600, 64), tagged=False)
    large = load_video(tmp_path / "large.mp4")
    assert (large[0, :, 8, 8].float() - small[0, :, 8, 8].float()).abs().max() > 8  # BT.709, from 577 lines on


def test_a_film_goes_on_from_an_earlier_one_without_loss(tmp_path: Path) -> None:
    frames = film(97)
    with VideoWriter(tmp_path / "whole.mp4") as video:
        for part in frames.split([33, 32, 32]):
            video.write(part)
    with VideoWriter(tmp_path / "a.mp4") as video:
        video.write(frames[:33])
    with VideoWriter(tmp_path / "a.mp4", onto=tmp_path / "a.mp4") as video:
        assert video.frames == 33
        for part in frames[33:].split([32, 32]):
            video.write(part)
    assert torch.equal(load_video(tmp_path / "a.mp4"), load_video(tmp_path / "whole.mp4"))
    assert [frame.seconds for frame in video_frames(tmp_path / "a.mp4")] == [number / 16 for number in range(97)]
    with pytest.raises(InputError, match="same settings"), VideoWriter(tmp_path / "b.mp4", 12, onto=tmp_path / "a.mp4"):
        pass
    mux(tmp_path / "other.mp4", list(range(4)), frames[:4], rate=16, tagged=False)
    with (
        pytest.raises(InputError, match="otherwise"),
        VideoWriter(tmp_path / "b.mp4", onto=tmp_path / "other.mp4") as it,
    ):
        it.write(frames[:20])
    assert not (tmp_path / "b.mp4").exists()


def test_the_frame_numbers_are_the_time_stamps(tmp_path: Path) -> None:
    """Whatever the sizes of the writes, and of what is left at the end."""
    for count, pieces in ((17, [16, 1]), (35, [33, 2]), (49, [1] * 49), (150, [150]), (3, [3])):
        with VideoWriter(tmp_path / "a.mp4", 24) as video:
            for part in film(count).split(pieces):
                video.write(part)
        with av.open(str(tmp_path / "a.mp4")) as container:
            its = container.streams.video[0]
            assert (its.frames, its.average_rate) == (count, 24)
            stamps = []
            for frame in container.decode(its):
                assert frame.pts is not None
                assert frame.time_base is not None
                stamps.append(frame.pts * frame.time_base * 24)
        assert stamps == list(range(count))


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


@pytest.mark.parametrize(
    ("curve", "primaries", "told"),
    [(16, 9, 9), (16, 9, 2), (18, 9, 9), (18, 9, 2), (1, 9, 9), (1, 9, 2), (1, 12, 9)],
    ids=str,
)
def test_hdr_and_wide_primaries_become_srgb(tmp_path: Path, curve: int, primaries: int, told: int) -> None:
    """told: 2 where the stream does not say its matrix, which BT.2020's primaries then do."""
    matrix = 9 if primaries == 9 else 1
    colours = torch.tensor([[0.6, 0.3, 0.2], [0.2, 0.5, 0.3], [0.5, 0.5, 0.5], [0.02, 0.02, 0.1]])
    with av.open(str(tmp_path / "clip.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=16)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p10le"
        its = stream.codec_context
        its.color_trc, its.color_primaries, its.colorspace = curve, primaries, matrix if told == 9 else 2
        its.color_range = ColorRange.MPEG
        for colour in colours:
            levels = np.broadcast_to(graded(colour.numpy(), curve, primaries) * 65535, (32, 48, 3)).round()
            picture = av.VideoFrame.from_ndarray(levels.astype(np.uint16), format="rgb48le")
            picture = picture.reformat(format="yuv420p10le", dst_colorspace=matrix, dst_color_range=ColorRange.MPEG)
            picture.color_trc, picture.color_primaries = curve, primaries
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    read = load_video(tmp_path / "clip.mkv")[:, :, 8, 8] / 255
    assert (read - colours).abs().max() < 0.012
    assert next(video_frames(tmp_path / "clip.mkv")).curve == {16: "PQ", 18: "HLG"}.get(curve)


def test_a_film_that_is_gone_on_with_again_and_again_lasts_as_long_as_its_frames(tmp_path: Path) -> None:
    """Each time the last frame's duration was taken for one of the new time base: after five times no film took it."""
    frames = film(64)
    path = tmp_path / "a.mp4"
    with VideoWriter(path) as video:
        video.write(frames[:8])
    for first in range(8, 64, 8):
        with VideoWriter(path, onto=path, first=first) as video:
            video.write(frames[first : first + 8])
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert stream.duration is not None
            assert stream.time_base is not None
            assert float(stream.duration * stream.time_base) == pytest.approx((first + 8) / 16)
    assert len(load_video(path)) == 64
