"""WorldScore (haoyi-duan/WorldScore): its data set's rows, its camera paths and the folders its evaluator reads. What
the numbers mean is in worldscore_aspects.py.

`N`: all frames of an instance, `F`: frames of one move (`frames`), N = moves (F - 1) + 1, `H W`: pixels.
Its camera state is w2c in PyTorch3D axes (x left, y up, z forward); its camera_data.json holds c2w in Blender axes
(x right, y up, z backward); ours is c2w in OpenCV axes (x right, y down, z forward). Everything here speaks ours. Its
world has PyTorch3D axes too, so its first camera is no identity in Blender or OpenCV axes; in our world it is.

    instances = load_instances(dataset, "static")
    path = camera_path(instances[0].moves, frames=49, speed=0.5)       # Camera [N], focal length as WorldScore has it
    write_instance(out, instances[0], frames, path, ...)
"""

import itertools
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mirage.chunks import TIME_STRIDE
from mirage.errors import InputError
from mirage.evaluation.folder import estimated_cameras, save_frames
from mirage.evaluation.options import Subject, WorldScoreOptions
from mirage.evaluation.report import Summary, markdown_table, published_table
from mirage.evaluation.runner import Progress, Task, run_tasks, write_json, write_results
from mirage.evaluation.walk import Generate, Walk, generator_of, subject_of
from mirage.evaluation.worldscore_aspects import (
    BOUNDS,
    DYNAMIC,
    STATIC,
    aepe,
    aggregate,
    camera_errors,
    induced_flow,
    motion_magnitude,
    motion_smoothness_proxy,
    reprojection_error,
)
from mirage.files import replacing
from mirage.formats.image import fit_image, load_image, save_image
from mirage.formats.picture import contact_sheet
from mirage.formats.source import read_json
from mirage.formats.video import VideoWriter
from mirage.geometry import pose
from mirage.geometry.camera import Camera
from mirage.models.world import WorldModel

Movement = Literal["static", "dynamic"]
MOVES = (
    "push_in",
    "pull_out",
    "move_left",
    "move_right",
    "orbit_left",
    "orbit_right",
    "pan_left",
    "pan_right",
    "fixed",
)
TURN = 30.0
FOCAL = 500.0
OURS = (
    "camera_rotation",
    "camera_translation",
    "reprojection_error",
    "aepe",
    "motion_magnitude",
    "smoothness_mse",
    "smoothness_ssim",
    "seconds",
)
"""Scores without weights: of the official formulas where a clip's folder has estimated cameras (degrees; speeds), then
of the walk's own depth and the cameras asked for (cells of 8 pixels; pixels), and of the frames."""
_MARGIN = 15  # pixels that WorldScore's AEPE leaves out on every side

# Changes of axes, each its own inverse: of the camera (right of a c2w), and of world and camera (both sides).
_BLENDER = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
_PYTORCH3D = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64))


@dataclass(frozen=True)
class Instance:
    """One row of the data set. `folder`: where its results go below worldscore_output; `image`: its file; `prompts`:
    one per move, as video models are asked; `row`: everything the file says."""

    movement: Movement
    folder: Path
    image: Path
    moves: tuple[str, ...]
    prompts: tuple[str, ...]
    row: Mapping[str, Any]


def load_instances(dataset: str | os.PathLike[str], movement: Movement) -> list[Instance]:
    """The rows of {dataset}/{movement}/{movement}.json, in order. `dataset` is the folder WorldScore-Dataset."""
    path = Path(dataset) / movement / f"{movement}.json"
    rows = read_json(path, accepts="the WorldScore data set (huggingface Howieeeee/WorldScore), unpacked")
    if not isinstance(rows, list):
        raise InputError(f"{path} holds a {type(rows).__name__}; expected a list of rows")
    return [_instance(row, Path(dataset), movement, where=f"{path}: row {n}") for n, row in enumerate(rows)]


def camera_path(moves: Sequence[str], *, frames: int, speed: float = 1.0, size: tuple[int, int] = (512, 512)) -> Camera:
    """The path [N] of `moves`, `frames` (F) each, as WorldScore's CameraGen makes it; frame 0 is the origin.

    `speed` is its v, in our world units: how far a push goes and how far ahead an orbit turns about. Between key
    cameras rotation is slerped and the **w2c translation** is linear, not the centre. Focal length 500 pixels of an
    image of `size` (H, W), centred.
    """
    if frames < 2:
        raise InputError(f"a move has at least two frames, got {frames}")
    w2c = _interpolated(_key_cameras(moves, speed), frames)
    c2w = _PYTORCH3D @ pose.invert(w2c) @ _PYTORCH3D
    height, width = size
    return Camera(c2w, c2w.new_tensor([FOCAL / width, FOCAL / height, 0.5, 0.5])).to(torch.float32)


