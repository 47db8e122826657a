"""Photographs: what is left of a real picture behind an autoencoder, and of a real place that a walk goes through.

    still    a picture through the autoencoder: nothing that is generated after it can be better
    turn     a camera that turns inside a panorama, 48 frames there and back again: real pixels, exact poses
    walk     the first frame of a real RGB-D sequence with its depth, the true path: 16 frames, against what was seen

`F` video frames, `H W` pixels. Beside every memory stand

    autoencoder   the true frames through the autoencoder: a ceiling
    warp          the first frame's pixels, lifted by its depth and drawn from each true camera: what geometry tells, at
                  full resolution and without an autoencoder. Cameras, depth and light are measured, so it ends, too
    still         the first frame as it is, as if the camera had not moved

Scored: the pixels that the first frame shows (walk), the frames of the return (turn).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mirage.chunks import TIME_STRIDE
from mirage.errors import InputError
from mirage.evaluation.metrics import psnr
from mirage.evaluation.options import PhotosOptions
from mirage.evaluation.report import Summary, markdown_table, summarised
from mirage.evaluation.runner import Progress, Task, run_tasks, write_results
from mirage.evaluation.scenes7 import CEILING, STILL, load_view, poses_of
from mirage.evaluation.seam import seam
from mirage.evaluation.truth import GroundTruth, returned, to_pixels
from mirage.evaluation.unseen import steepness
from mirage.evaluation.variants import VARIANTS, MakeSession, session_maker
from mirage.formats.cameras import load_cameras
from mirage.formats.footage import PICTURES
from mirage.formats.image import fit_image, image_size, load_image, save_image
from mirage.formats.picture import contact_sheet
from mirage.geometry import pose
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.memory import LatentSpatialMemory
from mirage.memory.baselines.rgb import RGBPointMemory, filled
from mirage.models.world import WorldModel
from mirage.natural import natural
from mirage.scenes.pictures import around

TURN, WALK = 97, 17
"""Frames of each."""
DEGREES = 40.0
"""To the right, and back."""
WARP = "warp"


@dataclass(frozen=True, eq=False)
class Region:
    """What of a walk is scored: its frames' `numbers`, and there the pixels of `mask` bool [n,H,W], None: all."""

    numbers: Tensor
    mask: Tensor | None = None


