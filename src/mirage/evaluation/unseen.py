"""Where nothing was seen: does the picture move as the camera does, and is what is made up like the world?

    camera     motion between two generated frames, found in their pixels (motion.py) and in the depth that the walk
               itself has written, against the commanded one
    floor      the same on the true frames and depth, in the same places: what the estimator itself is off by
    frozen     the same on a picture that stands still, which is wrong by the commanded motion
    detail     how steep the pixels are there, as a share of the true frames' steepness: blur is flat
    latents    Frechet distance of the cells' latents to the true ones: our own measure, comparable only with itself

"Unseen" are cells that no true view of an earlier chunk showed and that the memory did not know. `F` video frames, `T`
latent frames, `C` latent channels, `h w` latent grid, `H W` pixels.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import interpolate, normalize, pad

from mirage.chunks import TIME_STRIDE
from mirage.errors import InputError
from mirage.evaluation.metrics import frechet_distance
from mirage.evaluation.motion import Drift, Motion, camera_motion, find_matches, rotation_drift
from mirage.evaluation.report import Summary, markdown_table
from mirage.evaluation.runner import Task, run_tasks, write_results
from mirage.evaluation.synthetic import (
    SEEDS,
    GroundTruth,
    MakeSession,
    check_draw,
    seen_cells,
    session_maker,
    to_pixels,
)
from mirage.files import replacing
from mirage.formats.image import save_image
from mirage.formats.picture import contact_sheet
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.pose import invert, rotation_angle
from mirage.geometry.trajectory import pan
from mirage.models.world import WorldModel
from mirage.scenes import Scene
from mirage.scenes.doors import has_door, through_door

FLOOR, FROZEN = "true frames (floor)", "frozen picture (control)"
TRUE, BLURRED = "true", "blurred truth (16 x 16 means of the true frames)"
BAR = 2.0  # degrees: a rotation error up to here counts as following the camera
_LEAST_AREA = 0.05  # of the picture must be unseen in both frames of a pair
_STANDS, _MOVES = 0.02, 0.05  # metres between two frames: below, only turning is fitted; from here, a direction is told
_CELLS = 3000  # of each walk whose latents are kept
_TURN = 35 / 32  # degrees per frame of a pan


@dataclass(frozen=True)
class UnseenOptions:
    """`worlds` walks from `seed`, one of `moves` after the other, `chunks` chunks each, by every one of `memories`
    (names of `synthetic.VARIANTS`); motion is measured between frames `gaps` apart. `model` names what is measured, for
    the record; `size` (H, W) and `chunk_frames` are the model's."""

    out: Path
    scenes: int = 12
    chunks: int = 2
    seed: int = 0
    memories: tuple[str, ...] = ("latent", "latent, no rays")
    moves: tuple[str, ...] = ("pan", "back", "orbit", "through_door")
    gaps: tuple[int, ...] = (4, 8)
    size: tuple[int, int] = (192, 256)
    chunk_frames: int = 33
    model: str = ""


MOVES: dict[str, Callable[[Scene, int], Camera]] = {
    "pan": lambda scene, frames: pan(
        scene.path("pan_and_return", 1)[0], frames, degrees=(frames - 1) * (_TURN if scene.seed % 2 else -_TURN)
    ),
    "back": lambda scene, frames: scene.path("walk", frames)[torch.arange(frames).flip(0)],
    "orbit": lambda scene, frames: scene.path("orbit", 2 * frames - 1)[:frames],
    "through_door": through_door,
}
"""Ways into what was not seen: turning on the spot, walking backwards, half-way round a loop, into the next room."""