def anchors(moves: int, frames: int) -> list[int]:
    """Frame numbers where one move ends and the next begins: 0, F-1, 2(F-1), ..."""
    return [move * (frames - 1) for move in range(moves + 1)]


def to_blender(camera: Camera) -> list[list[list[float]]]:
    """c2w as camera_data.json has them."""
    return (_PYTORCH3D @ camera.c2w.double() @ _BLENDER).tolist()


def from_camera_data(content: Mapping[str, Any], *, size: tuple[int, int]) -> Camera:
    """The interpolated cameras [N] of a camera_data.json, in our convention; `size` (H, W) of the images."""
    matrices = torch.tensor(content["cameras_interp"], dtype=torch.float64)
    height, width = size
    focal = float(content["focal_length"])
    return Camera(_PYTORCH3D @ matrices @ _BLENDER, matrices.new_tensor([focal / width, focal / height, 0.5, 0.5])).to(
        torch.float32
    )


def write_instance(
    out: str | os.PathLike[str],
    instance: Instance,
    video: Tensor,
    camera: Camera,
    *,
    image: Tensor,
    frames: int,
    speed: float,
    seconds: float,
    fps: float = 16,
) -> Path:
    """The folder that the official evaluator reads, below `out`/worldscore_output.

    video [N,3,H,W] and image [3,H,W] in [0, 1]; camera [N] as asked for; seconds: wall time of generating. A count of
    frames other than the evaluator will expect is refused here rather than there.
    """
    folder = Path(out) / "worldscore_output" / instance.folder
    moves = len(instance.moves)
    expected = moves * (frames - 1) + 1
    if len(video) != expected or len(camera) != expected:
        raise InputError(
            f"{moves} moves of {frames} frames are {expected}, got {len(video)} frames and {len(camera)} cameras"
        )
    save_frames(folder / "frames", video)
    (folder / "videos").mkdir(exist_ok=True)
    with VideoWriter(folder / "videos" / "output.mp4", fps=fps) as writer:
        writer.write(video[..., : video.shape[-2] // 2 * 2, : video.shape[-1] // 2 * 2])
    save_image(folder / "input_image.png", image)
    keys = anchors(moves, frames)
    data = {**instance.row, "num_scenes": moves, "total_frames": expected}
    if instance.movement == "static":
        data["anchor_frame_idx"] = keys
        write_json(
            folder / "camera_data.json",
            {
                "focal_length": FOCAL,
                "scale": speed,
                "cameras": to_blender(camera[torch.tensor(keys)]),
                "cameras_interp": to_blender(camera),
            },
        )
    write_json(folder / "image_data.json", data)
    with replacing(folder / "time.txt") as beside:
        beside.write_text(f"{seconds:.4f}\n", encoding="utf-8")
    return folder


# -- the task -----------------------------------------------------------------------------------------------------


def run_worldscore(
    model: WorldModel, options: WorldScoreOptions, *, name: str = "", progress: Progress | None = None
) -> dict[str, Any]:
    """`evaluate_worldscore` of a model at its own size; `name` is the model's, for the record."""
    return evaluate_worldscore(
        options, generator_of(model, options), subject=subject_of(model, name, options.steps), progress=progress
    )


def evaluate_worldscore(
    options: WorldScoreOptions, generate: Generate, *, subject: Subject, progress: Progress | None = None
) -> dict[str, Any]:
    """Generate every instance into the official layout; score what needs no weights, and everything that an official
    evaluation.json tells. The official evaluator is then run on `out`/worldscore_output."""
    instances, size = instances_of(options), subject.size

    def work(instance: Instance) -> Callable[[Path], dict[str, Any]]:
        def make(folder: Path) -> dict[str, Any]:
            path = camera_path(instance.moves, frames=options.frames, speed=options.speed, size=size)
            image, _ = fit_image(load_image(instance.image), path[0], size)
            made = generate(image, path, instance.prompts)
            write_instance(
                options.out,
                instance,
                made.frames,
                path,
                image=image,
                frames=options.frames,
                speed=options.speed,
                seconds=made.seconds,
                fps=options.fps,
            )
            title = f"{instance.folder.name}: {', '.join(instance.moves)}"
            save_image(folder / "sheet.png", contact_sheet({"given": image[None], "made": made.frames}, title=title))
            return {"moves": list(instance.moves), "seconds": made.seconds, **_weightless(made, path)}

        return make

    tasks = [Task(_task_name(instance), work(instance)) for instance in instances]
    asked = options.record() | subject.record()
    outcome = run_tasks(tasks, options.out / "mirage_tasks", options=asked, progress=progress)
    found = list(_evaluations(options.out / "worldscore_output"))
    official = aggregate(found)
    rows = [
        {**outcome.results[_task_name(instance)], **_posed(instance, options, size)}
        for instance in instances
        if _task_name(instance) in outcome.results
    ]
    ours = {name: Summary.of(row.get(name) for row in rows) for name in OURS}
    summary = {"official": official, "evaluated": len(found), "ours": ours, "generated": len(outcome.results)}
    return write_results(
        options.out,
        outcome,
        summary,
        title="WorldScore",
        tables={
            "Official aspects, normalised": worldscore_table(official),
            "Without weights (ours)": markdown_table([ours]),
            "As published": published_table("WorldScore"),
        },
    )


def instances_of(options: WorldScoreOptions) -> list[Instance]:
    """The instances that are asked for."""
    return load_instances(options.dataset, options.movement)[: options.limit]


def worldscore_table(official: Mapping[str, Any]) -> str:
    """Aspect by aspect, then the headlines; what was not evaluated is "-"."""
    aspects = official["aspects"]
    rows = [
        {
            "aspect": name,
            "score": aspects[name].mean if name in aspects else None,
            "n": aspects[name].n if name in aspects else 0,
        }
        for name in (*STATIC, *DYNAMIC)
    ]
    return markdown_table(
        rows + [{"aspect": f"**{name}**", "score": official[name]} for name in ("static", "dynamic", "average")]
    )


# -- helpers ------------------------------------------------------------------------------------------------------


def _key_cameras(moves: Sequence[str], speed: float) -> Tensor:
    """w2c [moves + 1,4,4] in PyTorch3D axes, the first one the identity."""
    keys = [torch.eye(4, dtype=torch.float64)]
    for move in moves:
        keys = [key @ pose.invert(keys[-1]) for key in keys]  # the current camera becomes the origin
        keys.append(_moved(move, speed))
    return torch.stack([key @ pose.invert(keys[0]) for key in keys])


def _moved(move: str, v: float) -> Tensor:
    """w2c after a move from the origin."""

    def shift(x: float = 0.0, z: float = 0.0) -> Tensor:
        matrix = torch.eye(4, dtype=torch.float64)
        matrix[0, 3], matrix[2, 3] = x, z
        return matrix

    match move:
        case "push_in" | "pull_out":
            return shift(z=-v if move == "push_in" else v)
        case "move_left" | "move_right":
            return shift(x=-0.5 * v if move == "move_left" else 0.5 * v)
        case "pan_left" | "pan_right":
            return _turn(TURN if move == "pan_left" else -TURN)
        case "orbit_left" | "orbit_right":
            return shift(z=v) @ _turn(-TURN if move == "orbit_left" else TURN) @ shift(z=-v)
        case "fixed":
            return shift()
    raise InputError(f"no WorldScore move {move!r}; there are {', '.join(MOVES)}")


def _turn(degrees: float) -> Tensor:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[c, 0, -s, 0], [0, 1, 0, 0], [s, 0, c, 0], [0, 0, 0, 1]], dtype=torch.float64)