def run_photos(
    model: WorldModel, options: PhotosOptions, *, name: str = "", progress: Progress | None = None
) -> dict[str, Any]:
    """Every picture, panorama and sequence; results.json, report.md and a contact sheet each. `name` is the model's.

    Returns {"stills": {psnr, worst, spread, steepness, n}, "turn" and "walk": {NAME: {REGION or seam: Summary}},
    "tasks", "failures"}.
    """
    chosen = {memory: VARIANTS[memory] for memory in options.memories}
    estimating = session_maker(model, options.memories, steps=options.steps, variants=chosen)
    measured = {memory: replace(variant, true_depth="first") for memory, variant in chosen.items()}
    measuring = session_maker(model, options.memories, steps=options.steps, variants=measured)

    def of_still(path: Path) -> Callable[[Path], dict[str, Any]]:
        return lambda folder: {"part": "still", **still(model, _picture(path, model.size), folder)}

    def of_turn(path: Path) -> Callable[[Path], dict[str, Any]]:
        def work(folder: Path) -> dict[str, Any]:
            truth = turn(load_image(path), model.size, seed=options.seed)
            scored = {"return": Region(returned(truth.path))}
            return {"part": "turn", **scored_walk(model, truth, scored, options.memories, estimating, folder=folder)}

        return work

    def of_walk(numbers: Sequence[int]) -> Callable[[Path], dict[str, Any]]:
        def work(folder: Path) -> dict[str, Any]:
            assert options.rgbd is not None
            truth = walk(options.rgbd, numbers, model.size, seed=options.seed)
            scored = first_seen(truth, (model.size[0] // model.stride, model.size[1] // model.stride))
            return {"part": "walk", **scored_walk(model, truth, scored, options.memories, measuring, folder=folder)}

        return work

    tasks = [
        *(Task(f"still-{path.stem}", of_still(path)) for path in _listed(options.stills, options.limit)),
        *(Task(f"turn-{path.stem}", of_turn(path)) for path in _listed(options.panoramas, options.limit)),
        *(Task(f"walk-{part[0]:06d}", of_walk(part)) for part in _sequences(options)),
    ]
    outcome = run_tasks(tasks, options.out, options={**options.record(), "model": name}, progress=progress)
    results = list(outcome.results.values())
    stills = [result for result in results if result["part"] == "still"]
    walks = {part: [result for result in results if result["part"] == part] for part in ("turn", "walk")}
    summary = {"stills": _summed(stills), **{part: _rows(of) for part, of in walks.items()}}
    tables = {}
    if stills:
        tables["Stills, through the autoencoder"] = markdown_table([summary["stills"]])
    for part, heading in (("turn", "Turning in panoramas, and back"), ("walk", "Walking where an RGB-D camera walked")):
        if walks[part]:
            tables[heading] = markdown_table([{"what": row, **of} for row, of in summary[part].items()])
    return write_results(options.out, outcome, summary, title="Photographs", tables=tables)


def still(model: WorldModel, picture: Tensor, folder: Path) -> dict[str, Any]:
    """A picture [3,H,W] in [0, 1] through the autoencoder: its PSNR, and how steep it is of what it was."""
    again = model.decode(model.encode(picture[None]))[0].float().cpu()
    everywhere = torch.ones(1, *picture.shape[1:], dtype=torch.bool)
    save_image(folder / "sheet.png", contact_sheet({"": torch.stack([picture, again])}, columns=2))
    before = steepness(picture[None], everywhere)
    after = steepness(again[None], everywhere)
    return {"psnr": float(psnr(again, picture)), "steepness": after / before if before and after is not None else None}


def scored_walk(
    model: WorldModel,
    truth: GroundTruth,
    scored: Mapping[str, Region],
    memories: Sequence[str],
    make_session: MakeSession,
    *,
    folder: Path,
) -> dict[str, Any]:
    """The true path with each memory: {"scores": {NAME: {REGION: dB, step, sharpness, steepness}}}, NAME a memory,
    "autoencoder", "warp" or "still". `step` and `sharpness` are those of the seam after the given frame
    (`seam.Seam`)."""
    videos = {}
    for memory in memories:
        chunks = make_session(memory, truth).follow(truth.path)
        videos[memory] = torch.cat([chunk.frames.float().cpu() for chunk in chunks])
    videos[CEILING] = model.decode(model.encode(truth.frames)).float().cpu()
    videos[WARP] = warped(truth)
    videos[STILL] = truth.frames[:1].expand_as(truth.frames)
    save_image(folder / "sheet.png", contact_sheet({"true": truth.frames, **videos}, columns=9))
    everywhere = torch.ones(len(truth.frames) - 1, *truth.frames.shape[-2:], dtype=torch.bool)
    steep = steepness(truth.frames[1:], everywhere)
    scores: dict[str, dict[str, float | None]] = {}
    for name, video in videos.items():
        regions: dict[str, float | None] = {}
        for region, of in scored.items():
            its = psnr(video[of.numbers], truth.frames[of.numbers], mask=of.mask)
            regions[f"PSNR, {region}"] = Summary.of(its.tolist()).mean
        of_seam = seam(video)
        share = steepness(video[1:], everywhere)
        scores[name] = {
            **regions,
            "step": of_seam.step,
            "sharpness": of_seam.sharpness,
            "steepness": share / steep if steep and share is not None else None,
        }
    return {"scores": scores}


def warped(truth: GroundTruth) -> Tensor:
    """The first frame as points, seen from every camera of the path, holes filled from around them: [F,3,H,W]."""
    memory = RGBPointMemory(3, decode=lambda frames, _: (frames, None), encode=lambda frames: frames)
    memory.write(truth.frames[:1], truth.depth[:1], truth.path[:1])
    pixels, covered, _, _ = memory.render(truth.path)
    return filled(pixels, covered)


def turn(panorama: Tensor, size: tuple[int, int], *, seed: int) -> GroundTruth:
    """A panorama [3,h,w] in [0, 1], equirectangular, as a camera sees it that turns to the right and back."""
    _check_panorama((panorama.shape[-2], panorama.shape[-1]), "the panorama")
    time = 1 - torch.linspace(-1, 1, TURN).abs()
    c2w = pose.make_pose(pose.rotation_about("y", DEGREES * time), torch.zeros(TURN, 3))
    camera = Camera.looking(aspect=size[1] / size[0], c2w=c2w)
    _, ahead = camera[::TIME_STRIDE].rays(size)
    depth = DepthMap(3 / ahead.norm(dim=-1))  # any: nothing has parallax
    return GroundTruth(seed, "turn", "", around(panorama, camera, size), depth, camera)


def walk(folder: Path, numbers: Sequence[int], size: tuple[int, int], *, seed: int) -> GroundTruth:
    """Frames of these numbers of an RGB-D sequence in the layout of 7-Scenes, with what its sensor measured."""
    cameras, posed = load_cameras(folder), poses_of(folder)
    own = cameras[[posed.index(number) for number in numbers]]
    near = own.relative_to(own[0])
    views = [load_view(folder, number, near[n], size) for n, number in enumerate(numbers)]
    depth = DepthMap.concatenate([view.depth[None] for view in views[::TIME_STRIDE]])
    frames = torch.stack([view.image for view in views])
    return GroundTruth(seed, "walk", "", frames, depth, Camera.stack([view.camera for view in views]))


def first_seen(truth: GroundTruth, grid: tuple[int, int]) -> dict[str, Region]:
    """The pixels that the first frame shows of the first 4 frames after it, and of the others: by its true depth."""
    memory = LatentSpatialMemory(1)
    memory.write(torch.zeros(1, 1, *grid), truth.depth[:1].resized(grid), truth.path[:1])
    shown = memory.read(truth.path[TIME_STRIDE::TIME_STRIDE], grid).mask
    mask = to_pixels(shown, truth.frames.shape[-2:])
    ends = {"first 4 frames": (1, 5), f"next {len(mask) - 4}": (5, len(truth.frames))}
    return {name: Region(torch.arange(first, end), mask[first - 1 : end - 1]) for name, (first, end) in ends.items()}


def _picture(path: Path, size: tuple[int, int]) -> Tensor:
    whole = load_image(path)
    return fit_image(whole, Camera.looking(aspect=whole.shape[-1] / whole.shape[-2]), size)[0]


def _listed(folder: Path | None, limit: int | None) -> list[Path]:
    """Its pictures in natural order, one of each name."""
    if folder is None:
        return []
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; accepted: one of pictures")
    paths = sorted((path for path in folder.iterdir() if path.suffix.lower() in PICTURES), key=natural)
    if not paths:
        raise InputError(f"{folder} holds no pictures; accepted: {', '.join(PICTURES)}")
    for one, other in pairwise(sorted(paths)):
        if one.stem == other.stem:
            raise InputError(f"{folder} holds {one.name} and {other.name}; accepted: one picture of a name")
    return paths[:limit]


def _sequences(options: PhotosOptions) -> list[list[int]]:
    """Runs of WALK posed frames, one after the other."""
    if options.rgbd is None:
        return []
    numbers = poses_of(options.rgbd)[:: options.every]
    if len(numbers) < WALK:
        raise InputError(f"{options.rgbd} has {len(numbers)} posed frames to take; accepted: {WALK} or more")
    return [numbers[at : at + WALK] for at in range(0, len(numbers) - WALK + 1, WALK)][: options.limit]


def check_photos(options: PhotosOptions) -> None:
    """`InputError` where a folder holds nothing to measure with."""
    _listed(options.stills, None)
    for path in _listed(options.panoramas, options.limit):
        _check_panorama(image_size(path), str(path))
    _sequences(options)


def _check_panorama(size: tuple[int, int], source: str) -> None:
    height, width = size
    if width != 2 * height:
        raise InputError(f"{source} is {width} x {height}; an equirectangular panorama is twice as wide as high")


def _summed(stills: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not stills:
        return {}
    values = [result["psnr"] for result in stills]
    steep = Summary.of(result["steepness"] for result in stills)
    return {"PSNR": Summary.of(values), "worst": min(values), "steepness": steep, "n": len(values)}


def _rows(walks: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """A row per memory or control: each score over walks, and how many those are."""
    names = walks[0]["scores"] if walks else ()
    return {name: {**summarised([one["scores"][name] for one in walks]), "n": len(walks)} for name in names}
