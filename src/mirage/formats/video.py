"""Video from files and to files, through PyAV. `F`: frames, `H W`: pixels. Frames are [F,3,H,W], sRGB.

    with VideoWriter("walk.mp4", fps=16) as video:
        for chunk in session.follow(path):
            video.write(chunk.frames)          # floats in [0, 1], as many as there are

The film grows beside its target (fragments.py) and takes its name when the block ends. If the block is left by Ctrl-C
or an error after at least one frame, what was done so far is kept: a playable video; on a full disk, the groups of
frames that had room. With no frame, nothing is left. A killed process leaves a film beside the target that plays and
that `recover` gives its name.

Colours: between RGB and yuv420p, libswscale's defaults darken by 1.3 of 255 levels a trip; `SWS` does not. We write
BT.709 in limited range and say so in the stream and in the file. A video that says nothing is read as players do; HDR
and wide primaries become sRGB (hdr.py).
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import av
import numpy as np
import torch
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace
from av.video.stream import VideoStream
from einops import rearrange
from torch import Tensor

from mirage.errors import InputError
from mirage.files import full, replacing
from mirage.formats.fragments import REORDERED, Fragments, finalised
from mirage.formats.hdr import CURVES, is_srgb, to_srgb
from mirage.formats.image import frames_of, to_bytes
from mirage.formats.source import ARRAY_LIMIT, reason, regular_file
from mirage.kinds import checked

Codec = Literal["libx264", "ffv1"]
ACCEPTS = "a video (mp4, mkv, webm, ...)"
DECODERS = {"libx264": "h264", "ffv1": "ffv1"}
PIXELS = {"libx264": "yuv420p", "ffv1": "bgr0"}  # bgr0: RGB as it is, so ffv1 is lossless
SUFFIXES = {"libx264": (".mp4", ".mkv", ".mov"), "ffv1": (".mkv",)}
VIDEO_LIMIT = 4 * ARRAY_LIMIT
UNSPECIFIED = 2  # as colour matrix: the stream does not say
GROUP, LONGEST = 16, 64  # frames: fewer make no group but at the end, and more make several
# libswscale's SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT; accurate rounding alone is worse than none of them.
SWS = 0x4 | 0x40000 | 0x2000


class VideoWriter:
    """Writes [F,3,H,W] chunks in [0, 1] to an .mp4 (libx264, BT.709) or a lossless .mkv (ffv1).

    `crf` is x264's quality, 0 (lossless but for chroma) to 51. The size is that of the first chunk; for libx264 both
    sides must be even. A `write` of 16 frames or more is in the file, and can be played, when it returns; what is
    written in smaller pieces, once 16 have come together. The same writes give the same bytes on one machine.

    `onto`: a film by this class, of the same settings, that the new frames follow; its own are not encoded again. It
    may be `path` itself. `first`: only so many of its frames, up to where a `flush` was or a group ended.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fps: float = 16,
        *,
        codec: Codec = "libx264",
        crf: int = 18,
        onto: str | os.PathLike[str] | None = None,
        first: int | None = None,
    ) -> None:
        self.path, self.frames = Path(path), 0
        if codec not in PIXELS:
            raise InputError(f"unknown codec {codec!r}; accepted: {', '.join(PIXELS)}")
        if self.path.suffix.lower() not in SUFFIXES[codec]:
            raise InputError(f"cannot write {path} with {codec}; accepted suffixes: {', '.join(SUFFIXES[codec])}")
        if not 1e-3 <= fps <= 1000:
            raise InputError(f"got {fps} frames per second; expected 0.001 to 1000")
        if not 0 <= crf <= 51:
            raise InputError(f"got crf {crf}; expected 0 (best) to 51")
        self._codec: Codec = codec
        self._crf, self._fps = crf, Fraction(fps).limit_denominator(1001)
        self._onto = None if onto is None else regular_file(onto, accepts=ACCEPTS, limit=VIDEO_LIMIT)
        self._first = first
        self._size: tuple[int, int] | None = None
        self._waiting: list[np.ndarray] = []  # uint8 [H,W,3], of a group that is not whole
        self._kept = 0  # frames that are in the file

    def __enter__(self) -> Self:
        self._replacing = replacing(self.path, sweep=False)  # an earlier film is for `recover`
        beside = self._replacing.__enter__()
        try:
            self._film = Fragments(beside)
            if self._onto is not None:
                self._begin_with(self._onto)
        except BaseException as error:
            self._replacing.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def write(self, frames: Tensor) -> None:
        """Append [F,3,H,W] in [0, 1] (clamped). Frames that are not finite are a fault of the caller's."""
        if frames.ndim != 4 or frames.shape[1] != 3 or not frames.is_floating_point():
            raise ValueError(f"frames are floating point [F,3,H,W] in [0, 1], got {frames.dtype} {list(frames.shape)}")
        if not torch.isfinite(frames).all():
            raise ValueError("frames hold NaN or infinite values")
        height, width = frames.shape[-2:]
        if self._codec == "libx264" and (height % 2 or width % 2):
            raise InputError(
                f"libx264 video has even sides, got {width} x {height}; expected even ones, or codec ffv1 (.mkv)"
            )
        self._size = self._size or (height, width)
        if self._size != (height, width):
            raise ValueError(f"this video is {self._size[0]} x {self._size[1]}, got frames {[height, width]}")
        for frame in frames:
            self._waiting.append(to_bytes(frame))
            self.frames += 1
            if len(self._waiting) == LONGEST:
                self._keep()
        if len(self._waiting) >= GROUP:
            self._keep()

    @property
    def growing(self) -> Path:
        """Where the film grows until it is whole: a fragmented MP4 that plays up to its last group."""
        return self._film.path

    def flush(self) -> None:
        """What was written so far is in the file when this returns, as a group of its own."""
        self._keep()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lost = error
        try:
            self._keep()
        except (FFmpegError, OSError) as closing:  # a full disk, most often
            lost = lost or closing
        self._film.close()
        if not self._kept:
            lost = lost or ValueError(f"no frame was written to {self.path}")
            self._replacing.__exit__(type(lost), lost, lost.__traceback__)
        else:
            try:
                with replacing(self._film.path) as plain:
                    finalised(self._film.path, plain)
            except (FFmpegError, OSError, InputError) as unfinished:
                if not full(unfinished) and not full(unfinished.__cause__):
                    raise
                # There is no room for the film twice: it keeps its fragments, and plays all the same.
            self._replacing.__exit__(None, None, None)
        if lost is not None and full(lost):
            kept = f"; {self.path} holds the first {self._kept}" if self._kept else ""
            raise InputError(f"cannot write {self.path}: {reason(lost)} after {self.frames} frames{kept}") from lost
        if lost is not None and lost is not error:
            raise lost

    def _keep(self) -> None:
        """The waiting frames, encoded, into the file."""
        if self._waiting:
            self._film.append(self._encode)
            self._kept += len(self._waiting)
            self._waiting.clear()

    def _encode(self, container: OutputContainer) -> None:
        stream = self._stream(container)
        context = stream.codec_context
        coded = self._kept
        for number, frame in enumerate([*self._waiting, None], start=self._kept):
            picture = None if frame is None else self._picture(frame, number)
            for packet in context.encode(picture):
                # A group of a few frames tells no encoder by how many it reorders: counted, it is the same in all.
                packet.dts, packet.time_base = coded - self._reordered, 1 / self._fps
                coded += 1
                packet.stream = stream
                container.mux(packet)

    def _picture(self, frame: np.ndarray, number: int) -> VideoFrame:
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        if self._codec == "libx264":
            picture = picture.reformat(
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
                interpolation=SWS,
            )
        picture.pts, picture.time_base = number, 1 / self._fps
        return picture

    def _stream(self, container: OutputContainer) -> VideoStream:
        assert self._size is not None
        stream = container.add_stream(self._codec, rate=self._fps)
        assert isinstance(stream, VideoStream)
        (stream.height, stream.width), stream.pix_fmt = self._size, PIXELS[self._codec]
        context = stream.codec_context
        context.time_base = 1 / self._fps
        context.thread_count = 4  # fixed, because x264's output depends on it
        if self._codec == "libx264":
            # x264's macroblock tree reads memory it never wrote, at sizes such as 96 x 64: the same frames then give
            # other bytes from run to run. Without it, what the memory held before does not matter.
            context.options = {"crf": str(self._crf), "preset": "medium", "x264-params": "mbtree=0"}
            context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
            context.color_primaries, context.color_trc = 1, 1  # BT.709, said so that no player guesses BT.601
        return stream

    def _begin_with(self, path: Path) -> None:
        """The packets of an earlier film."""
        try:
            with av.open(str(path)) as film:
                its = film.streams.video[0]
                packets = [packet for packet in film.demux(its) if packet.size]
                rate = _rate(packets)
                if its.codec_context.name != DECODERS[self._codec] or (rate and abs(rate / self._fps - 1) > 0.02):
                    raise InputError(
                        f"{path} is {its.codec_context.name} at {rate or 0:.4g} frames per second; expected a "
                        f"film of the same settings to go on from ({self._codec}, {self._fps})"
                    )
                self._size = its.height, its.width
                if self._first is not None:
                    packets, after = packets[: self._first], packets[self._first :]
                    if len(packets) < self._first or (after and not after[0].is_keyframe):
                        raise InputError(f"{path} cannot be continued after its first {self._first} frames")
                shown = sorted(packet.pts or 0 for packet in packets)

                def copy(container: OutputContainer) -> None:
                    stream = container.add_stream_from_template(its)
                    for number, packet in enumerate(packets):
                        packet.pts, packet.dts = shown.index(packet.pts or 0), number - self._reordered
                        packet.time_base, packet.stream = 1 / self._fps, stream
                        packet.duration = 1  # it was in ticks of the film that is read
                        container.mux(packet)

                self._film.append(copy)
        except (FFmpegError, IndexError) as error:
            raise InputError(f"{path} is not a whole video ({reason(error)}); expected {ACCEPTS}") from error
        self.frames = self._kept = len(packets)

    @property
    def _reordered(self) -> int:
        return REORDERED if self._codec == "libx264" else 0


