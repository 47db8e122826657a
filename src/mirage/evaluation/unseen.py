"""Newly generated regions: does the picture move as the camera does, and do they look like the scene?

    camera     motion between two generated frames, against the commanded one; see unseen_camera.py
    floor      the same on the true frames and depth, in the same places: the estimator's own error
    frozen     the same on a picture that stands still, which is wrong by the commanded motion
    detail     how steep the pixels are there, as a share of the true frames' steepness; low: blurred
    latents    Frechet distance of the cells' latents to the true ones: our own measure, comparable only with itself

"Unseen" are cells that no true view of an earlier chunk showed and that the memory did not know. `F` video frames, `T`
latent frames, `C` latent channels, `h w` latent grid, `H W` pixels.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import interpolate, pad

from mirage.chunks import TIME_STRIDE
from mirage.errors import InputError
from mirage.evaluation.metrics import frechet_distance
from mirage.evaluation.options import SEEDS, Subject, UnseenOptions
from mirage.evaluation.report import Summary, markdown_table
from mirage.evaluation.runner import Progress, Task, run_tasks, write_results
from mirage.evaluation.truth import GroundTruth, seen_cells, to_pixels
from mirage.evaluation.unseen_camera import camera_table, motion_pairs, move_table, summarise
from mirage.evaluation.variants import MakeSession, session_maker
from mirage.evaluation.walk import subject_of
from mirage.files import replacing
from mirage.formats.image import save_image
from mirage.formats.picture import contact_sheet
from mirage.formats.source import read_npz
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.trajectory import pan
from mirage.models.world import WorldModel
from mirage.scenes import Scene
from mirage.scenes.doors import has_door, through_door

FLOOR, FROZEN = "true frames (floor)", "frozen picture (control)"
TRUE, BLURRED = "true", "blurred control (16 x 16 means of the true frames)"
_CELLS = 3000  # of each walk whose latents are kept
_TURN = 35 / 32  # degrees per frame of a pan


MOVES: dict[str, Callable[[Scene, int], Camera]] = {
    "pan": lambda scene, frames: pan(
        scene.path("pan_and_return", 1)[0], frames, degrees=(frames - 1) * (_TURN if scene.seed % 2 else -_TURN)
    ),
    "back": lambda scene, frames: scene.path("walk", frames)[torch.arange(frames).flip(0)],
    "orbit": lambda scene, frames: scene.path("orbit", 2 * frames - 1)[:frames],
    "through_door": through_door,
}
"""Ways into regions that were not seen: turning on the spot, walking backwards, half-way round a loop, into the next
room."""


def run_unseen(
    model: WorldModel, options: UnseenOptions, *, name: str = "", progress: Progress | None = None
) -> dict[str, Any]:
    """`evaluate_unseen` of a model, at its own size and chunk length; `name` is the model's, for the record."""
    return evaluate_unseen(
        session_maker(model, options.memories, steps=options.steps),
        options,
        subject=subject_of(model, name, options.steps),
        encode=lambda frames: model.encode(frames).float().cpu(),
        progress=progress,
    )


