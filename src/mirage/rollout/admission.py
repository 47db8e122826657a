"""What may enter the memory, in one place: not what moves, not what somebody marked, not what was seen through.

    new cells -- marked by a segmenter? -- seen through by an earlier frame? -- moving against those before? --> keep
                 (Segmenter)               (depth/freespace.py)                 (depth/static.py)

Nothing here touches a memory: it says which cells to keep, and the session writes. The first chunk also says what of
the given image moved, which then leaves the memory again: alone, one image cannot tell.
`T` latent frames, `F` video frames, `h w` latent grid, `H W` pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from mirage.chunks import TIME_STRIDE
from mirage.depth.freespace import seen_through
from mirage.depth.static import cells, static
from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.kinds import Brief
from mirage.rollout.history import History
from mirage.rollout.settings import Settings


class Segmenter(Protocol):
    """What moves in the video frames `first`, `first` + 1, ... of the walk (0 is the image): [count,H,W] on any grid,
    above 0 where something does. `frames()` decodes them, [count,3,H,W] in [0, 1], for those who must look."""

    def __call__(self, first: int, count: int, frames: Callable[[], Tensor]) -> Tensor: ...


@dataclass(frozen=True, eq=False, repr=False)
class Admitted(Brief):
    """`keep` [T,h,w], bool: the new cells that may enter; None: all with valid depth. `image` [1,h,w]: those of the
    given image that may stay, if this chunk could tell; None: it could not."""

    keep: Tensor | None
    image: Tensor | None = None


@dataclass(frozen=True, eq=False, repr=False)
class New(Brief):
    """What a chunk would write: latents [T,C,h,w] with their depth [T,h,w] and camera [T]; `frames()` decodes its video
    frames [4T,3,H,W]."""

    latents: Tensor
    depth: DepthMap
    camera: Camera
    frames: Callable[[], Tensor]


def admitted(
    new: New, past: History, settings: Settings, *, moving: Segmenter | None, image: tuple[Tensor | None] | None
) -> Admitted:
    """What of a chunk may enter the memory, given the frames before it.

    image   of the first chunk: a tuple with what of the given image was kept then (None: all); None for later chunks
    """
    grid = (new.latents.shape[-2], new.latents.shape[-1])
    keep = unmarked(moving, TIME_STRIDE * int(past.number[-1]) + 1, TIME_STRIDE * len(new.latents), grid, new.frames)
    if settings.free_space:
        keep = both(~seen_through(new.depth, new.camera, past=(past.depth, past.camera)), keep)
    if not settings.filter:
        return Admitted(keep)
    if image is None:
        still = static(new.latents, new.depth, new.camera, past=(past.latents, past.depth, past.camera))
        return Admitted(both(still, keep))
    together = past.added(new.latents, new.depth, new.camera, limit=1 + len(new.latents))
    still = static(together.latents, together.depth, together.camera)
    return Admitted(both(still[1:], keep), both(still[:1], image[0]))


def unmarked(
    moving: Segmenter | None, first: int, count: int, grid: tuple[int, int], frames: Callable[[], Tensor]
) -> Tensor | None:
    """Cells [T,h,w] that the segmenter does not mark in the video frames `first`, ...; None without one."""
    if moving is None:
        return None
    mask = moving(first, count, frames)
    if mask.ndim != 3 or len(mask) != count:
        raise InputError(f"a mask of {count} video frames is [{count},H,W], got {list(mask.shape)}")
    return ~cells(mask, grid, frames=1 if count == 1 else TIME_STRIDE)


def both(keep: Tensor, also: Tensor | None) -> Tensor:
    """Cells that two rules keep."""
    return keep if also is None else keep & also.to(keep.device)