def _interpolated(keys: Tensor, frames: int) -> Tensor:
    """w2c [N,4,4]: `pose.interpolate` lerps the last column, which of a w2c is the translation, as wanted here."""
    steps = torch.arange(1, frames, dtype=torch.float64) / (frames - 1)
    parts = [pose.interpolate(a, b, steps) for a, b in itertools.pairwise(keys)]
    return torch.cat([keys[:1], *parts])


def _instance(row: Any, dataset: Path, movement: Movement, *, where: str) -> Instance:
    needed = {
        "static": ("visual_style", "scene_type", "camera_path", "image", "prompt_list", "style"),
        "dynamic": ("visual_style", "motion_type", "camera_path", "image", "prompt", "style"),
    }[movement]
    missing = [name for name in needed if not isinstance(row, dict) or name not in row]
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}")
    words = [row[name] for name in needed if name not in ("camera_path", "prompt_list")]
    lists = [row[name] for name in needed if name in ("camera_path", "prompt_list")]
    listed = [word for one in lists for word in (one if isinstance(one, list) else [None])]
    if not all(isinstance(word, str) for word in (*words, *listed)):
        raise InputError(f"{where} has something other than text in {', '.join(needed)}; expected WorldScore's row")
    names = [row[name] for name in ("visual_style", "scene_type", "motion_type") if name in needed]
    if not all(re.fullmatch(r"\w[\w .+=,@-]{0,99}", name) for name in (*names, *Path(row["image"]).parts[-2:])):
        raise InputError(f"{where} names a folder that cannot be one beside the others: {str(names)[:80]}")
    moves = tuple(row["camera_path"])
    unknown = [move for move in moves if move not in MOVES]
    if unknown or not moves:
        raise InputError(f"{where} has the moves {str(list(moves))[:200]}; expected some of {', '.join(MOVES)}")
    image = Path(row["image"])
    if movement == "static":
        folder = Path("static", row["visual_style"], row["scene_type"], image.parent.name, image.stem)
        texts = [_styled(text, row["style"]) for text in row["prompt_list"]]
        if len(texts) <= len(moves):
            raise InputError(f"{where} has {len(texts)} prompts for {len(moves)} moves; expected one more than moves")
        still = "Everything in the scene remains completely motionless."
        prompts = tuple(
            f"Camera {move.replace('_', ' ')}. {text} {still}" for move, text in zip(moves, texts[1:], strict=False)
        )
    else:
        folder = Path("dynamic", row["visual_style"], row["motion_type"], image.stem)
        prompts = (f"Camera fixed. {_styled(row['prompt'], row['style'])}",)
    return Instance(movement, folder, dataset / _below(image, dataset), moves, prompts, row)