@dataclass(frozen=True, eq=False)
class Frame:
    """A decoded frame; `seconds`: when it is shown, by its time stamp, from the first one on."""

    seconds: float
    decoded: VideoFrame

    @property
    def curve(self) -> str | None:
        """ "PQ" or "HLG" of HDR, which `rgb` maps to sRGB (hdr.py)."""
        return CURVES.get(self.decoded.color_trc)

    def rgb(self) -> np.ndarray:
        """uint8 [H,W,3] in sRGB, upright: turned and mirrored by the display matrix that phones write."""
        frame, curve, primaries = self.decoded, self.decoded.color_trc, self.decoded.color_primaries
        plain = is_srgb(curve, primaries)
        format = "rgb24" if plain else "rgb48le"
        picture = frame.reformat(format=format, src_colorspace=_matrix(frame), interpolation=SWS).to_ndarray()
        picture = picture if plain else to_srgb(picture, curve=curve, primaries=primaries)
        return np.ascontiguousarray(_upright(frame)(picture))


@checked
def save_video(path: str | os.PathLike[str], frames: Tensor | np.ndarray, fps: float = 16, *, crf: int = 18) -> None:
    """Write frames to an .mp4, or losslessly to an .mkv: [F,3,H,W] or [F,H,W,3], uint8 or floats in [0, 1]."""
    video, lossless = frames_of(frames), Path(path).suffix.lower() == ".mkv"
    with VideoWriter(path, fps, codec="ffv1" if lossless else "libx264", crf=crf) as film:
        film.write(video)


