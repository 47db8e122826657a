"""Does it remember? Scores of a rollout's returns to where it has been, on commanded poses. `F`: frames, `P`: pairs.

After R2M-Bench (arXiv 2608.27328; pairs.py has its pairs). Raw similarity on return is won by a camera that never
moves, so the score of a return is set against two others of the same video: pairs just as far apart in time that show
different places (base), and neighbours in time (short), which are as alike as this video can be.

    MemoryGain = s(revisit) - s(base)    DynamicRange = s(short) - s(base)    NMR = mean MemoryGain / mean DynamicRange

Means are over the rollouts of one trajectory that have a dynamic range; NMRs are then averaged over trajectories, over
the metrics of a family, and over families.

Beside it, always: MIND's mirror test, the closed loop, coverage, and controls that remember nothing. A still picture
closes every loop perfectly; its gain is 0, and without a dynamic range it has no NMR.
"""

import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mirage.evaluation.folder import Rollout, load_rollout
from mirage.evaluation.lpips import Lpips
from mirage.evaluation.metrics import psnr, ssim
from mirage.evaluation.options import RevisitOptions
from mirage.evaluation.pairs import Pairs, Rule, revisit_pairs
from mirage.evaluation.report import Summary, markdown_table
from mirage.evaluation.runner import Progress, Task, run_tasks, write_results
from mirage.formats.cameras import camera_options
from mirage.formats.image import save_image
from mirage.formats.picture import contact_sheet
from mirage.geometry.camera import Camera
from mirage.geometry.pose import rotation_angle
from mirage.optional import optional

Score = Callable[[Tensor, Tensor], Sequence[float]]
"""Two stacks [P,3,H,W] in [0, 1] -> one number per pair, larger is more alike; NaN where it has no meaning."""

APPEARANCE, SCENE, GEOMETRY = "appearance", "scene", "local geometry (ours: ORB + RANSAC)"
LEAST_RANGE = 1e-8
RULES: dict[Rule, str] = {
    "r2m": "pairs and averages as in the code of R2M-Bench",
    "paper": "pairs and averages as R2M-Bench's paper was read (rule paper), not as its code does",
}


def run_revisit(options: RevisitOptions, *, progress: Progress | None = None) -> dict[str, Any]:
    """Score every folder, write results.json, report.md and contact sheets to `options.out`; returns the summary."""
    families = score_families(geometry=options.geometry, lpips=options.lpips, dino=options.dino)

    def work(source: Path) -> Callable[[Path], dict[str, Any]]:
        def score(folder: Path) -> dict[str, Any]:
            rollout = load_rollout(source, reading=camera_options(options))
            result = score_rollout(
                rollout,
                families,
                metres=options.metres,
                max_pairs=options.max_pairs,
                seed=options.seed,
                rule=options.pairs,
            )
            rows = {"rollout": rollout.frames, **controls(rollout.frames)}
            save_image(
                folder / "sheet.png",
                contact_sheet({name: f.float() / 255 for name, f in rows.items()}, title=rollout.name),
            )
            return result

        return score

    names = [path.resolve().name for path in options.rollouts]
    if len(set(names)) != len(names):
        names = [f"{number:03d}-{name}" for number, name in enumerate(names)]
    tasks = [Task(name, work(path)) for name, path in zip(names, options.rollouts, strict=True)]
    outcome = run_tasks(tasks, options.out, options=options.record(), progress=progress)
    summary = summarise(list(outcome.results.values()), rule=options.pairs)
    return write_results(options.out, outcome, summary, title="Revisits", tables={"Memory": revisit_table(summary)})


