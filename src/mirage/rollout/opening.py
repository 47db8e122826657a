"""What people hand to a session, looked at and brought into the form that it works with, when it is made.

    pixels, camera, depth = opened(model, "photo.jpg", None, None)

`H W` pixels, `h w` latent grid, `C` latent channels.
"""

import logging
from typing import Any

import numpy as np
from torch import Tensor

from mirage.chunks import whole_frames
from mirage.depth.protocol import DepthEstimator
from mirage.errors import InputError, short
from mirage.formats.photograph import Photograph, Picture, fitted, fitted_depth, frame_size, photograph_of
from mirage.formats.trajectories import load_trajectory
from mirage.geometry.camera import Camera, CameraLike
from mirage.geometry.depthmap import DepthMap
from mirage.memory import Readout
from mirage.memory.protocol import SpatialMemory
from mirage.models.world import WorldModel
from mirage.rollout.estimators import make_estimator

SQUARE = 0.02
"""By so much pixels may be taller than wide before it is said."""
_log = logging.getLogger(__name__)

PathLike = CameraLike | str
"""A trajectory: cameras, or what `load_trajectory` takes: a preset, keys, a file."""


def opened(
    model: WorldModel, picture: Picture | Photograph, camera: CameraLike | None, depth: DepthMap | None
) -> tuple[Tensor, Camera, DepthMap | None]:
    """The first frame [3,H,W] in [0, 1], its camera [], and its depth.

    A `Photograph`, and a picture that the model can take, of sides that are multiples of its stride and patch and of no
    more pixels than its frames, is taken as it is. Any other is cut about its centre to the shape next to its own at
    the model's pixel count, and resized; camera and depth are of the whole picture and are cut with it.
    """
    photograph = photograph_of(picture)
    view = photograph.camera if camera is None else Camera.of(camera, what="the image's camera")
    view = view[0] if view.shape == (1,) else view
    if view.shape:
        raise InputError(f"the image has one camera [], got {list(view.shape)}")
    height, width = photograph.size
    wide, tall = (float(focal) for focal in view.intrinsics[:2])
    if abs(wide * width / (tall * height) - 1) > SQUARE and not isinstance(picture, Photograph):
        _log.warning(
            "the camera sees this picture of %d x %d in pixels that are not square; Camera.for_image makes square ones",
            width,
            height,
        )
    within, stride = height * width <= model.size[0] * model.size[1], frame_stride(model)
    if (isinstance(picture, Photograph) or within) and not height % stride and not width % stride:
        return photograph.pixels, view, depth
    frame, view = framed(model, photograph, view)
    return frame.pixels, view, None if depth is None else fitted_depth(depth, frame.size)


def framed(
    model: WorldModel, photograph: Photograph, camera: Camera, size: tuple[int, int] | None = None
) -> tuple[Photograph, Camera]:
    """The photograph as the first frame of a walk, and cameras as seen through that. size: (H, W) asked for."""
    return fitted(photograph, camera, frame_size(photograph, model.size, frame_stride(model), size))


def frame_stride(model: WorldModel) -> int:
    """Both sides of its frames are multiples of it."""
    its: Any = model.transformer.config
    return model.stride * its.patch_size[-1]


def depth_given(
    depth: DepthMap | DepthEstimator | Tensor | np.ndarray | str | None, model: WorldModel
) -> tuple[DepthMap | None, DepthEstimator | None]:
    """(depth of the image, estimator for every chunk): at most one of the two; an estimator also by its name."""
    if isinstance(depth, DepthMap | Tensor | np.ndarray):
        known = DepthMap.of(depth)
        known = known[0] if known.z.ndim == 3 and len(known) == 1 else known
        if known.z.ndim != 2:
            raise InputError(f"the depth of the image is [H,W], got {list(known.shape)}")
        return known, None
    return None, make_estimator(depth, device=model.runs_on) if isinstance(depth, str) else depth


def check_memory(memory: SpatialMemory, camera: Camera, channels: int, grid: tuple[int, int]) -> None:
    """`InputError` unless a read of one view gives what a session reads from a memory."""
    readout, name = memory.read(camera[None], grid), type(memory).__name__
    if not isinstance(readout, Readout):
        raise InputError(f"a read of {name} gave {short(readout)}; accepted: a Readout")
    for part, expected in (("latents", (1, channels, *grid)), ("mask", (1, *grid)), ("offset", (1, 2, *grid))):
        if (got := tuple(getattr(readout, part).shape)) != expected:
            raise InputError(f"a read of {name} has {part} of {list(got)}; the model takes {list(expected)}")


def path_from(path: PathLike, camera: Camera, *, frames: int | None = None) -> Camera:
    """A trajectory [F] from where `camera` [] stands; matrices without intrinsics see as wide as it does. frames: how
    many of a preset, or of keys."""
    if isinstance(path, str):
        found = load_trajectory(path, start=camera, frames=frames)
        return found[: whole_frames(len(found))]
    found = Camera.of(path, what="the path", intrinsics=camera.intrinsics.cpu())
    if len(found.shape) != 1 or not len(found):
        raise InputError(f"a path is cameras [F], got {list(found.shape)}")
    return found
