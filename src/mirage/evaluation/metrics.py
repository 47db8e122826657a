"""How far two pictures, paths, depths or sets of features are from each other. `*`: leading axes, `H W`: pixels,
`F`: frames, `N`: rows of a feature set, `D`: features.

Images are [*,3,H,W] in [0, 1]; scores keep the leading axes. SSIM has several conventions in this field and they do not
agree (see `SSIM_CONVENTIONS`), so every table names the one it uses; ours is "gaussian".
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from mirage.errors import InputError
from mirage.geometry import pose
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap

PSNR_LIMIT = 100.0
"""Decibels of two equal images: a finite number, so that means and JSON stay finite."""

SsimWindow = Literal["gaussian", "uniform"]
SSIM_CONVENTIONS = {
    "gaussian": "Gaussian 11x11, sigma 1.5, data range 1, full resolution, population covariance (Wang 2004; ours)",
    "uniform": "uniform 7x7, data range 1, full resolution, sample covariance (scikit-image's default)",
    "small": "64x64 bilinear without antialiasing, [-1, 1] with the constants of data range 1 (VMem's code)",
}


def psnr(image: Tensor, reference: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in dB of [*,3,H,W], peak 1 -> [*]; at most `PSNR_LIMIT`.

    `mask` bool [*,H,W]: only there. An image without one pixel in its mask has no score: NaN, which a table leaves out.
    """

    def score(a: Tensor, b: Tensor, counted: Tensor) -> Tensor:
        square = (a.double() - b.double()).square().mean(dim=1)
        error = (square * counted).sum(dim=(-1, -2)) / counted.sum(dim=(-1, -2))
        return -10 * torch.log10(error.clamp_min(10 ** (-PSNR_LIMIT / 10)))

    return _by_blocks(score, image, reference, mask)


def ssim(image: Tensor, reference: Tensor, *, window: SsimWindow = "gaussian", mask: Tensor | None = None) -> Tensor:
    """Structural similarity of [*,3,H,W], the mean over channels and over windows that lie inside -> [*].

    `mask` bool [*,H,W]: windows whose centre lies there; NaN without any.
    """
    if window not in ("gaussian", "uniform"):
        raise InputError(f"an SSIM window is gaussian or uniform, got {window!r}")
    size = 11 if window == "gaussian" else 7
    if min(image.shape[-2:]) < size:
        raise InputError(f"SSIM with a {size}x{size} window needs images as large, got {list(image.shape[-2:])}")
    return _by_blocks(partial(_ssim, window=window), image, reference, mask)


def ssim_by_convention(image: Tensor, reference: Tensor) -> dict[str, Tensor]:
    """The same pair under every name of `SSIM_CONVENTIONS`: what a published figure may have meant."""
    small = [
        interpolate(x.reshape(-1, *x.shape[-3:]), (64, 64), mode="bilinear").reshape(*x.shape[:-2], 64, 64) * 2 - 1
        for x in (image, reference)
    ]
    return {
        "gaussian": ssim(image, reference),
        "uniform": ssim(image, reference, window="uniform"),
        "small": ssim(small[0], small[1]),
    }


def hue_distance(images: Tensor, references: Tensor, *, bins: int = 36) -> Tensor:
    """How far the hues of [*,3,H,W] must be turned, in turns [0, 1/2], to become those of `references` -> [*]. Ours.

    Hue histograms weighted by chroma, compared by the earth mover's distance on the circle. Grey images have no hue:
    both grey 0, one grey NaN. A picture that drifts in colour while it keeps its structure shows here.
    """
    _check_pair(images, references)
    first, second = _hue_histogram(images, bins), _hue_histogram(references, bins)
    weights = first.sum(-1), second.sum(-1)
    empty = [weight < 1e-6 * images.shape[-1] * images.shape[-2] for weight in weights]
    first, second = (h / weight.clamp_min(1e-12)[..., None] for h, weight in zip((first, second), weights, strict=True))
    flow = (first - second).cumsum(-1)
    # On a circle a constant may be added to the flow; the median makes its total smallest.
    distance = (flow - flow.median(dim=-1, keepdim=True).values).abs().sum(-1) / bins
    distance = torch.where(empty[0] & empty[1], 0.0, distance)
    return torch.where(empty[0] ^ empty[1], torch.nan, distance).float()


