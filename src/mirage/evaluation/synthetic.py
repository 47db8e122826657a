"""Held-out procedural worlds, where the truth is known: what does a walk keep, chunk by chunk, and on return?

`F` video frames, `T` latent frames after the first (latent k covers frames 4k-3..4k), `H W` pixels, `h w` latent grid.
Every memory walks the same paths in the same worlds from the same first image; the true views stand beside it, and:
    controls    a picture that never changes (the first one; the walk's last one); a walk that stops half-way
    ceiling     the true video through the autoencoder: nothing that is decoded can score more
    seen        pixels that, by the truth, an earlier chunk's views showed: the same pixels for every memory
    return      the end of the path, where it is the pose it began in; `visits`: every time that it comes back to it
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from einops import repeat
from torch import Tensor

from mirage.chunks import TIME_STRIDE, latent_count
from mirage.depth.protocol import DepthEstimator, Views
from mirage.errors import InputError
from mirage.evaluation.folder import save_rollout
from mirage.evaluation.metrics import depth_errors, psnr, ssim
from mirage.evaluation.report import Summary, markdown_table
from mirage.evaluation.revisit import (
    APPEARANCE,
    LEAST_RANGE,
    closed_loop,
    controls,
    memory_gain,
    revisit_pairs,
    score_families,
)
from mirage.evaluation.runner import Task, run_tasks, write_results
from mirage.formats.image import save_image
from mirage.formats.picture import contact_sheet
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.pose import rotation_angle
from mirage.memory import LatentSpatialMemory, MemoryPolicy, Readout
from mirage.memory.protocol import SpatialMemory
from mirage.models.world import WorldModel
from mirage.rollout.memories import MEMORIES, latent_memory
from mirage.rollout.session import Session
from mirage.rollout.settings import Settings
from mirage.sampler import Sampler
from mirage.scenes import EVERY_KIND, HELD_OUT, Scene

CEILING = "autoencoder"
BASELINE = "none"
SEEDS = 1000  # worlds per seed of an evaluation, so that two seeds share none


@dataclass(frozen=True)
class SyntheticOptions:
    """`worlds` scenes from `seed`, one path kind after the other, `chunks` chunks each. `model` names what is measured,
    for the record; `size` (H, W) and `chunk_frames` are the model's. `keep`: leave every walk as a rollout folder too
    (frames, cameras), to be scored by `evaluation.revisit`."""

    out: Path
    scenes: int = 20
    chunks: int = 4
    seed: int = 0
    memories: tuple[str, ...] = ("latent", "rgb", "frames", "none")
    kinds: tuple[str, ...] = ("there_and_back", "orbit", "pan_and_return")
    size: tuple[int, int] = (192, 256)
    chunk_frames: int = 33
    moving: bool = False
    keep: bool = False
    model: str = ""


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """A walk as it truly is: `frames` [F,3,H,W] in [0, 1], `depth` [1+T,H,W] of frames 0, 4, 8, ..., `path` [F]."""

    seed: int
    kind: str
    caption: str
    frames: Tensor
    depth: DepthMap
    path: Camera

    @classmethod
    def sample(cls, seed: int, kind: str, *, frames: int, size: tuple[int, int], moving: bool = False) -> "GroundTruth":
        """The scene of a held-out seed."""
        if not 0 <= seed < HELD_OUT:
            raise InputError(f"held-out scenes have seeds 0 to {HELD_OUT - 1}, never trained on; got {seed}")
        scene = Scene.sample(seed, moving=moving)
        return cls.of(scene, kind, scene.path(kind, frames, seed=seed), size=size)

    @classmethod
    def of(cls, scene: Scene, kind: str, path: Camera, *, size: tuple[int, int]) -> "GroundTruth":
        """A world as it is seen along a path."""
        view = scene.render(path, size)
        return cls(scene.seed, kind, scene.caption, view.rgb, view.depth[::TIME_STRIDE], path)


class Step(Protocol):
    """What is looked at of a `rollout.Chunk`."""

    @property
    def frames(self) -> Tensor: ...
    @property
    def readout(self) -> Readout: ...
    @property
    def depth(self) -> DepthMap: ...
    @property
    def memory_bytes(self) -> int: ...


class Walker(Protocol):
    """A `rollout.Session`, or a stand-in."""

    def follow(self, path: Camera) -> Iterable[Step]: ...


MakeSession = Callable[[str, GroundTruth], Walker]
"""The name of a memory and a scene -> a session that stands at the scene's first camera."""


