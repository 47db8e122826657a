"""Does the picture move as the camera does, where nothing was seen before? Rotation and direction errors, in degrees.

Motion between two generated frames is found in their pixels (motion.py) and in the depth that the walk itself has
written, and set against the commanded one. `F` video frames, `T` latent frames, `H W` pixels.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mirage.chunks import TIME_STRIDE
from mirage.evaluation.motion import Drift, Motion, camera_motion, find_matches, rotation_drift
from mirage.evaluation.report import Summary, markdown_table
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.pose import invert, rotation_angle

BAR = 2.0  # degrees: a rotation error up to here counts as following the camera
_LEAST_AREA = 0.05  # of the picture must be unseen in both frames of a pair
_STANDS, _MOVES = 0.02, 0.05  # metres between two frames: below, only turning is fitted; from here, a direction too


def motion_pairs(
    video: Tensor, path: Camera, area: Tensor, depth: DepthMap, *, chunk_frames: int, gaps: Sequence[int]
) -> dict[str, list[dict[str, Any]]]:
    """Of a video [F,3,H,W] along `path` [F], in its `area` bool [F,H,W], with the `depth` [1+T] of frames 0, 4, ...:
    {"pairs": one entry per pair of frames whose area is large enough, "chunks": one per chunk that has such, what all
    its pairs say of its turning together (`motion.rotation_drift`)}.

    An entry: `chunk`, `first`, `frames` (from there on), `commanded` degrees, `baseline` metres; `rotation_error` and
    `direction_error` in degrees, None where the pixels do not show it (or, of a direction, the camera hardly moved).
    """
    pairs, chunks = [], []
    share = area.float().mean(dim=(1, 2))
    for number, start in enumerate(range(0, len(path) - 1, chunk_frames - 1)):
        stop = min(start + chunk_frames, len(path))
        large = [
            (first, gap)
            for gap in sorted(gaps)
            for first in range(start + gap, stop - gap, gap)
            if float(share[[first, first + gap]].min()) >= _LEAST_AREA
        ]
        found_all = []
        for first, gap in large:
            second, true = first + gap, _relative(path, first, first + gap)
            found = find_matches(
                video[first],
                video[second],
                path.intrinsics[first],
                where=(area[first], area[second]),
                depth=None if float(true[:3, 3].norm()) < _STANDS else depth[first // TIME_STRIDE],
            )
            motion = None if found is None else camera_motion(found)
            pairs.append({"chunk": number, "first": first, "frames": gap, **_commanded(true), **_off(motion, true)})
            if found is not None:
                found_all.append((found, true, gap))
        if large:
            chunks.append({"chunk": number, **_drifted(rotation_drift(found_all), path, start, stop - 1)})
    return {"pairs": pairs, "chunks": chunks}


def summarise(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Over all walks, by memory; see `unseen.evaluate_unseen`."""
    scores = {}
    for name in results[0]["camera"] if results else ():
        walks = [(result["move"], result["camera"][name]) for result in results]
        pairs = [(move, pair) for move, walk in walks for pair in walk["pairs"]]
        least = min((pair["frames"] for _, pair in pairs), default=0)
        scores[name] = {
            "by_gap": {
                gap: _errors(pair for _, pair in pairs if pair["frames"] == gap)
                for gap in sorted({pair["frames"] for _, pair in pairs})
            },
            "by_move": {
                move: _errors(pair for its, pair in pairs if its == move and pair["frames"] == least)
                for move in dict.fromkeys(move for move, _ in walks)
            },
            "per_chunk": _errors(chunk for _, walk in walks for chunk in walk["chunks"]),
        }
    return scores