def frechet_distance(features: Tensor, references: Tensor) -> float:
    """Fréchet distance of two feature sets [N,D], as normal distributions: |m1-m2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2).

    With Inception features it is FID; with the latents of our autoencoder it is a number of our own, comparable only
    with itself. Needs more rows than features to mean much.
    """
    if features.ndim != 2 or references.ndim != 2 or features.shape[1] != references.shape[1]:
        raise InputError(f"feature sets are [N,D] with equal D, got {list(features.shape)}, {list(references.shape)}")
    if min(len(features), len(references)) < 2:
        raise InputError(f"a Fréchet distance needs two rows or more, got {len(features)} and {len(references)}")
    a, b = features.double(), references.double()
    first, second = torch.cov(a.T).reshape(a.shape[1], -1), torch.cov(b.T).reshape(b.shape[1], -1)
    values, vectors = torch.linalg.eigh(first)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    # tr (S1 S2)^1/2 = tr (S1^1/2 S2 S1^1/2)^1/2, whose argument is symmetric: no complex square root.
    cross = torch.linalg.eigvalsh(root @ second @ root).clamp_min(0).sqrt().sum()
    shift = (a.mean(0) - b.mean(0)).square().sum()
    return float((shift + first.trace() + second.trace() - 2 * cross).clamp_min(0))


@dataclass(frozen=True)
class PoseErrors:
    """CamI2V's sums over frames. `rotation` radians; `translation_rel` and `cammc_rel` after each path was divided by
    its own extent; `translation_abs` and `cammc_abs` after both were divided by the true one's."""

    rotation: float
    translation_rel: float
    cammc_rel: float
    translation_abs: float
    cammc_abs: float
    frames: int


def pose_errors(estimated: Camera, true: Camera) -> PoseErrors:
    """RotErr, TransErr and CamMC of an estimated path [F] against the true one, both relative to their first frame.

    RotErr = sum acos((tr(R1^T R2) - 1)/2), TransErr = sum |t1 - t2|, CamMC = sum |[R|t]_1 - [R|t]_2|_F over c2w; an
    extent is the largest distance from the first frame (CamI2V, evaluation/glomap_evaluation.py). A path that stands
    still has no extent and is left as it is.
    """
    if estimated.shape != true.shape or len(true.shape) != 1 or len(true) == 0:
        raise InputError(
            f"pose errors compare two paths [F] of one length, got {list(estimated.shape)} and {list(true.shape)}"
        )
    ours, theirs = (c.to(torch.float64).relative_to(c[0].to(torch.float64)).c2w[:, :3] for c in (estimated, true))
    extents = [_extent(path) for path in (ours, theirs)]
    rel = ours_rel, theirs_rel = _over(ours, extents[0]), _over(theirs, extents[1])
    absolute = _over(ours, extents[1]), theirs_rel
    turned = ours_rel[:, :, :3].transpose(-1, -2) @ theirs_rel[:, :, :3]
    sums = [
        float((a - b)[..., columns].flatten(1).norm(dim=1).sum())
        for a, b in (rel, absolute)
        for columns in (slice(3, 4), slice(0, 4))
    ]
    return PoseErrors(float(torch.deg2rad(pose.rotation_angle(turned)).sum()), *sums, frames=len(true))


@dataclass(frozen=True)
class DepthErrors:
    """`absrel`: mean |z - z*| / z*; `rmse` in world units; `delta1`: share with max(z/z*, z*/z) < 1.25; `known`: the
    share of the true depth that the prediction has at all, over which alone the others are taken."""

    absrel: float
    rmse: float
    delta1: float
    known: float


def depth_errors(predicted: DepthMap, true: DepthMap) -> DepthErrors:
    """Over cells valid in both. Nothing is aligned. Without a common cell the errors are NaN."""
    both = predicted.valid & true.valid
    z, reference = predicted.z[both].double(), true.z[both].double()
    ratio = torch.maximum(z / reference, reference / z)
    return DepthErrors(
        absrel=float(((z - reference).abs() / reference).mean()),
        rmse=float((z - reference).square().mean().sqrt()),
        delta1=float((ratio < 1.25).double().mean()),
        known=float(both.sum() / true.valid.sum().clamp_min(1)),
    )


