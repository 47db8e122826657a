"""Held-out procedural scenes, where the truth is known: what does a walk keep, chunk by chunk, and on return?

`F` video frames, `T` latent frames after the first (latent k covers frames 4k-3..4k), `H W` pixels, `h w` latent grid.
Every memory walks the same paths in the same scenes from the same first image; the true views stand beside it, and:
    controls    a picture that never changes (the first one; the walk's last one); a walk that stops half-way
    ceiling     the true video through the autoencoder: nothing that is decoded can score more
    seen        pixels that, by the truth, an earlier chunk's views showed: the same pixels for every memory
    return      the end of the path, where it is the pose it began in; `visits`: every time that it comes back to it
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mirage.evaluation.folder import save_rollout
from mirage.evaluation.metrics import depth_errors, psnr, ssim
from mirage.evaluation.options import SEEDS, Subject, SyntheticOptions
from mirage.evaluation.report import Summary
from mirage.evaluation.revisit import APPEARANCE, closed_loop, controls, memory_gain, revisit_pairs, score_families
from mirage.evaluation.runner import Progress, Task, run_tasks, write_results
from mirage.evaluation.synthetic_tables import CEILING, chunk_table, summarise, synthetic_table, visit_table
from mirage.evaluation.truth import GroundTruth, returned, seen_pixels, visits
from mirage.evaluation.variants import VARIANTS, MakeSession, Step, Variant, session_maker
from mirage.evaluation.walk import subject_of
from mirage.formats.image import save_image
from mirage.formats.picture import contact_sheet
from mirage.models.world import WorldModel


def run_synthetic(
    model: WorldModel,
    options: SyntheticOptions,
    *,
    name: str = "",
    variants: Mapping[str, Variant] = VARIANTS,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """`evaluate_synthetic` of a model, at its own size and chunk length; `name` is the model's, for the record."""
    make = session_maker(model, options.memories, steps=options.steps, variants=variants)

    def through(frames: Tensor) -> Tensor:
        return model.decode(model.encode(frames)).float().cpu()

    return evaluate_synthetic(
        make, options, subject=subject_of(model, name, options.steps), codec=through, progress=progress
    )