def score_rollout(
    rollout: Rollout,
    families: Mapping[str, Mapping[str, Score]],
    *,
    metres: float = 1.0,
    max_pairs: int = 100,
    seed: int = 42,
    rule: Rule = "r2m",
) -> dict[str, Any]:
    """MemoryGain and DynamicRange per metric, the mirror test and the closed loop, for the rollout and its controls."""
    pairs = revisit_pairs(rollout.camera, metres=metres, max_pairs=max_pairs, seed=seed, rule=rule)
    systems = {"rollout": rollout.frames, **controls(rollout.frames)}
    return {
        "frames": len(rollout.frames),
        "trajectory": _trajectory(rollout.camera, metres),
        "pairs": {"revisit": len(pairs.revisit), "base": len(pairs.base), "short": len(pairs.short)},
        "coverage": rollout.coverage,
        "systems": {
            name: {
                "gain": {
                    family: {metric: memory_gain(frames, pairs, score) for metric, score in metrics.items()}
                    for family, metrics in families.items()
                },
                **mirror(frames, rollout.camera),
                **closed_loop(frames, rollout.camera),
            }
            for name, frames in systems.items()
        },
    }


def memory_gain(frames: Tensor, pairs: Pairs, score: Score) -> dict[str, float | None]:
    """{"revisit", "base", "short"}: mean scores; "gain" and "range" as defined above. None where there are no pairs."""
    revisit, base, short = (
        Summary.of(_scored(frames, kind, score)).mean for kind in (pairs.revisit, pairs.base, pairs.short)
    )
    return {
        "revisit": revisit,
        "base": base,
        "short": short,
        "gain": None if revisit is None or base is None else revisit - base,
        "range": None if short is None or base is None else short - base,
    }


def summarise(results: Sequence[Mapping[str, Any]], *, rule: Rule = "r2m") -> dict[str, Any]:
    """Over rollouts, per system: gain and NMR of every metric, the mean of each family's metrics, and the mean of the
    families. An NMR is a ratio of means over rollouts whose range is not nothing: of each trajectory, then averaged; by
    the rule "paper" of all rollouts at once."""
    walked = [r["trajectory"] if rule == "r2m" else "" for r in results]
    return {
        "systems": {
            name: _summary_of([r["systems"][name] for r in results], walked)
            for name in (results[0]["systems"] if results else ())
        },
        "coverage": Summary.of(r["coverage"] for r in results),
        "n": len(results),
        "trajectories": len({r["trajectory"] for r in results}),
        "rule": rule,
    }


def revisit_table(summary: Mapping[str, Any]) -> str:
    """One row per system."""
    rows = []
    for name, system in summary["systems"].items():
        metrics = {
            metric: entry for family in system["families"].values() for metric, entry in family["metrics"].items()
        }
        rows.append(
            {
                "system": name,
                "PSNR_C": system["psnr_c"],
                "SSIM_C": system["ssim_c"],
                "mirror PSNR": system["mirror_psnr"],
                "NMR": system["nmr"],
                **{f"NMR {metric}": entry["nmr"] for metric, entry in metrics.items()},
                **{f"gain {metric}": entry["gain"] for metric, entry in metrics.items()},
                **{f"range {metric}": entry["range"] for metric, entry in metrics.items()},
            }
        )
    table = markdown_table(rows)
    covered = summary["coverage"]
    return (
        table + f"\nCoverage by the memory: {'unknown' if covered.mean is None else f'{covered.mean:.1%}'}; "
        f"{summary['n']} rollouts of {summary['trajectories']} trajectories; {RULES[summary['rule']]}; "
        f"SSIM: Gaussian 11x11; matches and inliers (ORB, RANSAC) are ours.\n"
    )


def score_families(
    *, geometry: bool = True, lpips: str | os.PathLike[str] | None = None, dino: str | os.PathLike[str] | None = None
) -> dict[str, dict[str, Score]]:
    """What needs no weights, and LPIPS and DINOv2 when their folders are named (missing weights: `InputError`)."""
    appearance: dict[str, Score] = {"psnr": lambda a, b: psnr(a, b).tolist(), "ssim": lambda a, b: ssim(a, b).tolist()}
    if lpips is not None:
        net = Lpips.load(lpips)
        appearance["-lpips"] = lambda a, b: (-net(a, b)).tolist()
    families = {APPEARANCE: appearance}
    if dino is not None:
        from mirage.models.others.scene_features import SceneFeatures  # slow to import, needed by few

        scene = SceneFeatures.load(dino)
        families[SCENE] = {"dino": lambda a, b: scene.alike(a, b).tolist()}
    if geometry:
        found = LocalMatches()
        families[GEOMETRY] = {
            "matches": lambda a, b: [found(x, y)[0] for x, y in zip(a, b, strict=True)],
            "inliers": lambda a, b: [found(x, y)[1] for x, y in zip(a, b, strict=True)],
        }
    return families