# -- helpers ------------------------------------------------------------------------------------------------------


def _by_blocks(
    score: Callable[[Tensor, Tensor, Tensor], Tensor],
    image: Tensor,
    reference: Tensor,
    mask: Tensor | None,
    *,
    block: int = 8,
) -> Tensor:
    """score([n,3,H,W], [n,3,H,W], bool [n,H,W]) -> [n], over all leading axes: a long video in double precision does
    not fit into memory at once."""
    _check_pair(image, reference)
    lead, size = image.shape[:-3], image.shape[-2:]
    counted = torch.ones(size, dtype=torch.bool, device=image.device) if mask is None else mask
    stacks = (
        image.reshape(-1, 3, *size),
        reference.reshape(-1, 3, *size),
        counted.expand(*lead, *size).reshape(-1, *size),
    )
    parts = [score(*part) for part in zip(*(stack.split(block) for stack in stacks), strict=True)]
    return torch.cat([*parts, image.new_zeros(0)]).float().reshape(lead)


def _ssim(image: Tensor, reference: Tensor, counted: Tensor, *, window: SsimWindow) -> Tensor:
    """[n,3,H,W] -> [n]."""
    taps, spread = (_gaussian_taps(), 1.0) if window == "gaussian" else (torch.ones(7).double() / 7, 49 / 48)
    x, y = image.float() - 0.5, reference.float() - 0.5  # float32 then is within 4e-5 of float64
    down, across = (_banded(taps, length).to(x) for length in x.shape[-2:])

    def mean(values: Tensor) -> Tensor:
        return down @ values @ across.T

    mx, my = mean(x), mean(y)
    vx, vy, vxy = (spread * v for v in (mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my))
    mx, my = mx + 0.5, my + 0.5
    c1, c2 = 0.01**2, 0.03**2
    score = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    score = score.mean(1)
    edge = len(taps) // 2
    counted = counted[:, edge:-edge, edge:-edge]
    return (score * counted).sum(dim=(-1, -2)) / counted.sum(dim=(-1, -2))


def _banded(taps: Tensor, length: int) -> Tensor:
    """The matrix [length - k + 1, length] that slides k taps over a vector."""
    rows = torch.arange(length - len(taps) + 1)[:, None]
    matrix = taps.new_zeros(len(rows), length)
    return matrix.scatter_(1, rows + torch.arange(len(taps)), taps.expand(len(rows), -1))


def _gaussian_taps() -> Tensor:
    at = torch.arange(-5, 6, dtype=torch.float64)
    taps = torch.exp(-at.square() / (2 * 1.5**2))
    return taps / taps.sum()


def _hue_histogram(images: Tensor, bins: int) -> Tensor:
    """[*,3,H,W] -> chroma per hue bin [*,bins]."""
    r, g, b = images.double().unbind(-3)
    top, low = images.double().amax(-3), images.double().amin(-3)
    chroma = top - low
    safe = chroma.clamp_min(1e-12)
    hue = torch.where(top == r, (g - b) / safe % 6, torch.where(top == g, (b - r) / safe + 2, (r - g) / safe + 4)) / 6
    index = (hue * bins).long().clamp(0, bins - 1).flatten(-2)
    return torch.zeros(*images.shape[:-3], bins, dtype=torch.float64, device=images.device).scatter_add_(
        -1, index, chroma.flatten(-2)
    )


def _extent(path: Tensor) -> float:
    extent = float(path[:, :, 3].norm(dim=-1).amax())
    return extent if extent > 1e-9 else 1.0


def _over(path: Tensor, extent: float) -> Tensor:
    return torch.cat([path[:, :, :3], path[:, :, 3:] / extent], dim=-1)


def _check_pair(image: Tensor, reference: Tensor) -> None:
    if image.shape != reference.shape or image.ndim < 3 or image.shape[-3] != 3:
        raise InputError(
            f"images are compared at one size [*,3,H,W], got {list(image.shape)} and {list(reference.shape)}"
        )
    if not (image.is_floating_point() and reference.is_floating_point()):
        raise InputError(f"images are floating point in [0, 1], got {image.dtype} and {reference.dtype}")
