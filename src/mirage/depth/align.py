"""Scale lock: new depth is brought to the scale of depth that is already trusted, before anything is written.

`*`: any leading axes (a chunk is [T,h,w]), `h w`: latent grid; depth is z, in world units. An estimator guesses the
scale of every chunk anew, and small errors multiply along a walk; the memory does not forget what scale it began with.
One scale (and shift) serves the whole chunk, because one estimator call made it; for one per frame, call per frame.

    aligned = scale * depth + shift        fitted where both are valid, to relative errors, outliers ignored
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.geometry.depthmap import DepthMap

_ROUNDS = 10
_BIWEIGHT = 4.685
"""Tukey's constant: 95 % efficiency on Gaussian noise, no weight beyond 4.7 standard deviations."""
_FLOOR = 1e-4
"""Relative differences below this are not distinguished: float32 depth and its half-cell sampling are not better."""
_HYPOTHESES, _JURY = 256, 2048
"""Pairs of cells that each propose a line, and cells that judge them."""
_SPREAD = 0.05
"""A shift is distinguished from a scale only if the depths differ by this much (quartiles, relative to the median)."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """The outcome for the chunk's report. `depth` is what to write: aligned if `accepted`, as it came if not.

    scale, shift: what was fitted; 1 and 0 if nothing could be.
    residual: median relative difference that is left where both see; NaN if nothing could be fitted.
    overlap: share of all cells where both are valid.
    reason: one line, for people.
    """

    depth: DepthMap
    scale: float
    shift: float
    residual: float
    overlap: float
    accepted: bool
    reason: str


def align(
    depth: DepthMap,
    to: DepthMap,
    *,
    offset: Tensor | None = None,
    affine: bool = False,
    min_overlap: float = 0.05,
    max_residual: float = 0.05,
) -> Alignment:
    """Fit `depth` [*,h,w] to the depth `to` [*,h,w] that the memory shows to the same cameras.

    offset: [*,2,h,w] in cells, right and down: where in each cell `to` was measured, as a readout has it. Give it: on
        slanted surfaces the nearest point of a cell wins, always on its near side, and that bias adds up with every
        chunk (4 % in 20 chunks of a room; 0.1 % with the offset).
    affine: fit a shift too, for estimators whose depth is known up to both. The fit stands as long as fewer than half
    of the cells that both see are outliers. With less than `min_overlap` of the cells to go by, or if more than
    `max_residual` is left, the estimator's scale stays and `reason` says why.
    """
    if depth.shape != to.shape:
        raise InputError(f"depth {list(depth.shape)} is aligned to depth of the same shape, got {list(to.shape)}")
    both = depth.valid & to.valid
    overlap = both.sum().item() / max(both.numel(), 1)
    if overlap < min_overlap or not both.any():
        return Alignment(
            depth,
            1.0,
            0.0,
            math.nan,
            overlap,
            False,
            f"kept the estimator's scale: only {overlap:.1%} of the cells are known, {min_overlap:.0%} are needed",
        )
    there = depth.z if offset is None else _moved(depth, offset)
    z, target = there[both].double(), to.z[both].double()
    scale, shift = _line(z, target) if affine and _spread(z) >= _SPREAD else (_scale(z, target), 0.0)
    residual = ((scale * z + shift) / target - 1).abs().median().item()
    if not scale > 0 or residual > max_residual:
        return Alignment(
            depth,
            scale,
            shift,
            residual,
            overlap,
            False,
            f"kept the estimator's scale: the best fit ({scale:.4g} z {shift:+.4g}) leaves "
            f"{residual:.1%}, at most {max_residual:.0%} is trusted",
        )
    flat = affine and _spread(z) < _SPREAD
    return Alignment(
        depth.scaled(scale, shift),
        scale,
        shift,
        residual,
        overlap,
        True,
        f"scale {scale:.4g}, shift {shift:+.4g} from {overlap:.0%} of the cells, {residual:.1%} left"
        + (" (too flat a view to tell a shift)" if flat else ""),
    )


def _moved(depth: DepthMap, offset: Tensor) -> Tensor:
    """Depth [*,h,w] at `offset` from the cell centres. On a plane inverse depth is linear in the image; of the slopes
    to either side the smaller counts, and none where they differ in sign, so that no silhouette is climbed."""
    inverse = 1 / depth.z
    right, down = _slope(inverse, depth.valid, -1), _slope(inverse, depth.valid, -2)
    moved = inverse + right * offset[..., 0, :, :] + down * offset[..., 1, :, :]
    return torch.where(moved > 0, 1 / moved, depth.z)


def _slope(inverse: Tensor, valid: Tensor, axis: int) -> Tensor:
    n = inverse.shape[axis]
    ahead = inverse.diff(dim=axis) * (valid.narrow(axis, 1, n - 1) & valid.narrow(axis, 0, n - 1))
    edge = torch.zeros_like(inverse.narrow(axis, 0, 1))
    before, after = torch.cat([edge, ahead], axis), torch.cat([ahead, edge], axis)
    smaller = torch.where(before.abs() < after.abs(), before, after)
    return torch.where(before * after > 0, smaller, 0.0)


def _scale(z: Tensor, target: Tensor) -> float:
    """The scale that most cells agree on: median of log ratios, refined by weighted means."""
    ratio = (target / z).log()
    center = ratio.median()
    for _ in range(_ROUNDS):
        weight = _weight(ratio - center)
        center = (weight * ratio).sum() / weight.sum()
    return center.exp().item()


def _line(z: Tensor, target: Tensor) -> tuple[float, float]:
    """(scale, shift) that most cells agree on: of the lines through pairs of cells the one with the least median of
    relative errors (Rousseeuw 1984), refined by weighted least squares."""
    scale, shift = _consensus(z, target)
    rows = torch.stack([z, torch.ones_like(z)], dim=-1) / target[:, None]  # times (scale, shift) is 1 where it fits
    for _ in range(_ROUNDS):
        weighted = rows * _weight((scale * z + shift) / target - 1)[:, None]
        solved = torch.linalg.lstsq(weighted.T @ rows, weighted.sum(0)[:, None], driver="gelsd").solution[:, 0]
        scale, shift = solved.tolist()
    return scale, shift


def _consensus(z: Tensor, target: Tensor) -> tuple[float, float]:
    step = torch.arange(_HYPOTHESES, device=z.device, dtype=z.dtype)
    # the R2 sequence (Roberts 2018): pairs that are spread evenly, and the same ones every time
    one, two = (((0.5 + step * ratio) % 1 * len(z)).long() for ratio in (0.7548776662466927, 0.5698402909980532))
    scale = (target[one] - target[two]) / (z[one] - z[two])
    shift = target[one] - scale * z[one]
    usable = torch.isfinite(scale) & (scale > 0)
    if not usable.any():
        return _scale(z, target), 0.0
    scale, shift = scale[usable], shift[usable]
    jury = torch.arange(min(_JURY, len(z)), device=z.device) * len(z) // min(_JURY, len(z))
    error = ((scale[:, None] * z[jury] + shift[:, None]) / target[jury] - 1).abs().median(dim=1).values
    best = int(error.argmin())
    return scale[best].item(), shift[best].item()


def _weight(error: Tensor) -> Tensor:
    """Tukey's biweight of errors, scaled by their median: 1 for none, 0 for outliers."""
    deviation = max(1.4826 * error.abs().median().item(), _FLOOR)
    return (1 - (error / (_BIWEIGHT * deviation)).square()).clamp_min(0).square()


def _spread(z: Tensor) -> float:
    """Interquartile range over the median."""
    ordered = z.sort().values
    n = len(ordered)
    return ((ordered[(3 * n) // 4] - ordered[n // 4]) / ordered[n // 2]).item()