@checked
def load_video(path: str | os.PathLike[str], *, fps: float | None = None, max_bytes: int = VIDEO_LIMIT) -> Tensor:
    """The frames of the first video stream, upright: uint8 [F,3,H,W]. Refuses more than `max_bytes` of them.

    All that decode, in order; or, with `fps`, those that are shown at the times 0, 1/fps, 2/fps, ... by their time
    stamps: a clip of a variable rate (phones) as one of a constant rate.
    """
    frames, held = [], 0
    for frame in video_frames(path) if fps is None else at_rate(video_frames(path), fps):
        frames.append(frame.rgb())
        held += frames[-1].nbytes
        if held > max_bytes or frames[-1].shape != frames[0].shape:
            raise InputError(
                f"{path} has more than {max_bytes >> 20} MiB of decoded frames, or frames of "
                f"several sizes; at most {max_bytes >> 20} MiB of one size are accepted"
            )
    if not frames:
        raise InputError(f"{path} has no frames; expected {ACCEPTS}")
    return rearrange(torch.from_numpy(np.stack(frames)), "f h w c -> f c h w").contiguous()


def video_frames(path: str | os.PathLike[str]) -> Iterator[Frame]:
    """The frames of the first video stream, one after the other as they are decoded; as many as decode, whatever the
    header says, and without those that an edit list leaves out."""
    regular_file(path, accepts=ACCEPTS, limit=VIDEO_LIMIT)
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"{path} has no video stream; expected {ACCEPTS}")
            first = None
            for frame in container.decode(container.streams.video[0]):
                seconds = frame.time if frame.time is not None else 0.0
                first = seconds if first is None else first
                yield Frame(seconds - first, frame)
    except (FFmpegError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not a whole video ({reason(error)}); expected {ACCEPTS}") from error


def _rate(packets: list[Packet]) -> float | None:
    """Frames per second by the packets' own time stamps, None of one frame. What the container says is a guess from
    its length, which a film that was killed while it was written does not know."""
    times = sorted(float(packet.pts * packet.time_base) for packet in packets if packet.pts is not None)
    steps = [b - a for a, b in pairwise(times) if b > a]
    return 1 / min(steps) if steps else None


def at_rate(frames: Iterator[Frame], fps: float) -> Iterator[Frame]:
    """Of frames that come at any times, those that are shown at 0, 1/fps, 2/fps, ...; some twice, some never.

    The last frame is shown as long as the one before it.
    """
    if not 0 < fps <= 1000:
        raise InputError(f"got {fps} frames per second; expected more than 0 and at most 1000")
    number, shown, lasts = 0, None, 1 / fps
    for frame in frames:
        if shown is not None:
            lasts = frame.seconds - shown.seconds
            while number / fps < frame.seconds - 1e-6:
                yield shown
                number += 1
        shown = frame
    while shown is not None and number / fps < shown.seconds + lasts - 1e-6:
        yield shown
        number += 1


def _matrix(frame: VideoFrame) -> int | None:
    """The colour matrix, where the stream does not say it: BT.709 for large frames and BT.601 for small, as players
    have it (libswscale itself would take BT.601 for all), BT.2020 for its own primaries."""
    if frame.colorspace != UNSPECIFIED or frame.format.is_rgb:
        return None
    if frame.color_primaries == ColorPrimaries.BT2020:
        return Colorspace.BT2020
    return Colorspace.ITU709 if frame.width >= 1280 or frame.height > 576 else Colorspace.ITU601


def _upright(frame: VideoFrame) -> Callable[[np.ndarray], np.ndarray]:
    """What turns a decoded array [H,W,3] as its display matrix says: quarter turns and mirrors, as phones have."""
    found = frame.side_data.get("DISPLAYMATRIX")
    if found is None:
        return lambda picture: picture
    a, b, _, c, d = np.frombuffer(bytes(found), dtype="<i4")[:5].tolist()  # shown x = a x + c y, shown y = b x + d y
    turned = abs(b) > abs(a)
    mirror_x, mirror_y = (c < 0, b < 0) if turned else (a < 0, d < 0)

    def upright(picture: np.ndarray) -> np.ndarray:
        picture = picture.swapaxes(0, 1) if turned else picture
        picture = picture[:, ::-1] if mirror_x else picture
        return picture[::-1] if mirror_y else picture

    return upright