@dataclass(frozen=True)
class Variant:
    """One row of the comparison: how its memory is made and what else differs. Nothing else does. `true_depth`: of
    which frames the depth that is written is the true one; of the others it is the depth head's."""

    memory: Callable[[WorldModel], SpatialMemory]
    settings: Settings = field(default_factory=Settings)
    true_depth: Literal["none", "first", "every"] = "none"
    rays: bool = True


def _latent(**choices: Any) -> Callable[[WorldModel], SpatialMemory]:
    return lambda model: latent_memory(model, MemoryPolicy(**choices))


VARIANTS: dict[str, Variant] = {
    **{name: Variant(memory) for name, memory in MEMORIES.items()},
    "latent, no lock": Variant(_latent(), Settings(lock=False)),
    "latent, no free space": Variant(_latent(), Settings(free_space=False)),
    "latent, no gate": Variant(_latent(admit="all")),
    "latent, filter": Variant(_latent(), Settings(filter=True)),
    "latent, no draft": Variant(_latent(), Settings(draft=False)),
    "latent, full noise": Variant(_latent(), Settings(sampler=Sampler(noise=1.0))),
    "latent, no filter": Variant(_latent(), Settings(filter=False)),
    "latent, nearest": Variant(_latent(splat="cell", front=0.0)),
    "latent, int8": Variant(_latent(features="int8")),
    "latent, true first depth": Variant(_latent(), true_depth="first"),
    "latent, true depth": Variant(_latent(), true_depth="every"),
    "latent, no rays": Variant(_latent(), rays=False),
    "latent, guidance": Variant(_latent(), Settings(conditioning="guidance")),
    "none, no branch": Variant(MEMORIES["none"], Settings(conditioning="guidance")),
}
"""Memories and ablations by the name that a person types; the first five are the comparison."""


