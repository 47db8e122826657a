"""RealEstate10K: one true frame and a true trajectory in, a video out, compared with what the camera really saw.

    clips/NAME.txt               the original camera file (or any that `formats.load_cameras` reads)
    clips/NAME.mp4 or NAME/      its frames, one per line of the camera file
    index.json                   optional, pixelSplat's: {NAME: {"context": [a, b], "target": [t, ...]} or null}

With an index the reference frame is a, the targets are scored, and the other context frame stays unused: pixelSplat's
own task interpolates between two views, ours has one, so its published figures are no rows of our table. Without an
index: frame `start`, then every `stride`-th. Scale is arbitrary per clip; `scale` multiplies every translation.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.evaluation.folder import VIDEOS, Rollout, estimated_cameras, load_frames, load_rollout, save_rollout
from mirage.evaluation.lpips import Lpips
from mirage.evaluation.metrics import SSIM_CONVENTIONS, pose_errors, psnr, ssim_by_convention
from mirage.evaluation.options import Re10kOptions
from mirage.evaluation.report import Summary, markdown_table, published_table, summarised
from mirage.evaluation.revisit import closed_loop, controls, mirror
from mirage.evaluation.runner import Progress, Task, run_tasks, write_results
from mirage.evaluation.walk import Generate, generator_of, subject_of
from mirage.formats.cameras import CameraOptions, camera_options, load_cameras
from mirage.formats.image import fit_image, save_image
from mirage.formats.picture import contact_sheet
from mirage.formats.source import read_json
from mirage.formats.video import load_video
from mirage.geometry.camera import Camera
from mirage.geometry.edits import there_and_back
from mirage.geometry.pose import make_pose
from mirage.models.world import WorldModel
from mirage.natural import natural


@dataclass(frozen=True)
class Re10kTask:
    """`numbers`: the clip's frames along the path, the reference first; `scored`: positions in it that are compared."""

    name: str
    cameras: Path
    pictures: Path
    numbers: tuple[int, ...]
    scored: tuple[int, ...]


def run_re10k(
    model: WorldModel | None, options: Re10kOptions, *, name: str = "", progress: Progress | None = None
) -> dict[str, Any]:
    """`evaluate_re10k` of a model, at its own size unless the options name another; of rollouts made elsewhere (None).
    `name` is the model's, for the record."""
    if model is None:
        return evaluate_re10k(options, name=name, progress=progress)
    return evaluate_re10k(
        replace(options, size=options.size or model.size),
        generator_of(model, options),
        name=subject_of(model, name, options.steps).name,
        progress=progress,
    )


def evaluate_re10k(
    options: Re10kOptions, generate: Generate | None = None, *, name: str = "", progress: Progress | None = None
) -> dict[str, Any]:
    """Generate (or read) and score every clip, at the options' size: results.json, report.md, a rollout and a contact
    sheet per clip."""
    size = options.size
    if (generate is None) == (options.generated is None) or size is None:
        raise InputError(
            "either a model generates or a folder of generated rollouts is named, and a size; got "
            f"{'no size' if size is None else 'neither' if generate is None else 'both'}"
        )
    lpips = Lpips.load(options.lpips) if options.lpips is not None else None

    def work(task: Re10kTask) -> Callable[[Path], dict[str, Any]]:
        def run(folder: Path) -> dict[str, Any]:
            truth = load_truth(task, size=size, scale=options.scale, reading=camera_options(options))
            path = truth.camera if options.one_way else there_and_back(truth.camera)
            if generate is None:
                assert options.generated is not None
                made, source = (
                    load_rollout(options.generated / task.name, reading=camera_options(options)),
                    options.generated / task.name,
                )
            else:
                walk = generate(truth.pictures(slice(0, 1))[0], path, [""])
                save_rollout(folder, walk.frames, path, known=walk.known)
                made, source = Rollout(task.name, (walk.frames * 255).round().to(torch.uint8), path), folder
            result = score_generated(made.frames, truth, task.scored, lpips=lpips)
            estimated = estimated_cameras(source, reading=camera_options(options))
            if estimated is not None:
                result["poses"] = asdict(pose_errors(estimated, path))
            rows = {"true": truth.pictures(), "generated": made.pictures()}
            save_image(folder / "sheet.png", contact_sheet(rows, title=task.name))
            return result

        return run

    listed = tasks_of(options)
    asked = {**options.record(), "model": name}
    outcome = run_tasks([Task(task.name, work(task)) for task in listed], options.out, options=asked, progress=progress)
    rows = [_flat(result) for result in outcome.results.values()]
    summary = {
        "scores": summarised(rows),
        "ssim": SSIM_CONVENTIONS,
        "size": size,
        "scale": options.scale,
        "lpips": "alex, version 0.1" if lpips else "not measured: no weights were given (--lpips FOLDER)",
    }
    return write_results(
        options.out,
        outcome,
        summary,
        title="RealEstate10K",
        tables={
            "Ours": re10k_table(summary),
            "As published, RealEstate10K": published_table("RealEstate10K"),
            "As published, closed loop": published_table("closed loop"),
        },
    )