def run_unseen(
    model: WorldModel,
    options: UnseenOptions,
    *,
    steps: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """`evaluate_unseen` for a world model, at its own size and chunk length."""
    options = replace(
        options,
        size=model.size,
        chunk_frames=model.chunk_frames,
        model=f"{options.model} steps={steps or model.sampler.steps}",
    )
    return evaluate_unseen(
        session_maker(model, options.memories, steps=steps),
        options,
        encode=lambda frames: model.encode(frames).float().cpu(),
        progress=progress,
    )


def evaluate_unseen(
    make_session: MakeSession,
    options: UnseenOptions,
    *,
    encode: Callable[[Tensor], Tensor],
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Walk every world with every memory; writes results.json, report.md, and per world a contact sheet and its cells.

    Returns {"camera": {MEMORY, `FLOOR` or `FROZEN`: {"by_gap": {FRAMES: errors}, "by_move": {MOVE: errors},
    "per_chunk": errors}}, "detail": {WHAT: Summary over walks}, "latents": {WHAT: {"distance", "cells"}}, "tasks",
    "failures"}; for `errors` see `_errors`.
    `encode`: frames [F,3,H,W] -> latents [1+T,C,h,w].
    """
    check(options)
    _check_gaps(options)
    frames = 1 + options.chunks * (options.chunk_frames - 1)

    def work(seed: int, move: str) -> Callable[[Path], dict[str, Any]]:
        def walk(folder: Path) -> dict[str, Any]:
            scene = Scene.sample(seed)
            truth = GroundTruth.of(scene, move, MOVES[move](scene, frames), size=options.size)
            return score_unseen(
                truth,
                make_session,
                options.memories,
                chunk_frames=options.chunk_frames,
                gaps=options.gaps,
                encode=encode,
                folder=folder,
            )

        return walk

    tasks = [Task(f"scene-{seed:06d}-{move}", work(seed, move)) for seed, move in _draws(options)]
    asked = {name: value for name, value in asdict(options).items() if name not in ("out", "scenes")}
    outcome = run_tasks(tasks, options.out, options=asked, progress=progress)
    cells = {name: _load_cells(options.out / name) for name in outcome.results}
    results = list(outcome.results.values())
    summary = {"camera": summarise(results), "detail": details(results), "latents": distances(list(cells.values()))}
    return write_results(
        options.out,
        outcome,
        summary,
        title="Unseen regions",
        tables={
            "Camera": camera_table(summary["camera"]),
            "Camera, by move": move_table(summary["camera"], min(options.gaps)),
            "Detail": detail_table(summary["detail"]),
            "Latents (our own Frechet distance)": latents_table(summary["latents"]),
        },
    )


def score_unseen(
    truth: GroundTruth,
    make_session: MakeSession,
    memories: Sequence[str],
    *,
    chunk_frames: int,
    gaps: Sequence[int],
    encode: Callable[[Tensor], Tensor],
    folder: Path,
) -> dict[str, Any]:
    """Every memory's walk through one scene: the motion of its pairs of frames, and the latents of what was unseen,
    which are left in `folder` with a contact sheet."""
    videos, unknown, depths = {}, {}, {}
    for name in memories:
        chunks = list(make_session(name, truth).follow(truth.path))
        depths[name] = _depth(truth, [chunk.depth for chunk in chunks])
        videos[name] = torch.cat([chunk.frames.float().cpu() for chunk in chunks])
        unknown[name] = ~torch.cat([chunk.readout.mask.cpu() for chunk in chunks])
    grid = unknown[memories[0]].shape[-2:]
    unseen = ~seen_cells(truth, (grid[0], grid[1]), chunk_frames=chunk_frames)
    size = truth.frames.shape[-2:]
    areas = {name: pad(to_pixels(cells & unseen, size), (0, 0, 0, 0, 1, 0)) for name, cells in unknown.items()}

    blurred = interpolate(interpolate(truth.frames, scale_factor=1 / 16, mode="area"), tuple(size), mode="bilinear")
    seen_as = {TRUE: truth.frames, BLURRED: blurred, **videos}
    _save_cells(folder, {name: _cells(encode(video), unseen) for name, video in seen_as.items()})
    area = pad(to_pixels(unseen, size), (0, 0, 0, 0, 1, 0))
    detail = {name: steepness(video, area) for name, video in seen_as.items()}
    shown = {f"{name}, unseen": torch.where(areas[name][:, None], video, 0.5) for name, video in videos.items()}
    rows = {TRUE: truth.frames, **videos, **shown}
    save_image(folder / "sheet.png", contact_sheet(rows, columns=9, title=f"scene {truth.seed}, {truth.kind}"))
    motions = {
        name: motion_pairs(video, truth.path, areas[name], depths[name], chunk_frames=chunk_frames, gaps=gaps)
        for name, video in videos.items()
    }
    once = torch.zeros(len(truth.depth), dtype=torch.long)
    frozen = truth.frames[:1].expand_as(truth.frames)
    for name, video, depth in ((FLOOR, truth.frames, truth.depth), (FROZEN, frozen, truth.depth[once])):
        motions[name] = motion_pairs(video, truth.path, areas[memories[0]], depth, chunk_frames=chunk_frames, gaps=gaps)
    return {
        "seed": truth.seed,
        "move": truth.kind,
        "unseen": float(unseen.float().mean()),
        "camera": motions,
        "detail": detail,
    }


def motion_pairs(
    video: Tensor, path: Camera, area: Tensor, depth: DepthMap, *, chunk_frames: int, gaps: Sequence[int]
) -> dict[str, list[dict[str, Any]]]:
    """Of a video [F,3,H,W] along `path` [F], in its `area` bool [F,H,W], with the `depth` [1+T] of frames 0, 4, ...:
    {"pairs": one entry per pair of frames whose area is large enough, "chunks": one per chunk that has such, what all
    its pairs say of its turning together (`motion.rotation_drift`)}.

    An entry: `chunk`, `first`, `frames` (from there on), `commanded` degrees, `baseline` metres; `rotation_error` and
    `direction_error` in degrees, None where the pixels do not tell (and the direction where the camera hardly moved).
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
        told = []
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
                told.append((found, true, gap))
        if large:
            chunks.append({"chunk": number, **_drifted(rotation_drift(told), path, start, stop - 1)})
    return {"pairs": pairs, "chunks": chunks}


def _depth(truth: GroundTruth, written: Sequence[DepthMap]) -> DepthMap:
    """[1+T,h,w] of a walk, from that of its chunks; the image's own is the true one, and never looked at."""
    height, width = written[0].shape[-2:]
    return DepthMap.concatenate([truth.depth[:1].resized((height, width)), *(one.to("cpu") for one in written)])


def summarise(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Over all walks, by memory; see `evaluate_unseen`."""
    told = {}
    for name in results[0]["camera"] if results else ():
        walks = [(result["move"], result["camera"][name]) for result in results]
        pairs = [(move, pair) for move, walk in walks for pair in walk["pairs"]]
        least = min((pair["frames"] for _, pair in pairs), default=0)
        told[name] = {
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
    return told


def steepness(video: Tensor, area: Tensor) -> float | None:
    """Mean absolute difference of neighbouring pixels, across and down, of a video [F,3,H,W] where both lie in its
    `area` bool [F,H,W]; None where there are no such."""
    told = []
    for along in (-1, -2):
        size = video.shape[along] - 1
        steps = (video.narrow(along, 1, size) - video.narrow(along, 0, size)).abs().mean(dim=1)
        told.append(steps[area.narrow(along, 1, size) & area.narrow(along, 0, size)])
    together = torch.cat(told)
    return float(together.mean()) if len(together) else None


def details(results: Sequence[Mapping[str, Any]]) -> dict[str, Summary]:
    """Steepness of every kind of frames as a share of the true ones', over walks."""
    names = [name for name in (results[0]["detail"] if results else ()) if name != TRUE]
    walks = [walk["detail"] for walk in results if walk["detail"][TRUE]]
    return {name: Summary.of(walk[name] / walk[TRUE] for walk in walks) for name in names}


def distances(walks: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    """Of cells {WHAT: [n,C]} walk by walk: Frechet distance of each to the true ones, all walks together. Beside it
    what it is between two halves of the true cells (floor), and between the true cells of every other walk and the
    rest (other worlds: what a difference of content alone makes)."""
    if not walks:
        return {}
    together = {name: torch.cat([walk[name] for walk in walks]) for name in walks[0]}
    true = together.pop(TRUE)
    mixed = true[torch.randperm(len(true), generator=torch.Generator().manual_seed(0))]
    told = {name: _distance(cells, true) for name, cells in together.items()}
    told["true, halves (floor)"] = _distance(mixed[0::2], mixed[1::2])
    if len(walks) > 1:
        even, odd = (torch.cat([walk[TRUE] for walk in walks[start::2]]) for start in (0, 1))
        told["true, other worlds"] = _distance(even, odd)
    return told


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
        f"rotation. `within {BAR:g}`: share of all pairs, where one whose motion could not be told counts as not.\n"
    )


def move_table(camera: Mapping[str, Any], gap: int) -> str:
    """One row per memory and move, frames `gap` apart."""
    rows = [
        {"memory": name, "move": move, **_columns(errors)}
        for name, entry in camera.items()
        for move, errors in entry["by_move"].items()
    ]
    return markdown_table(rows, columns=None if rows else ["memory"]) + f"\nFrames {gap} apart.\n"


def detail_table(detail: Mapping[str, Summary]) -> str:
    """One row per kind of frames."""
    rows = [{"frames": name, "steepness, of the true frames'": share} for name, share in detail.items()]
    return markdown_table(rows, columns=None if rows else ["frames"])


def latents_table(latents: Mapping[str, Any]) -> str:
    """One row per kind of frames; smaller is more alike."""
    rows = [{"against true cells": name, **entry} for name, entry in latents.items()]
    return markdown_table(rows, columns=None if rows else ["against true cells"])


# -- camera -------------------------------------------------------------------------------------------------------


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
    told = {"frames": frames, **_commanded(_relative(path, first, last)), "direction_error": None}
    if found is None:
        return {**told, "rotation_error": None}
    error = float(torch.rad2deg(found.turn.norm() * frames))
    return {**told, "rotation_error": error, "matches": found.matches, "inliers": found.inliers}


def _errors(entries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """{"rotation", "direction": {median, low, high (quartiles), n}; "still": median of the commanded rotation;
    "within": share of all that is not more than `BAR` off; "could_not": share that could not be told; "frames": mean
    length}."""
    entries = list(entries)
    off = [entry["rotation_error"] for entry in entries]
    told = [error for error in off if error is not None]
    count = max(len(entries), 1)
    return {
        "rotation": _quartiles(told),
        "direction": _quartiles([e["direction_error"] for e in entries if e["direction_error"] is not None]),
        "still": _quartiles([entry["commanded"] for entry in entries])["median"],
        "within": sum(error <= BAR for error in told) / count,
        "could_not": 1 - len(told) / count if entries else None,
        "frames": Summary.of(entry["frames"] for entry in entries).mean,
    }


def _quartiles(values: Sequence[float]) -> dict[str, Any]:
    if not values:
        return {"median": None, "low": None, "high": None, "n": 0}
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return {"median": middle, "low": low, "high": high, "n": len(values)}


def _columns(errors: Mapping[str, Any]) -> dict[str, Any]:
    def told(entry: Mapping[str, Any]) -> str:
        return f"{entry['median']:.2f} ({entry['low']:.2f} to {entry['high']:.2f})" if entry["n"] else "-"

    return {
        "rotation error": told(errors["rotation"]),
        "n": errors["rotation"]["n"],
        "could not": errors["could_not"],
        f"within {BAR:g}": errors["within"],
        "still": errors["still"],
        "direction error": told(errors["direction"]),
        "n (direction)": errors["direction"]["n"],
        "mean frames": errors["frames"],
    }


# -- latents ------------------------------------------------------------------------------------------------------


def _cells(latents: Tensor, unseen: Tensor) -> Tensor:
    """Of latents [1+T,C,h,w] the cells unseen [T,h,w], at most `_CELLS` of them, spread evenly: [n,C]."""
    cells = rearrange(latents[1:], "t c h w -> t h w c")[unseen]
    return cells[torch.linspace(0, len(cells) - 1, min(len(cells), _CELLS)).long()]


def _save_cells(folder: Path, cells: Mapping[str, Tensor]) -> None:
    arrays: dict[str, Any] = {name: some.half().numpy() for name, some in cells.items()}
    with replacing(folder / "cells.npz") as beside, beside.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _load_cells(folder: Path) -> dict[str, Tensor]:
    with np.load(folder / "cells.npz", allow_pickle=False) as stored:
        return {name: torch.from_numpy(stored[name]).float() for name in stored.files}


def _distance(cells: Tensor, true: Tensor) -> dict[str, Any]:
    """None where there are not more cells than channels."""
    enough = min(len(cells), len(true)) > cells.shape[1]
    return {"distance": frechet_distance(cells, true) if enough else None, "cells": len(cells)}


# -- options ------------------------------------------------------------------------------------------------------


def _draws(options: UnseenOptions) -> Iterator[tuple[int, str]]:
    """(seed, move): moves in turn, worlds from the seed on; where a door is needed, those without one are left out."""
    seed = options.seed * SEEDS
    for number in range(options.scenes):
        move = options.moves[number % len(options.moves)]
        while move == "through_door" and not has_door(Scene.sample(seed)):
            seed += 1
        yield seed, move
        seed += 1


def check(options: UnseenOptions) -> None:
    """`InputError` where the request cannot be met by any model."""
    check_draw(options.scenes, options.seed, most=SEEDS // 4)  # worlds without a door are passed over
    if options.chunks < 1:
        raise InputError(f"an evaluation has at least one chunk, got {options.chunks}")
    if not options.moves or not set(options.moves) <= set(MOVES):
        raise InputError(f"moves are {', '.join(MOVES)}; got {' '.join(options.moves)!r}")
    if not options.memories:
        raise InputError("an evaluation has at least one memory, got none")
    if not options.gaps or min(options.gaps) < 1:
        raise InputError(f"gaps are frames, one or more, got {list(options.gaps)}")


def _check_gaps(options: UnseenOptions) -> None:
    """Against the length of the model's chunks, and to where there is depth."""
    most = (options.chunk_frames - 1) // 2
    if max(options.gaps) > most or any(gap % TIME_STRIDE for gap in options.gaps):
        raise InputError(
            f"gaps are multiples of {TIME_STRIDE} up to {most} frames, so that a chunk holds two; "
            f"got {list(options.gaps)}"
        )