def run_synthetic(
    model: WorldModel,
    options: SyntheticOptions,
    *,
    steps: int | None = None,
    variants: Mapping[str, Variant] = VARIANTS,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """`evaluate_synthetic` for a world model, at its own size and chunk length."""
    make = session_maker(model, options.memories, steps=steps, variants=variants)

    def through(frames: Tensor) -> Tensor:
        return model.decode(model.encode(frames)).float().cpu()

    options = replace(
        options,
        size=model.size,
        chunk_frames=model.chunk_frames,
        model=f"{options.model} steps={steps or model.sampler.steps}",
    )
    return evaluate_synthetic(make, options, codec=through, progress=progress)


def session_maker(
    model: WorldModel, names: Sequence[str], *, steps: int | None = None, variants: Mapping[str, Variant] = VARIANTS
) -> Callable[[str, GroundTruth], Session]:
    """Sessions by the `names` of their variants; a name that there is not is an `InputError`."""
    check_variants(names, variants)
    blind = model.without_rays() if not all(variants[name].rays for name in names) else model

    def make(name: str, truth: GroundTruth) -> Session:
        variant = variants[name]
        return Session(
            model if variant.rays else blind,
            truth.frames[0],
            camera=truth.path[0],
            prompt=truth.caption,
            depth=_true_depth(truth, variant),
            memory=variant.memory(model),
            settings=replace(variant.settings, sampler=replace(variant.settings.sampler, steps=steps)),
            seed=truth.seed,
        )

    return make


def _true_depth(truth: GroundTruth, variant: Variant) -> DepthMap | DepthEstimator | None:
    """What a session is told about depth."""

    def look_up(views: Views) -> DepthMap:
        return truth.depth[views.number // TIME_STRIDE]

    match variant.true_depth:
        case "none":
            return None
        case "first":
            return truth.depth[0]
        case "every":
            return look_up


def evaluate_synthetic(
    make_session: MakeSession,
    options: SyntheticOptions,
    *,
    codec: Callable[[Tensor], Tensor] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Walk every world with every memory; writes results.json, report.md and a contact sheet per world.

    Returns {"return": {MEMORY: {psnr, ssim, n, spread}}, "seen": {... and by_chunk}, "controls": {NAME: {psnr, ssim, n,
    spread, all on return; seen, nmr, psnr_c}}, "ceiling": the same, "depth_absrel_by_chunk": {MEMORY: [...]},
    "coverage_by_chunk", "memory_bytes_by_chunk", "nmr": {MEMORY: ...}, "psnr_c", "gain_over_none": {MEMORY: paired
    difference on return}, "visits": {MEMORY, CONTROL or CEILING: [{chunk, psnr, spread, n}, ...]}, one for each return
    to the first pose, "tasks", "failures"}.
    `codec`: frames [F,3,H,W] -> the same through the autoencoder.
    """
    check(options)
    frames = 1 + options.chunks * (options.chunk_frames - 1)

    def work(seed: int, kind: str) -> Callable[[Path], dict[str, Any]]:
        def walk(folder: Path) -> dict[str, Any]:
            truth = GroundTruth.sample(seed, kind, frames=frames, size=options.size, moving=options.moving)
            return score_scene(
                truth,
                make_session,
                options.memories,
                chunk_frames=options.chunk_frames,
                codec=codec,
                folder=folder,
                keep=options.keep,
            )

        return walk

    tasks = []
    for number in range(options.scenes):
        seed, kind = options.seed * SEEDS + number, options.kinds[number % len(options.kinds)]
        tasks.append(Task(f"scene-{seed:06d}-{kind}", work(seed, kind)))
    asked = {name: value for name, value in asdict(options).items() if name not in ("out", "scenes", "keep")}
    outcome = run_tasks(tasks, options.out, options=asked, progress=progress)
    summary = summarise(list(outcome.results.values()), options.memories)
    return write_results(
        options.out,
        outcome,
        summary,
        title="Synthetic scenes",
        tables={
            "Return and seen regions": synthetic_table(summary),
            "By chunk": _chunk_table(summary),
            "Each return": _visit_table(summary),
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
    pairs = revisit_pairs(truth.path)
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


def returned(path: Camera, *, metres: float = 0.05, degrees: float = 2.0) -> Tensor:
    """Numbers of those of the last latent's frames that stand in the pose of frame 0; none on a path that does not
    come back."""
    last = torch.arange(max(1, len(path) - TIME_STRIDE), len(path))
    return last[_at_start(path[last], path[0], metres, degrees)]


def visits(path: Camera, *, metres: float = 0.05, degrees: float = 2.0) -> list[Tensor]:
    """Numbers of the frames of each return to the pose of frame 0, after having been away from it."""
    there = _at_start(path, path[0], metres, degrees).tolist()
    groups = [list(group) for back, group in groupby(range(len(there)), key=there.__getitem__) if back]
    return [torch.tensor(group) for group in groups[1:]]


def seen_pixels(truth: GroundTruth, grid: tuple[int, int], *, chunk_frames: int) -> Tensor:
    """bool [F-1,H,W] for frames 1..: the pixels of `seen_cells`."""
    return to_pixels(seen_cells(truth, grid, chunk_frames=chunk_frames), truth.frames.shape[-2:])


def seen_cells(truth: GroundTruth, grid: tuple[int, int], *, chunk_frames: int) -> Tensor:
    """bool [T,h,w] for latents 1..: shown by a true view of an earlier chunk (or by the first image), occlusion
    included; judged per cell of the latent `grid` with true depth and poses."""
    stations = truth.path[::TIME_STRIDE]
    depth = truth.depth.resized(grid)
    memory = LatentSpatialMemory(1)
    memory.write(torch.zeros(1, 1, *grid), depth[:1], stations[:1])
    masks = []
    per_chunk = latent_count(chunk_frames) - 1
    for start in range(1, len(stations), per_chunk):
        part = slice(start, start + per_chunk)
        masks.append(memory.read(stations[part], grid).mask)
        memory.write(torch.zeros(len(stations[part]), 1, *grid), depth[part], stations[part])
    return torch.cat(masks)


def to_pixels(mask: Tensor, size: Sequence[int]) -> Tensor:
    """Latent cells [T,h,w] -> pixels of their four frames [4T,H,W]; `size` is (H, W)."""
    height, width = size
    rows = torch.arange(height) * mask.shape[-2] // height
    columns = torch.arange(width) * mask.shape[-1] // width
    return repeat(mask[:, rows[:, None], columns], "t h w -> (t s) h w", s=TIME_STRIDE)


def summarise(results: Sequence[Mapping[str, Any]], memories: Sequence[str]) -> dict[str, Any]:
    """Means over worlds with their spread; see `evaluate_synthetic`."""
    if not results:
        return {
            "return": {},
            "seen": {},
            "controls": {},
            "ceiling": {},
            "depth_absrel_by_chunk": {},
            "coverage_by_chunk": {},
            "memory_bytes_by_chunk": {},
            "nmr": {},
            "psnr_c": {},
            "gain_over_none": {},
            "visits": {},
        }
    own = {name: [r["memories"][name] for r in results] for name in memories}
    others = {name: [r["others"][name] for r in results] for name in results[0]["others"]}
    told = {
        name: {**_pair(rows, "return"), "seen": _pair(rows, "seen"), "nmr": _nmr(rows), "psnr_c": _loop(rows)}
        for name, rows in others.items()
    }
    return {
        "return": {name: _pair(rows, "return") for name, rows in own.items()},
        "seen": {
            name: {**_pair(rows, "seen"), "by_chunk": _by_chunk(rows, "seen_psnr_by_chunk")}
            for name, rows in own.items()
        },
        "controls": {name: entry for name, entry in told.items() if name != CEILING},
        "ceiling": told.get(CEILING, {}),
        "nmr": {name: _nmr(rows) for name, rows in own.items()},
        "psnr_c": {name: _loop(rows) for name, rows in own.items()},
        "gain_over_none": {
            name: _difference(rows, own[BASELINE]) for name, rows in own.items() if BASELINE in own and name != BASELINE
        },
        "visits": {name: _visits(rows) for name, rows in {**own, **others}.items()},
        **{
            f"{key}_by_chunk": {name: _by_chunk(rows, f"{key}_by_chunk") for name, rows in own.items()}
            for key in ("depth_absrel", "coverage", "memory_bytes", "psnr")
        },
    }


def synthetic_table(summary: Mapping[str, Any]) -> str:
    """One row per memory, control and ceiling."""
    rows = [
        {
            "memory": name,
            **_columns(summary["return"][name], summary["seen"][name]),
            "NMR": summary["nmr"][name],
            "PSNR_C": summary["psnr_c"][name],
            "over none, dB": _as_summary(summary["gain_over_none"].get(name)),
        }
        for name in summary["return"]
    ]
    rest = {f"control: {name}": entry for name, entry in summary["controls"].items()}
    if summary["ceiling"]:
        rest["ceiling: " + CEILING] = summary["ceiling"]
    rows += [
        {"memory": name, **_columns(entry, entry["seen"]), "NMR": entry["nmr"], "PSNR_C": entry["psnr_c"]}
        for name, entry in rest.items()
    ]
    return markdown_table(rows)


# -- helpers ------------------------------------------------------------------------------------------------------


def _at_start(path: Camera, start: Camera, metres: float, degrees: float) -> Tensor:
    """bool [F]: stands in the pose `start` []."""
    apart = (path.center - start.center).norm(dim=-1)
    turned = rotation_angle(start.c2w[:3, :3].T @ path.c2w[:, :3, :3])
    return (apart <= metres) & (turned <= degrees)


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


def _pair(rows: Sequence[Mapping[str, Any]], what: str) -> dict[str, Any]:
    quality = Summary.of(row[f"{what}_psnr"] for row in rows)
    return {
        "psnr": quality.mean,
        "ssim": Summary.of(row[f"{what}_ssim"] for row in rows).mean,
        "n": quality.n,
        "spread": quality.spread,
    }


def _by_chunk(rows: Sequence[Mapping[str, Any]], key: str) -> list[float | None]:
    return [Summary.of(values).mean for values in zip(*(row[key] for row in rows), strict=True)]


def _nmr(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Mean over PSNR and SSIM of the ratio of means over worlds."""
    ratios = []
    for metric in rows[0]["gain"]:
        told = [
            row["gain"][metric]
            for row in rows
            if (row["gain"][metric]["range"] or 0.0) > LEAST_RANGE and row["gain"][metric]["gain"] is not None
        ]
        ratios.append(sum(g["gain"] for g in told) / sum(g["range"] for g in told) if told else None)
    return Summary.of(ratios).mean


def _loop(rows: Sequence[Mapping[str, Any]]) -> float | None:
    return Summary.of(row["psnr_c"] for row in rows).mean


def _visits(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return by return, over the worlds whose path has as many."""
    told = []
    for some in zip_longest(*(row["visits"] for row in rows)):
        there = [visit for visit in some if visit is not None]
        quality = Summary.of(visit["psnr"] for visit in there)
        told.append(
            {
                "chunk": Summary.of(visit["chunk"] for visit in there).mean,
                "psnr": quality.mean,
                "spread": quality.spread,
                "n": quality.n,
            }
        )
    return told


def _difference(
    rows: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]], *, draws: int = 2000
) -> dict[str, Any]:
    """World by world on return, in dB: mean, spread, n, and the 95 % interval of the mean (bootstrap over worlds)."""
    values = [
        a["return_psnr"] - b["return_psnr"]
        for a, b in zip(rows, baseline, strict=True)
        if a["return_psnr"] is not None and b["return_psnr"] is not None
    ]
    if not values:
        return {**asdict(Summary.of([])), "low": None, "high": None}
    rng = random.Random(0)
    means = sorted(sum(rng.choices(values, k=len(values))) / len(values) for _ in range(draws))
    return {**asdict(Summary.of(values)), "low": means[draws // 40], "high": means[-draws // 40]}


def _columns(back: Mapping[str, Any], seen: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "return PSNR": _as_summary(back),
        "return SSIM": back["ssim"],
        "seen PSNR": _as_summary(seen),
        "seen SSIM": seen["ssim"],
        "n": back["n"],
    }


def _as_summary(entry: Mapping[str, Any] | None) -> Summary | None:
    return None if entry is None else Summary(entry.get("psnr", entry.get("mean")), entry["spread"], entry["n"])


def _chunk_table(summary: Mapping[str, Any]) -> str:
    rows = []
    for name in summary["return"]:
        for key, label in (
            ("seen", "seen PSNR"),
            ("coverage_by_chunk", "coverage"),
            ("depth_absrel_by_chunk", "depth AbsRel"),
        ):
            values = summary["seen"][name]["by_chunk"] if key == "seen" else summary[key][name]
            rows.append({"memory": name, "what": label, **{f"chunk {i}": v for i, v in enumerate(values, start=1)}})
    return markdown_table(rows, columns=None if rows else ["memory"])


def _visit_table(summary: Mapping[str, Any]) -> str:
    """PSNR each time that a walk stands where it began; more than one for kind back_and_forth."""
    rows = [
        {"memory": name, **{f"after chunk {visit['chunk']:g}": _as_summary(visit) for visit in visits}}
        for name, visits in summary["visits"].items()
        if visits
    ]
    return markdown_table(rows, columns=None if rows else ["memory"])


def check_variants(names: Sequence[str], variants: Mapping[str, Variant] = VARIANTS) -> None:
    """`InputError` where there is no variant of one of these names."""
    unknown = [name for name in names if name not in variants]
    if unknown:
        raise InputError(f"no memory {unknown[0]!r}; accepted: {'; '.join(variants)}")


def check_draw(scenes: int, seed: int, *, most: int = SEEDS) -> None:
    """`InputError` where so many worlds of this evaluation's seed would not all be held out and its own."""
    if not 1 <= scenes <= most or not 0 <= seed * SEEDS < HELD_OUT:
        raise InputError(
            f"an evaluation has 1 to {most} scenes and a seed of 0 to {HELD_OUT // SEEDS - 1}, "
            f"got {scenes} scenes and seed {seed}"
        )


def check(options: SyntheticOptions) -> None:
    """`InputError` where the request cannot be met."""
    check_draw(options.scenes, options.seed)
    if options.chunks < 1 or not options.memories:
        raise InputError(
            f"an evaluation has at least one chunk and one memory, got {options.chunks} chunks and "
            f"{len(options.memories)} memories"
        )
    if not options.kinds or not set(options.kinds) <= set(EVERY_KIND):
        raise InputError(f"walks are of one kind or more of {', '.join(EVERY_KIND)}; got {' '.join(options.kinds)!r}")
