"""Beginning with several views: each enters the memory where its camera stands; the walk goes on from the last.

`V` views, the last of which is where one stands, `C` latent channels, `h w` latent grid, `H W` pixels.
"""

import logging
from dataclasses import replace

import torch
from torch import Tensor

from mirage.depth.align import align
from mirage.depth.posescale import pose_scale
from mirage.depth.protocol import DepthEstimator, Views
from mirage.formats import views as brought
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.memory.protocol import SpatialMemory
from mirage.models.world import WorldModel
from mirage.rollout.admission import Segmenter, unmarked
from mirage.rollout.settings import Settings

_log = logging.getLogger(__name__)


@torch.no_grad()
def remember(
    views: brought.Views,
    model: WorldModel,
    memory: SpatialMemory,
    *,
    estimator: DepthEstimator,
    settings: Settings,
    moving: Segmenter | None = None,
) -> DepthMap:
    """Write all views but the last into `memory`, which is empty; the depth [h,w] of the last, in scale with them.

    Where no view brings depth, the estimator's is brought to the scale of the cameras as far as parallax tells it; and
    each depth that was estimated is fitted to what the memory knows there already, as a session does with its own.
    """
    latents = [model.encode(pixels[None]) for pixels, _, _ in views]
    grid = (latents[0].shape[-2], latents[0].shape[-1])
    depths = _in_scale(views, latents, estimator)
    for number, (pixels, camera, given) in enumerate(views):
        if number and given is None and settings.lock:
            seen = memory.read(camera[None], grid)
            known, offset = seen.depth.to(depths[number].z.device), seen.offset.to(depths[number].z.device)
            depths[number] = align(depths[number], to=known, offset=offset, max_residual=settings.max_residual).depth
        if number + 1 < len(views):
            keep = unmarked(moving, 0, 1, grid, lambda shown=pixels: shown[None])
            memory.write(latents[number], depths[number], camera[None], keep=keep)
    return depths[-1][0]


def _in_scale(views: brought.Views, latents: list[Tensor], estimator: DepthEstimator) -> list[DepthMap]:
    """Depth [1,h,w] of each view."""
    grid, zero = (latents[0].shape[-2], latents[0].shape[-1]), torch.zeros(1, dtype=torch.long)
    depths: list[DepthMap] = []
    for latent, (pixels, camera, given) in zip(latents, views, strict=True):
        seen = Views(latent, camera[None], zero, True, lambda shown=pixels: shown[None])
        depths.append((estimator(seen) if given is None else given[None]).to(latent.device))
    if all(given is None for _, _, given in views):
        where = Camera(views.camera.c2w.cpu(), views.camera.intrinsics.cpu())
        scale = pose_scale(DepthMap.concatenate([depth.to("cpu") for depth in depths]), where)  # as fine as they are
        if not scale.believed:
            _log.warning("depth of the views keeps its own scale: %s", scale.reason)
        depths = [replace(depth, z=depth.z / scale.scale) for depth in depths]
    return [depth.resized(grid) for depth in depths]
