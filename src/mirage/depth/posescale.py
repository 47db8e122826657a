"""How many depth units one pose unit is: camera files from reconstructions (RealEstate10K, COLMAP) have no metres.

Depth and poses of one clip come from different places, and only the parallax between them can be seen. With the right
scale what frame i lifts lands on the depth of frame j; with a wrong one it lands before or behind it.

    residual(s) = mean of min(|z_ij(s) / D_j - 1|, 10 %),   z_ij(s): depth of frame i seen from j, translations times s

The mean and not the median: on the walls of a room half of the cells agree at any scale, the silhouettes do not.

`T` frames, `h w` any grid; depth is z.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.grid import cell_centers
from mirage.geometry.pose import make_pose

_GAPS = (1, 2, 4, 8)
"""Pairs of frames so many apart are compared."""
_OVERLAP = 0.25
"""A scale counts only if so many of the cells still land in the other view."""
_TELLING = 0.8
"""The best scale must leave at most this share of what an average one leaves: else the clip does not determine it."""
_SAME = 1e-3
"""Where an average scale leaves less than this, all of them fit."""
_CLOSE, _FAR = 0.06, 0.1
"""And at most this; a disagreement above the second is another surface, however large."""


@dataclass(frozen=True)
class PoseScale:
    """`scale`: multiply translations by it; 1 where the clip does not determine it (`believed` False). `residual`:
    what is left at that scale; `reason`: one line, for people."""

    scale: float
    residual: float
    believed: bool
    reason: str


def pose_scale(depth: DepthMap, camera: Camera) -> PoseScale:
    """The factor on the translations of `camera` [T] with which the depths [T,h,w] of its frames agree best.

    Looked for from 1/1000 to 1000 times the ratio of the median depth to the length of the path. A clip without
    parallax (it only turns, or it slides along a flat wall) does not determine it; its poses are left alone.
    """
    if depth.shape[:1] != camera.shape or len(camera.shape) != 1:
        raise InputError(
            f"depth [T,h,w] and cameras [T] of one clip are compared, got {list(depth.shape)} and {list(camera.shape)}"
        )
    reach = camera.center.sub(camera.center[:1]).norm(dim=-1).max().item()
    if len(camera) < 2 or reach < 1e-9 or not depth.valid.any():
        return PoseScale(1.0, float("nan"), False, "the camera does not move")
    unit = depth.z[depth.valid].median().item() / reach
    coarse = unit * torch.logspace(-3, 3, 73)
    left = torch.stack([_residual(depth, camera, s.item()) for s in coarse])
    best = int(left.argmin())
    fine = coarse[best] * torch.logspace(-1 / 12, 1 / 12, 21)
    finer = torch.stack([_residual(depth, camera, s.item()) for s in fine])
    scale, residual = fine[int(finer.argmin())].item(), finer.min().item()
    usual = left[torch.isfinite(left)].median().item() if torch.isfinite(left).any() else float("nan")
    if not (residual <= _CLOSE and residual <= _TELLING * usual and usual > _SAME):
        return PoseScale(
            1.0,
            residual,
            False,
            f"poses kept their scale: the best one, {scale:.4g}, leaves {residual:.1%}, an average one {usual:.1%}",
        )
    return PoseScale(scale, residual, True, f"translations times {scale:.4g}; {residual:.1%} left")


def rescaled(camera: Camera, scale: float) -> Camera:
    """The same path [*] with every translation times `scale`."""
    return Camera(make_pose(camera.c2w[..., :3, :3], scale * camera.center), camera.intrinsics)


def _residual(depth: DepthMap, camera: Camera, scale: float) -> Tensor:
    """Mean relative disagreement of all pairs; infinite where too little is seen in common."""
    T, h, w = depth.shape
    scaled = rescaled(camera, scale)
    uv = cell_centers((h, w), device=depth.z.device).expand(T, h, w, 2)
    points = scaled.unproject(uv, depth.z).flatten(1, 2)
    errors, cells = [], 0
    for gap in _GAPS:
        if gap >= T:
            break
        there, ahead = scaled[gap:].project(points[:-gap])
        u, v = there.nan_to_num(-1, -1, -1).unbind(-1)
        inside = (u >= 0) & (u < 1) & (v >= 0) & (v < 1) & (ahead > 0) & depth.valid[:-gap].flatten(1)
        cell = (v * h).clamp(0, h - 1).long() * w + (u * w).clamp(0, w - 1).long()
        other = depth.z[gap:].flatten(1).gather(1, cell)
        both = inside & depth.valid[gap:].flatten(1).gather(1, cell)
        errors.append((ahead / other - 1).abs()[both])
        cells += both.numel()
    found = torch.cat(errors)
    return found.clamp_max(_FAR).mean() if len(found) >= _OVERLAP * cells else torch.tensor(torch.inf)
