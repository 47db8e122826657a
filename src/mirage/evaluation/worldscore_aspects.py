"""WorldScore's numbers: how raw scores are normalised and averaged for all ten aspects, and those that known cameras
and depth allow without any downloaded network. `N`: frames, `H W`: pixels.

What is ours and only stands in for a network (DROID-SLAM, SEA-RAFT, VFIMamba) says so; it is comparable with itself.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.evaluation.metrics import ssim
from mirage.evaluation.report import Summary
from mirage.geometry import pose
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.grid import cell_centers


@dataclass(frozen=True)
class Bounds:
    """How one raw number becomes 0..1: clipped to `low`..`high`; or as a z-score, (x - mean) / deviation scaled by its
    extremes `low`..`high` to 1/4..3/4 and clipped to 0..1."""

    low: float
    high: float
    higher_is_better: bool = True
    mean: float | None = None
    deviation: float = 1.0

    def normalised(self, raw: float) -> float:
        if self.mean is None:
            share = (min(max(raw, self.low), self.high) - self.low) / (self.high - self.low)
            return share if self.higher_is_better else 1 - share
        share = ((raw - self.mean) / self.deviation - self.low) / (self.high - self.low)
        return min(max(0.25 + 0.5 * share, 0.0), 1.0)


STATIC = (
    "camera_control",
    "object_control",
    "content_alignment",
    "3d_consistency",
    "photometric_consistency",
    "style_consistency",
    "subjective_quality",
)
DYNAMIC = ("motion_accuracy", "motion_magnitude", "motion_smoothness")
BOUNDS: Mapping[str, Mapping[str, tuple[Bounds, ...]]] = {
    "camera_control": {"camera_error": (Bounds(0, 15, False), Bounds(0, 0.5, False))},
    "object_control": {"object_detection": (Bounds(0, 1),)},
    "content_alignment": {"clip_score": (Bounds(-1.5950, 1.2741, mean=26.67, deviation=0.8875),)},
    "3d_consistency": {"reprojection_error": (Bounds(0, 1.0719, False),)},
    "photometric_consistency": {"optical_flow_aepe": (Bounds(0, 1.1920, False),)},
    "style_consistency": {"gram_matrix": (Bounds(0, 0.0070, False),)},
    "subjective_quality": {
        "clip_iqa+": (Bounds(-1.8342, 1.8703, mean=0.5842, deviation=0.0441),),
        "clip_aesthetic": (Bounds(-2.9342, 1.9741, mean=5.5952, deviation=0.2561),),
    },
    "motion_accuracy": {"motion_accuracy": (Bounds(-1.6147, 1.5180, mean=-0.1965, deviation=2.3687),)},
    "motion_magnitude": {"optical_flow": (Bounds(-0.8638, 2.7498, mean=3.2425, deviation=3.4505),)},
    "motion_smoothness": {
        "motion_smoothness": (Bounds(0, 82.4014, False), Bounds(0.9224, 1), Bounds(0, 0.0228, False))
    },
}
"""aspect -> metric -> how its number (or its numbers, in order) are normalised."""


def normalised(aspect: str, scores: Mapping[str, float | Sequence[float]]) -> float:
    """One aspect of one instance in 0..1, from raw scores by metric name.

    Several numbers of one metric are averaged (camera control: geometric mean of rotation and translation), several
    metrics of one aspect too. The only metric of an aspect is recognised whatever it is called.
    """
    if aspect not in BOUNDS:
        raise InputError(f"no WorldScore aspect {aspect!r}; there are {', '.join(BOUNDS)}")
    known = BOUNDS[aspect]
    if len(known) == 1 and len(scores) == 1:
        scores = dict(zip(known, scores.values(), strict=True))
    if set(scores) != set(known):
        raise InputError(f"{aspect} has the metrics {sorted(scores)}; expected {sorted(known)}")
    parts = []
    for metric, bounds in known.items():
        raw = scores[metric]
        values = list(raw) if isinstance(raw, Sequence) else [raw]
        if len(values) != len(bounds):
            raise InputError(f"{aspect}: {metric} has {len(values)} numbers; expected {len(bounds)}")
        each = [b.normalised(float(v)) for b, v in zip(bounds, values, strict=True)]
        parts.append(math.prod(each) ** (1 / len(each)) if aspect == "camera_control" else sum(each) / len(each))
    return sum(parts) / len(parts)


def aggregate(instances: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """From evaluation.json dicts ({aspect: {metric: {"score": ...}}}) to WorldScore's figures, 0..100.

    Per aspect the mean over all instances that have it; "static" the mean of its 7 aspects, "dynamic" the mean of all
    10. A mean over fewer aspects would be another number under the same name: it is None, with `missing` saying why.
    """
    aspects: dict[str, Summary] = {}
    for aspect in (*STATIC, *DYNAMIC):
        values = [
            normalised(aspect, {metric: entry["score"] for metric, entry in found[aspect].items()})
            for found in instances
            if aspect in found
        ]
        summary = Summary.of(100 * value for value in values)
        if summary.n:
            aspects[aspect] = summary
    means = {name: summary.mean or 0.0 for name, summary in aspects.items()}
    missing = [name for name in (*STATIC, *DYNAMIC) if name not in means]
    static = sum(means[name] for name in STATIC) / len(STATIC) if not set(STATIC) & set(missing) else None
    dynamic = sum(means.values()) / len(means) if not missing else None
    average = None if static is None or dynamic is None else (static + dynamic) / 2
    return {"aspects": aspects, "static": static, "dynamic": dynamic, "average": average, "missing": missing}


def camera_errors(estimated: Camera, asked: Camera, *, speed: float) -> tuple[float, float]:
    """(R_err in degrees, T_err) of poses [N] against those asked for; the formula alone, on any estimate or on truth.

    T_err: mean |s t - t_g| with t_g divided by `speed` and the one scale s that makes the sum of distances smallest
    (by reweighted least squares); nothing else is aligned.
    """
    turn = pose.rotation_angle(estimated.c2w[:, :3, :3].double().transpose(-1, -2) @ asked.c2w[:, :3, :3].double())
    t, goal = estimated.center.double(), asked.center.double() / speed
    scale = _weighted(t, goal, torch.ones(len(t), dtype=torch.float64))
    for _ in range(100):
        scale = _weighted(t, goal, 1 / (scale * t - goal).norm(dim=-1).clamp_min(1e-9))
    return float(turn.mean()), float((scale * t - goal).norm(dim=-1).mean())


def reprojection_error(depth: DepthMap, camera: Camera, *, cell: int = 8) -> float:
    """How well depth [N,H,W] and poses [N] agree between neighbours: mean distance in cells of `cell` pixels between
    where a point of frame i appears in i+1 and where it would if it lay at i+1's own depth and came back.

    3D consistency without DROID-SLAM, ours: back-project i, project to i+1, read the depth there, come back to i.
    A point that i+1 hides (its depth there is nearer by more than 5 %) does not count.
    """
    height, width = depth.shape[-2:]
    h, w = max(1, height // cell), max(1, width // cell)
    small = depth.resized((h, w))
    errors: list[float] = []
    uv = cell_centers((h, w))
    for i in range(len(camera) - 1):
        points = camera[i].unproject(uv, small.z[i]).flatten(0, 1)
        there, z = camera[i + 1].project(points)
        inside = (z > 0) & (there >= 0).all(-1) & (there < 1).all(-1) & small.valid[i].flatten()
        column, row = (there * there.new_tensor([width, height])).long().unbind(-1)
        column, row = column.clamp(0, width - 1), row.clamp(0, height - 1)
        other, known = depth.z[i + 1][row, column], depth.valid[i + 1][row, column]
        counted = inside & known & (other > 0.95 * z)
        back, _ = camera[i].project(camera[i + 1].unproject(there, other))
        distance = ((back - uv.flatten(0, 1)) * back.new_tensor([w, h])).norm(dim=-1)
        errors += distance[counted].tolist()
    return sum(errors) / len(errors) if errors else math.nan


def induced_flow(depth: DepthMap, camera: Camera) -> tuple[Tensor, Tensor]:
    """Exact flow of a static scene from frame i to i+1: pixels [N-1,2,H,W], and bool [N-1,H,W] where depth is known."""
    height, width = depth.shape[-2:]
    uv = cell_centers((height, width))
    flows = []
    for i in range(len(camera) - 1):
        there, _ = camera[i + 1].project(camera[i].unproject(uv, depth.z[i]).flatten(0, 1))
        moved = (there.unflatten(0, (height, width)) - uv) * uv.new_tensor([width, height])
        flows.append(moved.permute(2, 0, 1))
    return torch.stack(flows), depth.valid[:-1]


def aepe(forward: Tensor, backward: Tensor, *, margin: int = 15) -> float:
    """Photometric consistency's formula on flows [N,2,H,W] in pixels: mean |x + f + b(round(x + f)) - x|, `margin`
    pixels cropped from every side. Flow that leaves the picture is held at its edge."""
    height, width = forward.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    errors = []
    for there, back in zip(forward, backward, strict=True):
        column = (columns + there[0]).round().long().clamp(0, width - 1)
        row = (rows + there[1]).round().long().clamp(0, height - 1)
        errors.append((there + back[:, row, column]).norm(dim=0))
    return float(torch.stack(errors)[:, margin : height - margin, margin : width - margin].mean())


def motion_magnitude(flow: Tensor) -> float:
    """Mean over frames of the median length of the flow [N,2,H,W] in native pixels."""
    return float(flow.norm(dim=1).flatten(1).median(dim=1).values.mean())


def motion_smoothness_proxy(video: Tensor) -> dict[str, float]:
    """Odd frames of [N,3,H,W] against the mean of their neighbours: {"mse" in grey levels squared, "ssim"}.

    Ours: WorldScore interpolates with VFIMamba, adds LPIPS, and takes MSE of bytes, which wraps around at 256.
    """
    if len(video) < 3:
        raise InputError(f"motion smoothness needs three frames, got {len(video)}")
    middle, between = video[1:-1:2], (video[:-2:2] + video[2::2]) / 2
    error = ((middle - between) * 255).square().mean()
    return {"mse": float(error), "ssim": float(ssim(between, middle).mean())}


def _weighted(t: Tensor, goal: Tensor, weight: Tensor) -> Tensor:
    return (weight[:, None] * t * goal).sum() / (weight[:, None] * t * t).sum().clamp_min(1e-12)