def controls(frames: Tensor) -> dict[str, Tensor]:
    """Videos [F,3,H,W] that remember nothing, made from this one. "copy first", "repeat last": one picture, F times; on
    a closed loop their PSNR is perfect. "stop half-way": from the middle on nothing moves."""
    middle = (len(frames) - 1) // 2
    held = torch.cat([frames[: middle + 1], frames[middle : middle + 1].expand(len(frames) - middle - 1, -1, -1, -1)])
    return {
        "copy first": frames[:1].expand_as(frames),
        "repeat last": frames[-1:].expand_as(frames),
        "stop half-way": held,
    }


def mirror(frames: Tensor, camera: Camera) -> dict[str, float | None]:
    """MIND's mirror test on a path that comes back the way it went: the first half against the second, reversed."""
    count = len(frames) // 2
    if count == 0 or not _mirrored(camera):
        return {"mirror_psnr": None, "mirror_ssim": None}
    pairs = [(i, len(frames) - 1 - i) for i in range(count)]
    return {
        f"mirror_{name}": Summary.of(_scored(frames, pairs, score)).mean
        for name, score in score_families(geometry=False)[APPEARANCE].items()
    }


def closed_loop(frames: Tensor, camera: Camera) -> dict[str, float | None]:
    """The last frame against the first (Spatia's PSNR_C, SSIM_C), where the path ends in the pose it began with."""
    if len(frames) < 2 or not _close(camera[-1:], camera[:1]):
        return {"psnr_c": None, "ssim_c": None}
    last, first = frames[-1:].float() / 255, frames[:1].float() / 255
    return {"psnr_c": float(psnr(last, first)), "ssim_c": float(ssim(last, first))}


class LocalMatches:
    """Of two images [3,H,W]: the share of ORB key points that find a mutual match, and the share of key points whose
    match also fits one epipolar geometry (RANSAC). Ours: R2M uses SuperPoint and LightGlue. No key points: NaN.

    A picture stands in many pairs and a pair is asked for both shares, so what was found is kept (without pixels)."""

    def __init__(self, *, keypoints: int = 400, kept: int = 4096) -> None:
        self._scikit_image = _scikit_image()
        self.keypoints, self.kept = keypoints, kept
        self._corners: dict[bytes, tuple[np.ndarray, np.ndarray] | None] = {}
        self._pairs: dict[tuple[bytes, bytes], tuple[float, float]] = {}

    def __call__(self, image: Tensor, other: Tensor) -> tuple[float, float]:
        if len(self._pairs) > self.kept:
            self._corners.clear()
            self._pairs.clear()
        key = self._look(image), self._look(other)
        if key not in self._pairs:
            self._pairs[key] = self._match(self._corners[key[0]], self._corners[key[1]])
        return self._pairs[key]

    def _look(self, picture: Tensor) -> bytes:
        """The picture's key; its corners are there afterwards, None where it has none at all."""
        feature, _, _ = self._scikit_image
        key = hashlib.blake2b(picture.contiguous().numpy().tobytes(), digest_size=16).digest()
        if key not in self._corners:
            orb = feature.ORB(n_keypoints=self.keypoints, fast_threshold=0.02)
            try:
                orb.detect_and_extract(picture.double().mean(0).numpy())
                # corners too near the border have no descriptor: nothing may be left
                self._corners[key] = (orb.keypoints[:, ::-1], orb.descriptors) if len(orb.descriptors) else None
            except RuntimeError:  # scikit-image's way of saying that the picture has no corner
                self._corners[key] = None
        return key

    def _match(
        self, one: tuple[np.ndarray, np.ndarray] | None, two: tuple[np.ndarray, np.ndarray] | None
    ) -> tuple[float, float]:
        feature, measure, transform = self._scikit_image
        if one is None or two is None:
            return math.nan, math.nan
        (points, first), (others, second) = one, two
        fewest = min(len(points), len(others))
        matched = feature.match_descriptors(first, second, cross_check=True, max_ratio=0.85)
        if len(matched) < 8:
            return len(matched) / fewest, 0.0
        pairs = points[matched[:, 0]], others[matched[:, 1]]
        _, inliers = measure.ransac(
            pairs, transform.FundamentalMatrixTransform, min_samples=8, residual_threshold=1.0, max_trials=200, rng=0
        )
        return len(matched) / fewest, float(np.sum(inliers)) / fewest if inliers is not None else 0.0