def camera_table(camera: Mapping[str, Any]) -> str:
    """One row per memory and number of frames; degrees."""
    rows = [
        {"memory": name, "frames apart": gap, **_columns(errors)}
        for name, entry in camera.items()
        for gap, errors in entry["by_gap"].items()
    ]
    rows += [
        {"memory": name, "frames apart": "a chunk", **_columns(entry["per_chunk"])} for name, entry in camera.items()
    ]
    return markdown_table(rows, columns=None if rows else ["memory"]) + (
        "\nDegrees; median (quartiles). `still`: median error of a picture that does not move, which is the commanded "
        f"rotation. `within {BAR:g}`: share of all pairs, where one whose motion was not found counts as not.\n"
    )


def move_table(camera: Mapping[str, Any], gap: int) -> str:
    """One row per memory and move, frames `gap` apart."""
    rows = [
        {"memory": name, "move": move, **_columns(errors)}
        for name, entry in camera.items()
        for move, errors in entry["by_move"].items()
    ]
    return markdown_table(rows, columns=None if rows else ["memory"]) + f"\nFrames {gap} apart.\n"


def _relative(path: Camera, first: int, second: int) -> Tensor:
    """The second camera seen from the first: [4,4]."""
    c2w = path.c2w.double()
    return invert(c2w[first]) @ c2w[second]


def _commanded(true: Tensor) -> dict[str, float]:
    return {"commanded": float(rotation_angle(true[:3, :3])), "baseline": float(true[:3, 3].norm())}


def _off(found: Motion | None, true: Tensor) -> dict[str, Any]:
    """Errors of a motion found, in degrees."""
    if found is None:
        return {"rotation_error": None, "direction_error": None}
    direction = None
    if found.direction is not None and float(true[:3, 3].norm()) >= _MOVES:
        cosine = (found.direction * normalize(true[:3, 3], dim=0)).sum().clamp(-1, 1)
        direction = float(torch.rad2deg(torch.acos(cosine)))
    return {
        "rotation_error": float(rotation_angle(true[:3, :3].T @ found.rotation)),
        "direction_error": direction,
        "matches": found.matches,
        "inliers": found.inliers,
    }


def _drifted(found: Drift | None, path: Camera, first: int, last: int) -> dict[str, Any]:
    """What a drift comes to from one frame of the path to another."""
    frames = last - first
    known = {"frames": frames, **_commanded(_relative(path, first, last)), "direction_error": None}
    if found is None:
        return {**known, "rotation_error": None}
    error = float(torch.rad2deg(found.turn.norm() * frames))
    return {**known, "rotation_error": error, "matches": found.matches, "inliers": found.inliers}


def _errors(entries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """{"rotation", "direction": {median, low, high (quartiles), n}; "still": median of the commanded rotation;
    "within": share of all that is not more than `BAR` off; "could_not": share whose motion was not found; "frames":
    mean length}."""
    entries = list(entries)
    off = [entry["rotation_error"] for entry in entries]
    found = [error for error in off if error is not None]
    count = max(len(entries), 1)
    return {
        "rotation": _quartiles(found),
        "direction": _quartiles([e["direction_error"] for e in entries if e["direction_error"] is not None]),
        "still": _quartiles([entry["commanded"] for entry in entries])["median"],
        "within": sum(error <= BAR for error in found) / count,
        "could_not": 1 - len(found) / count if entries else None,
        "frames": Summary.of(entry["frames"] for entry in entries).mean,
    }


def _quartiles(values: Sequence[float]) -> dict[str, Any]:
    if not values:
        return {"median": None, "low": None, "high": None, "n": 0}
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return {"median": middle, "low": low, "high": high, "n": len(values)}


def _columns(errors: Mapping[str, Any]) -> dict[str, Any]:
    def spread(entry: Mapping[str, Any]) -> str:
        return f"{entry['median']:.2f} ({entry['low']:.2f} to {entry['high']:.2f})" if entry["n"] else "-"

    return {
        "rotation error": spread(errors["rotation"]),
        "n": errors["rotation"]["n"],
        "could not": errors["could_not"],
        f"within {BAR:g}": errors["within"],
        "still": errors["still"],
        "direction error": spread(errors["direction"]),
        "n (direction)": errors["direction"]["n"],
        "mean frames": errors["frames"],
    }
