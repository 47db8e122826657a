"""Video from files and to files, through PyAV. `F`: frames, `H W`: pixels. Frames are [F,3,H,W], sRGB.

    with VideoWriter("walk.mp4", fps=16) as video:
        for chunk in session.follow(path):
            video.write(chunk.frames)          # floats in [0, 1], as many as there are

The file grows beside its target and takes its name when the block ends. If the block is left by Ctrl-C or an error
after at least one frame, what was done so far is closed properly and kept: a playable video. With no frame, or on a
full disk, nothing is left.
"""

import errno
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeGuard

import av
import numpy as np
import torch
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from einops import rearrange
from torch import Tensor

from mirage.errors import InputError
from mirage.files import replacing
from mirage.formats.image import to_bytes
from mirage.formats.source import ARRAY_LIMIT, reason, regular_file

Codec = Literal["libx264", "ffv1"]
ACCEPTS = "a video (mp4, mkv, webm, ...)"
PIXELS = {"libx264": "yuv420p", "ffv1": "bgr0"}  # bgr0: RGB as it is, so ffv1 is lossless
SUFFIXES = {"libx264": (".mp4", ".mkv", ".mov"), "ffv1": (".mkv",)}
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
VIDEO_LIMIT = 4 * ARRAY_LIMIT


class VideoWriter:
    """Writes [F,3,H,W] chunks in [0, 1] to an .mp4 (libx264, BT.709) or a lossless .mkv (ffv1).

    `crf` is x264's quality, 0 (lossless but for chroma) to 51. The size is that of the first chunk; for libx264 both
    sides must be even. The same frames give the same bytes on one machine.
    """

    def __init__(
        self, path: str | os.PathLike[str], fps: float = 16, *, codec: Codec = "libx264", crf: int = 18
    ) -> None:
        self.path, self.frames = Path(path), 0
        if codec not in PIXELS:
            raise InputError(f"unknown codec {codec!r}; accepted: {', '.join(PIXELS)}")
        if self.path.suffix.lower() not in SUFFIXES[codec]:
            raise InputError(f"cannot write {path} with {codec}; accepted suffixes: {', '.join(SUFFIXES[codec])}")
        if not 0 < fps <= 1000:
            raise InputError(f"got {fps} frames per second; expected more than 0 and at most 1000")
        if not 0 <= crf <= 51:
            raise InputError(f"got crf {crf}; expected 0 (best) to 51")
        self._codec: Codec = codec
        self._crf, self._fps = crf, Fraction(fps).limit_denominator(1001)
        self._stream: VideoStream | None = None

    def __enter__(self) -> Self:
        self._replacing = replacing(self.path)
        self._beside = self._replacing.__enter__()
        try:
            self._container = av.open(str(self._beside), "w", options=self._container_options())
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
        stream = self._stream or self._open_stream(*frames.shape[-2:])
        if frames.shape[-2:] != (stream.height, stream.width):
            raise ValueError(f"this video is {stream.height} x {stream.width}, got frames {list(frames.shape[-2:])}")
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(to_bytes(frame), format="rgb24")
            if self._codec == "libx264":
                picture = picture.reformat(
                    format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
                )
            picture.pts, picture.time_base = self.frames, 1 / self._fps
            self._container.mux(stream.encode(picture))
            self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        nothing = None if self.frames else error or ValueError(f"no frame was written to {self.path}")
        lost = error if _disk_full(error) else nothing  # why nothing can be kept
        try:
            if self._stream is not None and lost is None:
                self._container.mux(self._stream.encode(None))
            self._container.close()
        except (FFmpegError, OSError) as closing:  # a full disk often shows only here
            lost = lost or closing
        self._replacing.__exit__(type(lost) if lost else None, lost, lost.__traceback__ if lost else None)
        if _disk_full(lost):
            raise InputError(f"cannot write {self.path}: {reason(lost)} after {self.frames} frames") from lost
        if lost is not None and lost is not error:
            raise lost

    def _open_stream(self, height: int, width: int) -> VideoStream:
        if self._codec == "libx264" and (height % 2 or width % 2):
            raise InputError(
                f"libx264 video has even sides, got {width} x {height}; expected even ones, or codec ffv1 (.mkv)"
            )
        stream = self._container.add_stream(self._codec, rate=self._fps)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, stream.pix_fmt = height, width, PIXELS[self._codec]
        context = stream.codec_context
        context.time_base = 1 / self._fps
        context.thread_count = 4  # fixed, because x264's output depends on it
        if self._codec == "libx264":
            # x264's macroblock tree reads memory it never wrote, at sizes such as 96 x 64: the same frames then give
            # other bytes from run to run. Without it, what the memory held before does not matter.
            context.options = {"crf": str(self._crf), "preset": "medium", "x264-params": "mbtree=0"}
            context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
            context.color_primaries, context.color_trc = 1, 1  # BT.709, said so that no player guesses BT.601
        self._stream = stream
        return stream

    def _container_options(self) -> dict[str, str]:
        streamable = self.path.suffix.lower() in (".mp4", ".mov")
        return {"fflags": "+bitexact", **({"movflags": "+faststart"} if streamable else {})}


def load_video(path: str | os.PathLike[str], *, max_bytes: int = VIDEO_LIMIT) -> Tensor:
    """All frames of the first video stream: uint8 [F,3,H,W]. Refuses more than `max_bytes` of decoded frames."""
    frames, held = [], 0
    for frame in video_frames(path):
        frames.append(frame.to_ndarray(format="rgb24"))
        held += frames[-1].nbytes
        if held > max_bytes or frames[-1].shape != frames[0].shape:
            raise InputError(
                f"{path} has more than {max_bytes >> 20} MiB of decoded frames, or frames of "
                f"several sizes; at most {max_bytes >> 20} MiB of one size are accepted"
            )
    if not frames:
        raise InputError(f"{path} has no frames; expected {ACCEPTS}")
    return rearrange(torch.from_numpy(np.stack(frames)), "f h w c -> f c h w").contiguous()


def video_frames(path: str | os.PathLike[str]) -> Iterator[VideoFrame]:
    """The frames of the first video stream, one after the other as they are decoded."""
    regular_file(path, accepts=ACCEPTS, limit=VIDEO_LIMIT)
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"{path} has no video stream; expected {ACCEPTS}")
            yield from container.decode(container.streams.video[0])
    except (FFmpegError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not a whole video ({reason(error)}); expected {ACCEPTS}") from error


def _disk_full(error: BaseException | None) -> TypeGuard[OSError]:
    return isinstance(error, OSError | FFmpegError) and error.errno in DISK_FULL