def evaluate_unseen(
    make_session: MakeSession,
    options: UnseenOptions,
    *,
    subject: Subject,
    encode: Callable[[Tensor], Tensor],
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Walk every scene with every memory; writes results.json, report.md, and per scene a contact sheet and its cells.

    Returns {"camera": {MEMORY, `FLOOR` or `FROZEN`: {"by_gap": {FRAMES: errors}, "by_move": {MOVE: errors},
    "per_chunk": errors}}, "detail": {WHAT: Summary over walks}, "latents": {WHAT: {"distance", "cells"}}, "tasks",
    "failures"}; for `errors` see `unseen_camera`.
    `encode`: frames [F,3,H,W] -> latents [1+T,C,h,w].
    """
    _check_gaps(options.gaps, subject.chunk_frames)
    frames = 1 + options.chunks * (subject.chunk_frames - 1)

    def work(seed: int, move: str) -> Callable[[Path], dict[str, Any]]:
        def walk(folder: Path) -> dict[str, Any]:
            scene = Scene.sample(seed)
            truth = GroundTruth.of(scene, move, MOVES[move](scene, frames), size=subject.size)
            return score_unseen(
                truth,
                make_session,
                options.memories,
                chunk_frames=subject.chunk_frames,
                gaps=options.gaps,
                encode=encode,
                folder=folder,
            )

        return walk

    tasks = [Task(f"scene-{seed:06d}-{move}", work(seed, move)) for seed, move in _draws(options)]
    outcome = run_tasks(tasks, options.out, options=options.record() | subject.record(), progress=progress)
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


def _depth(truth: GroundTruth, written: Sequence[DepthMap]) -> DepthMap:
    """[1+T,h,w] of a walk, from that of its chunks; the image's own is the true one, and never looked at."""
    height, width = written[0].shape[-2:]
    return DepthMap.concatenate([truth.depth[:1].resized((height, width)), *(one.to("cpu") for one in written)])


def steepness(video: Tensor, area: Tensor) -> float | None:
    """Mean absolute difference of neighbouring pixels, across and down, of a video [F,3,H,W] where both lie in its
    `area` bool [F,H,W]; None where there are no such."""
    found = []
    for along in (-1, -2):
        size = video.shape[along] - 1
        steps = (video.narrow(along, 1, size) - video.narrow(along, 0, size)).abs().mean(dim=1)
        found.append(steps[area.narrow(along, 1, size) & area.narrow(along, 0, size)])
    together = torch.cat(found)
    return float(together.mean()) if len(together) else None


def details(results: Sequence[Mapping[str, Any]]) -> dict[str, Summary]:
    """Steepness of every kind of frames as a share of the true ones', over walks."""
    names = [name for name in (results[0]["detail"] if results else ()) if name != TRUE]
    walks = [walk["detail"] for walk in results if walk["detail"][TRUE]]
    return {name: Summary.of(walk[name] / walk[TRUE] for walk in walks) for name in names}


def distances(walks: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    """Of cells {WHAT: [n,C]} walk by walk: Frechet distance of each to the true ones, all walks together. Beside it
    what it is between two halves of the true cells (floor), and between the true cells of every other walk and the
    rest (other scenes: what a difference of content alone makes)."""
    if not walks:
        return {}
    together = {name: torch.cat([walk[name] for walk in walks]) for name in walks[0]}
    true = together.pop(TRUE)
    mixed = true[torch.randperm(len(true), generator=torch.Generator().manual_seed(0))]
    found = {name: _distance(cells, true) for name, cells in together.items()}
    found["true, halves (floor)"] = _distance(mixed[0::2], mixed[1::2])
    if len(walks) > 1:
        even, odd = (torch.cat([walk[TRUE] for walk in walks[start::2]]) for start in (0, 1))
        found["true, other scenes"] = _distance(even, odd)
    return found


def detail_table(detail: Mapping[str, Summary]) -> str:
    """One row per kind of frames."""
    rows = [{"frames": name, "steepness, of the true frames'": share} for name, share in detail.items()]
    return markdown_table(rows, columns=None if rows else ["frames"])


def latents_table(latents: Mapping[str, Any]) -> str:
    """One row per kind of frames; smaller is more alike."""
    rows = [{"against true cells": name, **entry} for name, entry in latents.items()]
    return markdown_table(rows, columns=None if rows else ["against true cells"])


def _draws(options: UnseenOptions) -> Iterator[tuple[int, str]]:
    """(seed, move): moves in turn, scenes from the seed on; where a door is needed, those without one are left out."""
    seed = options.seed * SEEDS
    for number in range(options.scenes):
        move = options.moves[number % len(options.moves)]
        while move == "through_door" and not has_door(Scene.sample(seed)):
            seed += 1
        yield seed, move
        seed += 1


def _check_gaps(gaps: Sequence[int], chunk_frames: int) -> None:
    """Against the length of the model's chunks, and to where there is depth."""
    most = (chunk_frames - 1) // 2
    if max(gaps) > most or any(gap % TIME_STRIDE for gap in gaps):
        raise InputError(
            f"gaps are multiples of {TIME_STRIDE} up to {most} frames, so that a chunk holds two; got {list(gaps)}"
        )


def _cells(latents: Tensor, unseen: Tensor) -> Tensor:
    """Of latents [1+T,C,h,w] the cells unseen [T,h,w], at most `_CELLS` of them, spread evenly: [n,C]."""
    cells = rearrange(latents[1:], "t c h w -> t h w c")[unseen]
    return cells[torch.linspace(0, len(cells) - 1, min(len(cells), _CELLS)).long()]


def _save_cells(folder: Path, cells: Mapping[str, Tensor]) -> None:
    arrays: dict[str, Any] = {name: some.half().numpy() for name, some in cells.items()}
    with replacing(folder / "cells.npz") as beside, beside.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _load_cells(folder: Path) -> dict[str, Tensor]:
    stored = read_npz(folder / "cells.npz", accepts="the cells of a task that is done")
    return {name: torch.from_numpy(cells.astype(np.float32)) for name, cells in stored.items()}


def _distance(cells: Tensor, true: Tensor) -> dict[str, Any]:
    """None where there are not more cells than channels."""
    enough = min(len(cells), len(true)) > cells.shape[1]
    return {"distance": frechet_distance(cells, true) if enough else None, "cells": len(cells)}
