"""What one step of a session gives: new latents, and everything that led to them. Pixels come when asked for.

`F` new video frames, `T` new latent frames, `C` latent channels, `h w` latent grid, `H W` pixels.
"""

import math
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mirage.depth.align import Alignment
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.kinds import checked
from mirage.memory import Readout
from mirage.models.codec import StreamDecoder
from mirage.models.world import WorldModel
from mirage.show import views as show


@dataclass(frozen=True, eq=False)
class Chunk:
    """The new part of a walk: the first chunk of a session begins with the given image, later ones do not repeat it.

    latents       [T,C,h,w], normalised
    camera        [F] of the new video frames; `latent_camera` [T] of the new latents
    readout       what the memory knew of the new views before they were made, [T,...]
    depth         of the new latents, on their grid, after alignment; `alignment` says how it was fitted
    references    which earlier latent frames were shown to the denoiser
    points_added  to the memory by this chunk; memory_points, memory_bytes: what it holds now
    timings       seconds by stage: read, condition, draft, denoise, depth, static, write, and decode once frames were
                  asked for
    """

    index: int
    latents: Tensor
    camera: Camera
    latent_camera: Camera
    readout: Readout
    depth: DepthMap
    alignment: Alignment | None
    references: list[int]
    points_added: int
    memory_points: int
    memory_bytes: int
    timings: dict[str, float]
    tape: "Tape" = field(repr=False)

    @property
    def frames(self) -> Tensor:
        """[F,3,H,W] in [0, 1]; decoded at the first asking, as one stream with the chunks before, so without a seam."""
        started = time.perf_counter()
        frames = self.tape.frames()
        if frames.is_cuda:
            torch.cuda.current_stream(frames.device).synchronize()  # of this thread: others may work on the next chunk
        self.timings.setdefault("decode", time.perf_counter() - started)
        return frames

    @checked
    def decode(self, shown: Callable[[Tensor], None]) -> Tensor:
        """`frames`, and each latent's of them [k,3,H,W] to `shown` as soon as it is decoded; what that raises ends it,
        and the next asking begins anew."""
        started = time.perf_counter()
        frames = self.tape.frames(shown)
        self.timings.setdefault("decode", time.perf_counter() - started)
        return frames

    def video(self) -> np.ndarray:
        """The frames as players and writers take them: [F,H,W,3] uint8, on the CPU."""
        return (self.frames.detach().cpu() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()

    def __repr__(self) -> str:
        return (
            f"Chunk({self.index}: {len(self.camera)} frames, latents {list(self.latents.shape)}, "
            f"{float(self.readout.coverage.mean()):.0%} was known, {self.points_added:,} of {self.memory_points:,} "
            f"points are new, {self.memory_bytes / 2**20:.1f} MiB, {sum(self.timings.values()):.1f} s)"
        )

    def _repr_png_(self) -> bytes:
        return show.frames(self.frames)._repr_png_()

    def report(self) -> dict[str, Any]:
        """What a receipt says of a chunk; plain and finite."""
        fit, lock = self.alignment, None
        if fit is not None:
            values = {"scale": fit.scale, "shift": fit.shift, "residual": fit.residual, "overlap": fit.overlap}
            lock = {name: value if math.isfinite(value) else None for name, value in values.items()}
            lock |= {"accepted": fit.accepted, "reason": fit.reason}
        return {
            "index": self.index,
            "frames": len(self.camera),
            "seconds": dict(self.timings),
            "points": self.memory_points,
            "points_added": self.points_added,
            "memory_bytes": self.memory_bytes,
            "known": float(self.readout.mask.float().mean()),
            "references": self.references,
            "scale_lock": lock,
        }


class Tape:
    """A piece of a stream of latents, decoded when somebody looks. Two threads may: one decodes, the other waits."""

    def __init__(self, model: WorldModel, latents: Tensor, *, after: "End | None" = None) -> None:
        self._model, self._latents, self._after = model, latents, after
        self._frames: Tensor | None = None
        self._end: Callable[[], End | None] = lambda: None
        self._decoding = Lock()

    def frames(self, shown: Callable[[Tensor], None] | None = None) -> Tensor:
        """The frames of this piece; what comes before it on the stream is decoded first if it was not yet. `shown` is
        called with each latent's frames as they come, if they are decoded now."""
        with self._decoding:
            if self._frames is None:
                with torch.no_grad():
                    decoder = self._after.decoder() if self._after else self._model.decoder()
                    if shown is None:
                        self._frames = decoder.decode(self._latents)
                    else:
                        self._frames = torch.cat([_seen(decoder.decode(one), shown) for one in self._latents.split(1)])
                self._after = None  # the past is in the decoder's cache now
                end = self._end()
                if end is not None:
                    end.reached(decoder)
            return self._frames


def _seen(frames: Tensor, shown: Callable[[Tensor], None]) -> Tensor:
    shown(frames)
    return frames


class End:
    """Where a tape ends: the decoder as it is then, for what comes next. Two tapes may follow one: a walk can branch.

    It is apart from the tape, so that who keeps chunks does not keep a cache with each, gigabytes for large frames; and
    it lets go of the tape once that is decoded, so that who goes on does not keep the frames.
    """

    def __init__(self, tape: Tape) -> None:
        self._tape: Tape | None = tape
        self._decoder: StreamDecoder | None = None
        tape._end = weakref.ref(self)

    def decoder(self) -> StreamDecoder:
        """A decoder that has just decoded the tape."""
        tape = self._tape
        if tape is not None:
            tape.frames()
        assert self._decoder is not None
        return self._decoder.copy()

    def reached(self, decoder: StreamDecoder) -> None:
        """The tape was decoded, by this one."""
        self._decoder, self._tape = decoder, None