# -- helpers ------------------------------------------------------------------------------------------------------


def _summary_of(systems: Sequence[Mapping[str, Any]], walked: Sequence[str]) -> dict[str, Any]:
    """`walked`: the trajectory of each."""
    families = {}
    for family, metrics in systems[0]["gain"].items():
        entries = {}
        for metric in metrics:
            gains = [s["gain"][family][metric] for s in systems]
            ranged = [g["gain"] is not None and (g["range"] or 0.0) > LEAST_RANGE for g in gains]
            gain = Summary.of(g["gain"] for g in gains)
            span = Summary.of(g["range"] for g, counts in zip(gains, ranged, strict=True) if counts)
            ratios = []
            for path in dict.fromkeys(walked):
                of = [g for g, its, counts in zip(gains, walked, ranged, strict=True) if counts and its == path]
                if of:
                    ratios.append(sum(g["gain"] for g in of) / sum(g["range"] for g in of))
            entries[metric] = {"gain": gain, "range": span, "nmr": Summary.of(ratios).mean}
        families[family] = {"metrics": entries, "nmr": Summary.of(e["nmr"] for e in entries.values()).mean}
    rest = {name: Summary.of(s[name] for s in systems) for name in ("mirror_psnr", "mirror_ssim", "psnr_c", "ssim_c")}
    return {"families": families, "nmr": Summary.of(f["nmr"] for f in families.values()).mean, **rest}


def _scored(frames: Tensor, pairs: Sequence[tuple[int, int]], score: Score, *, block: int = 16) -> list[float]:
    """Block by block: a pair of 704x1280 pictures is 20 MB as floats."""
    values: list[float] = []
    for start in range(0, len(pairs), block):
        earlier, later = torch.tensor(pairs[start : start + block]).unbind(1)
        values += score(frames[earlier].float() / 255, frames[later].float() / 255)
    return values


def _trajectory(camera: Camera, metres: float) -> str:
    """What rollouts along the same commanded path have in common: its poses from the first on, to the millimetre."""
    relative = camera.to(torch.float64).relative_to(camera[0].to(torch.float64)).c2w.clone()
    relative[:, :3, 3] *= metres
    whole = (1000 * relative).round().long()
    return hashlib.blake2b(whole.cpu().numpy().tobytes(), digest_size=8).hexdigest()


def _mirrored(camera: Camera) -> bool:
    return _close(Camera(camera.c2w.flip(0), camera.intrinsics), camera)


def _close(a: Camera, b: Camera) -> bool:
    """Within 1 % of the path's reach (or 1 mm) and 1 degree."""
    reach = float((b.center - b.center[:1]).norm(dim=-1).amax())
    apart = float((a.center - b.center).norm(dim=-1).amax())
    turned = rotation_angle(a.c2w[:, :3, :3].transpose(-1, -2) @ b.c2w[:, :3, :3]).amax()
    return apart <= max(0.01 * reach, 1e-3) and float(turned) <= 1.0


def _scikit_image() -> tuple[Any, Any, Any]:
    with optional("skimage", wanted="the score of local matches (appearance alone does without)"):
        from skimage import feature, measure, transform  # slow to import
    return feature, measure, transform