def evaluate_synthetic(
    make_session: MakeSession,
    options: SyntheticOptions,
    *,
    subject: Subject,
    codec: Callable[[Tensor], Tensor] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Walk every scene with every memory; writes results.json, report.md and a contact sheet per scene.

    Returns {"return": {MEMORY: {psnr, ssim, n, spread}}, "seen": {... and by_chunk}, "controls": {NAME: {psnr, ssim, n,
    spread, all on return; seen, nmr, psnr_c}}, "ceiling": the same, "depth_absrel_by_chunk": {MEMORY: [...]},
    "coverage_by_chunk", "memory_bytes_by_chunk", "nmr": {MEMORY: ...}, "psnr_c", "gain_over_none": {MEMORY: paired
    difference on return}, "visits": {MEMORY, CONTROL or CEILING: [{chunk, psnr, spread, n}, ...]}, one for each return
    to the first pose, "tasks", "failures"}.
    `codec`: frames [F,3,H,W] -> the same through the autoencoder.
    """
    frames = 1 + options.chunks * (subject.chunk_frames - 1)

    def work(seed: int, kind: str) -> Callable[[Path], dict[str, Any]]:
        def walk(folder: Path) -> dict[str, Any]:
            truth = GroundTruth.sample(seed, kind, frames=frames, size=subject.size, moving=options.moving)
            return score_scene(
                truth,
                make_session,
                options.memories,
                chunk_frames=subject.chunk_frames,
                codec=codec,
                folder=folder,
                keep=options.keep_frames,
            )

        return walk

    tasks = []
    for number in range(options.scenes):
        seed, kind = options.seed * SEEDS + number, options.kinds[number % len(options.kinds)]
        tasks.append(Task(f"scene-{seed:06d}-{kind}", work(seed, kind)))
    outcome = run_tasks(tasks, options.out, options=options.record() | subject.record(), progress=progress)
    summary = summarise(list(outcome.results.values()), options.memories)
    return write_results(
        options.out,
        outcome,
        summary,
        title="Synthetic scenes",
        tables={
            "Return and seen regions": synthetic_table(summary),
            "By chunk": chunk_table(summary),
            "Each return": visit_table(summary),
        },
    )


def score_scene(
    truth: GroundTruth,
    make_session: MakeSession,
    memories: Sequence[str],
    *,
    chunk_frames: int,
    codec: Callable[[Tensor], Tensor] | None = None,
    folder: Path | None = None,
    keep: bool = False,
) -> dict[str, Any]:
    """Every memory's walk through one scene, the controls (made from the first memory's walk) and the ceiling.
    `folder`: where a contact sheet is left, and with `keep` a rollout per memory."""
    walks = {name: list(make_session(name, truth).follow(truth.path)) for name in memories}
    videos = {name: torch.cat([chunk.frames.float().cpu() for chunk in chunks]) for name, chunks in walks.items()}
    for name, video in videos.items():
        if video.shape != truth.frames.shape:
            raise ValueError(f"{name} made frames {list(video.shape)} of a walk of {list(truth.frames.shape)}")
    mask = walks[memories[0]][0].readout.mask
    seen = seen_pixels(truth, (mask.shape[-2], mask.shape[-1]), chunk_frames=chunk_frames)
    others = dict(controls(videos[memories[0]]))
    if codec is not None:
        others[CEILING] = codec(truth.frames)
    if folder is not None:
        rows = {"true": truth.frames, **videos, **others}
        save_image(folder / "sheet.png", contact_sheet(rows, columns=9, title=f"scene {truth.seed}, {truth.kind}"))
    if folder is not None and keep:
        for name, video in videos.items():
            known = torch.cat([chunk.readout.mask.cpu() for chunk in walks[name]])
            save_rollout(folder / name.replace(", ", "-").replace(" ", "-"), video, truth.path, known=known)
    scores = {
        name: {**score_video(truth, video, seen, chunk_frames=chunk_frames), **_state(truth, walks[name])}
        for name, video in videos.items()
    }
    return {
        "seed": truth.seed,
        "kind": truth.kind,
        "caption": truth.caption,
        "seen": float(seen.float().mean()),
        "memories": scores,
        "others": {name: score_video(truth, video, seen, chunk_frames=chunk_frames) for name, video in others.items()},
    }


def score_video(truth: GroundTruth, video: Tensor, seen: Tensor, *, chunk_frames: int) -> dict[str, Any]:
    """A video [F,3,H,W] against the true one; `seen` [F-1,H,W] as `seen_pixels` has it."""
    new = chunk_frames - 1
    quality = psnr(video, truth.frames)[1:]
    seen_psnr, seen_ssim = psnr(video[1:], truth.frames[1:], mask=seen), ssim(video[1:], truth.frames[1:], mask=seen)
    back = returned(truth.path)
    pairs = revisit_pairs(truth.path, rule="paper")  # as all figures of this benchmark were measured
    quantised = (video * 255).round().to(torch.uint8)
    return {
        "return_psnr": Summary.of(psnr(video[back], truth.frames[back]).tolist()).mean,
        "return_ssim": Summary.of(ssim(video[back], truth.frames[back]).tolist()).mean,
        "psnr": Summary.of(quality.tolist()).mean,
        "seen_psnr": Summary.of(seen_psnr.tolist()).mean,
        "seen_ssim": Summary.of(seen_ssim.tolist()).mean,
        "psnr_by_chunk": [Summary.of(part.tolist()).mean for part in quality.split(new)],
        "seen_psnr_by_chunk": [Summary.of(part.tolist()).mean for part in seen_psnr.split(new)],
        "visits": [
            {
                "chunk": -(-int(at[len(at) // 2]) // new),
                "psnr": Summary.of(psnr(video[at], truth.frames[at]).tolist()).mean,
            }
            for at in visits(truth.path)
        ],
        "gain": {
            name: memory_gain(quantised, pairs, score)
            for name, score in score_families(geometry=False)[APPEARANCE].items()
        },
        **closed_loop(quantised, truth.path),
    }


def _state(truth: GroundTruth, chunks: Sequence[Step]) -> dict[str, Any]:
    """What the memory knew and how good the walk's own depth was, chunk by chunk."""
    absrel, at = [], 0
    for chunk in chunks:
        count = len(chunk.readout.mask)
        depth = chunk.depth[len(chunk.depth) - count :]
        true = truth.depth[1 + at : 1 + at + count].resized((depth.shape[-2], depth.shape[-1]))
        absrel.append(depth_errors(depth.to("cpu"), true).absrel)
        at += count
    return {
        "depth_absrel_by_chunk": absrel,
        "coverage_by_chunk": [float(chunk.readout.mask.float().mean()) for chunk in chunks],
        "memory_bytes_by_chunk": [chunk.memory_bytes for chunk in chunks],
    }