def tasks_of(options: Re10kOptions) -> list[Re10kTask]:
    """The clips of the folder in order of name, or those of them that the index names."""
    if not options.clips.is_dir():
        raise InputError(f"there is no folder {options.clips}; expected RealEstate10K clips (NAME.txt with NAME.mp4)")
    if options.generated is not None and not options.generated.is_dir():
        raise InputError(f"there is no folder {options.generated}; expected one of rollouts, NAME for each clip")
    found = {path.stem: path for path in sorted(options.clips.glob("*.txt"), key=natural)}
    index = load_index(options.index) if options.index is not None else None
    names = [name for name in found if index is None or name in index]
    tasks = []
    for name in names[: options.limit]:
        pictures = _pictures(options.clips, name)
        if index is None:
            numbers = range(options.start, options.start + options.frames * options.stride, options.stride)
            scored: Sequence[int] = range(1, options.frames)
        else:
            reference, targets = index[name]
            numbers = range(reference, max(targets) + 1)
            scored = [target - reference for target in targets]
        tasks.append(Re10kTask(name, found[name], pictures, tuple(numbers), tuple(scored)))
    if not tasks:
        raise InputError(
            f"{options.clips} has no clip to evaluate ({len(found)} camera files"
            f"{'' if index is None else f', none of the {len(index)} of the index'}); expected NAME.txt"
        )
    return tasks