def _styled(text: str, style: str) -> str:
    text = text.strip()
    return f"{text}{'' if text.endswith('.') else '.'} {style}".strip()


def _below(image: Path, dataset: Path) -> Path:
    """The image's path below the data set: rows name it from the folder above or from the folder itself."""
    parts = image.parts
    return Path(*parts[parts.index(dataset.name) + 1 :]) if dataset.name in parts else image


def _task_name(instance: Instance) -> str:
    return "/".join(
        "".join(c if c.isalnum() or c in "-_.+=,@ " else "_" for c in part).lstrip(". -+") or "_"
        for part in instance.folder.parts
    )


def _weightless(made: Walk, path: Camera) -> dict[str, Any]:
    """From the walk's own depth, which stands at every fourth frame on the latent grid."""
    smooth = motion_smoothness_proxy(made.frames)
    known: dict[str, Any] = {"smoothness_mse": smooth["mse"], "smoothness_ssim": smooth["ssim"]}
    if made.depth is not None:
        stations = path[::TIME_STRIDE]
        pixels = made.frames.shape[-1] / made.depth.shape[-1]  # per latent cell
        reverse = torch.arange(len(stations) - 1, -1, -1)
        flow, _ = induced_flow(made.depth, stations)
        back, _ = induced_flow(made.depth[reverse], stations[reverse])
        known |= {
            "reprojection_error": reprojection_error(made.depth, stations, cell=1) * pixels / 8,
            "aepe": aepe(flow, back.flip(0), margin=round(_MARGIN / pixels)) * pixels / TIME_STRIDE,
            "motion_magnitude": motion_magnitude(flow) * pixels / TIME_STRIDE,
        }
    return known


def _posed(instance: Instance, options: WorldScoreOptions, size: tuple[int, int]) -> dict[str, float]:
    """Camera control's raw numbers, where somebody left estimated cameras in the instance's folder."""
    estimated = estimated_cameras(options.out / "worldscore_output" / instance.folder)
    if estimated is None:
        return {}
    path = camera_path(instance.moves, frames=options.frames, speed=options.speed, size=size)
    if len(estimated) != len(path):
        raise InputError(f"{instance.folder} has {len(estimated)} estimated cameras; expected {len(path)}")
    rotation, translation = camera_errors(estimated.relative_to(estimated[0]), path, speed=options.speed)
    return {"camera_rotation": rotation, "camera_translation": translation}


def _evaluations(output: Path) -> Iterator[Mapping[str, Any]]:
    for path in sorted(output.rglob("evaluation.json")):
        content = read_json(path, accepts="WorldScore's evaluation of an instance")
        if not isinstance(content, dict):
            raise InputError(
                f"{path} holds a {type(content).__name__}; expected WorldScore's evaluation of an instance"
            )
        yield {aspect: metrics for aspect, metrics in content.items() if aspect in BOUNDS and metrics}