def load_index(path: str | os.PathLike[str]) -> dict[str, tuple[int, tuple[int, ...]]]:
    """pixelSplat's index: scene -> (reference = first context frame, targets after it); scenes that are null are left
    out, and targets before the reference too, since one walks forward."""
    try:
        content = read_json(path, accepts="a pixelSplat index")
        entries = {
            name: (int(entry["context"][0]), [int(t) for t in entry["target"]])
            for name, entry in content.items()
            if entry is not None
        }
    except InputError:
        raise
    except (OSError, OverflowError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise InputError(
            f"{path} is no pixelSplat index ({type(error).__name__}: {error}); expected "
            '{scene: {"context": [a, b], "target": [...]}}'
        ) from error
    forward = {name: (a, tuple(t for t in targets if t > a)) for name, (a, targets) in entries.items()}
    return {name: entry for name, entry in forward.items() if entry[1]}


def load_truth(
    task: Re10kTask, *, size: tuple[int, int], scale: float = 1.0, reading: CameraOptions | None = None
) -> Rollout:
    """The true frames along the path, cut and resized to `size`; cameras follow the cut, relative to the first one."""
    camera = load_cameras(task.cameras, options=reading, lens="images")
    frames = load_video(task.pictures) if task.pictures.is_file() else load_frames(task.pictures)
    if len(frames) != len(camera):
        raise InputError(f"{task.name} has {len(frames)} frames and {len(camera)} poses; expected one each")
    if task.numbers[-1] >= len(frames):
        raise InputError(f"{task.name} has {len(frames)} frames; the task needs frame {task.numbers[-1]}")
    some = torch.tensor(task.numbers)
    camera = camera[some].relative_to(camera[task.numbers[0]])
    camera = Camera(make_pose(camera.c2w[:, :3, :3], scale * camera.center), camera.intrinsics).to(torch.float32)
    fitted = [fit_image(frame.float() / 255, camera, size) for frame in frames[some]]
    return Rollout(task.name, torch.stack([(image * 255).round().to(torch.uint8) for image, _ in fitted]), fitted[0][1])


def score_generated(
    frames: Tensor, truth: Rollout, scored: Sequence[int], *, lpips: Lpips | None = None
) -> dict[str, Any]:
    """uint8 frames [F,3,H,W] against the true ones at the positions `scored`; the closed loop too, where the frames are
    2F - 1, out and back. The controls of the closed loop stand beside it."""
    out = len(truth.frames)
    if len(frames) not in (out, 2 * out - 1) or frames.shape[1:] != truth.frames.shape[1:]:
        raise InputError(
            f"{truth.name}: generated frames are {list(frames.shape)}; expected {out} "
            f"(or {2 * out - 1}, out and back) of {list(truth.frames.shape[1:])}"
        )
    at = torch.tensor(list(scored))
    made, true = frames[at].float() / 255, truth.pictures(at)
    values = {"psnr": psnr(made, true), **{f"ssim_{k}": v for k, v in ssim_by_convention(made, true).items()}}
    if lpips is not None:
        values["lpips"] = torch.stack([lpips(a, b) for a, b in zip(made, true, strict=True)])
    result: dict[str, Any] = {name: Summary.of(value.tolist()).mean for name, value in values.items()}
    if len(frames) > out:
        loop = there_and_back(truth.camera)
        result |= {**closed_loop(frames, loop), **mirror(frames, loop)}
        if lpips is not None:
            result["lpips_c"] = float(lpips(frames[-1].float() / 255, frames[0].float() / 255))
        result["controls"] = {name: closed_loop(video, loop) for name, video in controls(frames).items()}
    return result


def re10k_table(summary: Mapping[str, Any]) -> str:
    """One row of means; the SSIM conventions are spelled out below it."""
    scores = summary["scores"]
    names = {
        "psnr": "PSNR",
        "ssim_gaussian": "SSIM (gaussian)",
        "ssim_uniform": "SSIM (uniform)",
        "ssim_small": "SSIM (small)",
        "lpips": "LPIPS",
        "psnr_c": "PSNR_C",
        "ssim_c": "SSIM_C",
        "lpips_c": "LPIPS_C",
        "copy first psnr_c": "PSNR_C, copy first",
        "stop half-way psnr_c": "PSNR_C, stop half-way",
        "rotation": "RotErr",
        "translation_rel": "TransErr",
        "cammc_rel": "CamMC",
    }
    row = {label: scores[name] for name, label in names.items() if name in scores}
    notes = [f"- SSIM {name}: {text}" for name, text in summary["ssim"].items()]
    height, width = summary["size"]
    count = scores["psnr"].n if "psnr" in scores else 0
    notes += [
        f"- {count} clips at {height}x{width}, translation scale {summary['scale']}",
        f"- LPIPS: {summary['lpips']}",
    ]
    return markdown_table([row]) + "\n" + "\n".join(notes) + "\n"


def _flat(result: Mapping[str, Any]) -> dict[str, Any]:
    flat = {name: value for name, value in result.items() if not isinstance(value, Mapping)}
    for control, scores in result.get("controls", {}).items():
        flat |= {f"{control} {name}": value for name, value in scores.items()}
    return flat | dict(result.get("poses", {}))


def _pictures(folder: Path, name: str) -> Path:
    options = [folder / f"{name}{suffix}" for suffix in VIDEOS] + [folder / name]
    for path in options:
        if path.exists():
            return path
    raise InputError(f"{folder} has cameras {name}.txt and no frames; expected {name}.mp4 or the folder {name}")
