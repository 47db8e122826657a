"""`mirage generate`: one image and a camera path become a video, a contact sheet beside it, and a receipt.

Everything that can be refused is looked at before the model is loaded; chunks go into the video as they are made.
`F` video frames, `H W` pixels.
"""

import dataclasses
import math
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from mirage.cli.arguments import Generate, Walking
from mirage.cli.terminal import Result, beside, peak_memory, progress
from mirage.depth.protocol import FromFrames
from mirage.errors import InputError
from mirage.files import check_writable
from mirage.formats.depth import cut_depth, load_depth
from mirage.formats.image import fit_image, load_image, save_image
from mirage.formats.picture import contact_sheet
from mirage.formats.prompts import load_prompts
from mirage.formats.receipt import versions, write_receipt
from mirage.formats.trajectories import load_trajectory, square_pixels
from mirage.formats.video import VideoWriter, load_video
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.memory import MemoryPolicy
from mirage.memory.policy import MOST_BYTES
from mirage.models.files.index import look_first
from mirage.models.fitting.offload import check_offload
from mirage.models.fitting.quantize import check_quantize
from mirage.models.world import WorldModel, load_world_model
from mirage.rollout import Chunk, Session
from mirage.rollout.estimators import check_estimator, make_estimator
from mirage.rollout.memories import make_memory
from mirage.rollout.overlap import overlapped, overlaps
from mirage.rollout.schedule import STRIDE, whole_frames, windows
from mirage.rollout.session import Segmenter, Settings

FIELD_OF_VIEW = 65.0
PICTURES = 8  # on the contact sheet
BRANCH_CACHED = (
    "--cache does not go with the memory branch, whose hints would be stale in the steps that are left "
    "out; accepted with --conditioning guidance"
)


def run(asked: Generate) -> Result:
    """Walk, and leave the video with what belongs to it."""
    started = time.perf_counter()
    device = _check(asked)
    sheet, receipt = beside(asked.out, ".sheet.png"), beside(asked.out, ".receipt.json")
    for output in (asked.out, sheet, receipt, *([asked.save_world] if asked.save_world else [])):
        check_writable(output)
    prompts = None if asked.prompts is None else load_prompts(asked.prompts)
    video = VideoWriter(asked.out, fps=asked.fps)
    start = None if asked.world else _start(asked)
    model = load_world_model(
        asked.model,
        branch=asked.branch,
        lora=asked.lora,
        device=device,
        quantize=asked.quantize,
        offload=asked.offload,
        tile=asked.tile,
    )
    loaded = time.perf_counter()
    conditioning = _prepared(asked, model)
    estimator = make_estimator(asked.depth_model, device=device)
    named = _named(asked, device)
    session, path, first = (
        _continued(asked, model, estimator, named) if start is None else _begun(asked, start, model, estimator, named)
    )
    by_chunk = prompts.by_chunk(len(path), model.chunk_frames) if prompts else {}
    prompt, begun = session.prompt, time.perf_counter()

    chunks: list[dict[str, Any]] = []
    shown: list[Tensor] = []
    total = len(path) - (first is None)
    chosen = set(torch.linspace(0, total - 1, min(PICTURES, total)).round().long().tolist())
    stopped = False
    with video:
        try:
            for chunk in walk(session, path, prompts=by_chunk):
                frames = chunk.frames
                if first is not None and not video.frames:
                    # what was given is not shown as the model saw it
                    frames = torch.cat([first[None].to(frames), frames[1:]])
                shown += pictures(frames, chosen, first=video.frames)
                video.write(frames)
                chunks.append(chunk_report(chunk))
        except KeyboardInterrupt:
            if not video.frames:
                raise KeyboardInterrupt("stopped before the first chunk was done; nothing was written") from None
            stopped = True

    numbers = [str(number) for number in sorted(chosen) if number < video.frames]
    save_image(
        sheet,
        contact_sheet(
            {session.prompt or asked.out.name: torch.stack(shown)},
            columns=PICTURES,
            captions={session.prompt or asked.out.name: numbers},
        ),
    )
    if asked.save_world and not stopped:
        session.save(asked.save_world)
    ended = time.perf_counter()
    write_receipt(
        receipt,
        {
            "command": sys.argv[1:],
            "versions": versions(),
            "model": asked.model,
            **additions(asked),
            "seed": session.seed,
            "prompt": prompt,
            "prompts": {str(number): text for number, text in by_chunk.items()},
            "negative_prompt": asked.negative_prompt,
            "guidance_scale": asked.guidance_scale,
            "flow_shift": session.settings.flow_shift,
            "conditioning": conditioning,
            "cache": asked.cache,
            "steps": session.settings.steps or model.default_steps,
            "draft": asked.draft,
            "noise_scale": session.settings.noise_scale,
            "memory": asked.memory,
            "memory_budget": asked.memory_budget,
            "depth_model": asked.depth_model,
            "moving": asked.moving,
            "device": str(device),
            "offload": asked.offload,
            "quantize": asked.quantize,
            "tile": asked.tile,
            "size": list(model.size),
            "frames": video.frames,
            "fps": asked.fps,
            "stopped": stopped,
            "peak_memory_bytes": peak_memory(),
            "seconds": {
                "load": loaded - started,
                "begin": begun - loaded,
                "walk": ended - begun,
                "total": ended - started,
            },
            "chunks": chunks,
        },
    )
    print(
        f"wrote {asked.out}: {video.frames} frames in {len(chunks)} chunks, {ended - started:.1f} s, memory "
        f"{len(session.memory):,} points in {session.memory.nbytes / 2**20:.2f} MiB"
    )
    print(f"      {sheet} and {receipt}" + (f"; the world is in {asked.save_world}" if asked.save_world else ""))
    if stopped:
        print(f"mirage: stopped after {video.frames} of {total} frames; {asked.out} holds them", file=sys.stderr)
    summary = {
        "video": str(asked.out),
        "sheet": str(sheet),
        "receipt": str(receipt),
        "frames": video.frames,
        "chunks": len(chunks),
        "seed": session.seed,
        "seconds": ended - started,
        "points": len(session.memory),
        "memory_bytes": session.memory.nbytes,
        "peak_memory_bytes": peak_memory(),
        "stopped": stopped,
    }
    return Result(summary, 130 if stopped else 0)


def walk(
    session: Session, path: Camera, *, prompts: Mapping[int, str] = MappingProxyType({}), what: str = "walking"
) -> Iterator[Chunk]:
    """`session.follow(path)` with a progress bar; on a GPU chunks come decoded, which ran beside the next one."""
    count = len(list(windows(len(path), session.model.chunk_frames)))
    steps = session.settings.steps or session.model.default_steps
    with progress(what, total=count) as show:
        done = 0

        def step(number: int, latents: Tensor) -> None:
            show(done + 0.9 * (number + 1) / steps, f"chunk {done + 1} of {count}")

        def made() -> Iterator[Chunk]:
            nonlocal done
            for chunk in session.follow(path, prompts=prompts, callback=step):
                done += 1
                show(done, f"chunk {min(done + 1, count)} of {count}")
                yield chunk

        yield from overlapped(made(), device=session.model.runs_on) if overlaps(session.model) else made()


def pictures(frames: Tensor, chosen: Collection[int], *, first: int) -> list[Tensor]:
    """Those of frames `first`, `first` + 1, ... [F,3,H,W] that are chosen. Copies, in main memory: a view would keep
    all frames, and a long walk would fill a GPU."""
    return [frame.cpu().clone() for number, frame in enumerate(frames, start=first) if number in chosen]


def chunk_report(chunk: Chunk) -> dict[str, Any]:
    """What a receipt tells of a chunk; plain and finite."""
    fit = chunk.alignment
    lock = (
        None
        if fit is None
        else {
            name: value if math.isfinite(value) else None
            for name, value in (
                ("scale", fit.scale),
                ("shift", fit.shift),
                ("residual", fit.residual),
                ("overlap", fit.overlap),
            )
        }
    )
    return {
        "index": chunk.index,
        "frames": len(chunk.camera),
        "seconds": dict(chunk.timings),
        "points": chunk.memory_points,
        "points_added": chunk.points_added,
        "memory_bytes": chunk.memory_bytes,
        "known": float(chunk.readout.mask.float().mean()),
        "references": chunk.references,
        "scale_lock": lock and {**lock, "accepted": fit and fit.accepted, "reason": fit and fit.reason},
    }


def additions(asked: Walking) -> dict[str, str | None]:
    """Files beside the model, for a receipt."""
    return {"branch": asked.branch and str(asked.branch), "lora": asked.lora and str(asked.lora)}


def parse_bytes(text: str) -> int:
    """A number of bytes from "8MiB", "200 KB" or "65536"."""
    units = {
        "": 1,
        "b": 1,
        "kb": 10**3,
        "mb": 10**6,
        "gb": 10**9,
        "kib": 2**10,
        "mib": 2**20,
        "gib": 2**30,
        "tib": 2**40,
    }
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)\s*", text.lower())
    size = float(found[1]) * units.get(found[2], 0) if found else 0
    if not 1 <= size <= MOST_BYTES:
        raise InputError(
            f"a memory budget is a size above 0 such as 8MiB or 200KB, at most {MOST_BYTES >> 40}TiB; got {text[:80]!r}"
        )
    return int(size)


# -- what was asked for ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Start:
    """A new world's beginning: image [3,H,W] with the path [F] as seen through all of it, its depth and what moves, if
    known."""

    image: Tensor
    path: Camera
    depth: DepthMap | None
    moving: Segmenter | None


def _check(asked: Generate) -> torch.device:
    """Choices that exclude each other or cannot be; the device to compute on."""
    if (asked.image is None) == (asked.world is None):
        raise InputError("generate begins with --image FILE or goes on with --world FILE: one of the two is needed")
    for name in ("depth", "fov", "memory_budget"):
        if asked.world is not None and getattr(asked, name) is not None:
            raise InputError(f"--{name.replace('_', '-')} is for a new world; a saved one (--world) has its own")
    check_estimator(asked.depth_model)
    index = look_first(asked.model)
    if index is not None and not index.depth_head and asked.depth_model == "head":
        raise InputError(
            f"--model {asked.model} has no depth head; accepted with it: --depth-model depth-anything, depth-pro, da3, "
            "mapanything, or depth maps"
        )
    if asked.moving is not None:
        from mirage.models.others.moving import check_moving

        check_moving(asked.moving)
        if asked.static_mask is not None:
            raise InputError("--static-mask shows what moves, and --moving looks for it: one of them")
    elif asked.segmenter is not None:
        raise InputError("--segmenter is for --moving: what shall it look for?")
    if asked.depth is not None and asked.depth_model != "head":
        raise InputError("--depth is of the image alone, and --depth-model of every chunk: give one of them")
    if asked.memory != "latent":
        for name in ("memory_budget", "world", "save_world"):
            if getattr(asked, name) is not None:
                raise InputError(f"--{name.replace('_', '-')} is about a latent memory, not --memory {asked.memory}")
    if asked.frames is not None and (asked.frames < 1 + STRIDE or whole_frames(asked.frames) != asked.frames):
        raise InputError(
            f"--frames {asked.frames}: a video has 1 + 4k frames (5, 9, 13, ...); the next lower is "
            f"{max(whole_frames(max(asked.frames, 1)), 1 + STRIDE)}"
        )
    if asked.steps is not None and not 1 <= asked.steps <= 1000:
        raise InputError(f"--steps {asked.steps}: expected 1 to 1000")
    if asked.fov is not None and not 1 <= asked.fov <= 170:
        raise InputError(f"--fov {asked.fov}: a field of view is 1 to 170 degrees")
    if not math.isfinite(asked.guidance_scale):
        raise InputError(f"--guidance-scale {asked.guidance_scale}: expected a finite number, 1 for none")
    if asked.noise_scale is not None and not 0 <= asked.noise_scale <= 1:
        raise InputError(f"--noise-scale {asked.noise_scale}: expected 0 to 1")
    if asked.flow_shift is not None and not 0 < asked.flow_shift <= 100:
        raise InputError(f"--flow-shift {asked.flow_shift}: expected a number above 0, at most 100 (Wan2.2: 5)")
    if asked.negative_prompt and asked.guidance_scale == 1.0:
        raise InputError("--negative-prompt needs --guidance-scale other than 1 (Wan2.2: 5)")
    if asked.cache is not None and not 0 <= asked.cache < 1:
        raise InputError(f"--cache {asked.cache}: expected 0 up to 1, such as 0.05")
    if asked.cache is not None and asked.conditioning == "branch":
        raise InputError(BRANCH_CACHED)
    if asked.cache is not None and asked.compile:
        raise InputError("--cache and --compile do not go together: one of them")
    if asked.seed is not None and not -(2**63) <= asked.seed < 2**63:
        raise InputError(f"--seed {asked.seed}: expected a number of 64 bits")
    if asked.tile is not None and asked.tile < 1:
        raise InputError(f"--tile {asked.tile}: expected pixels, above 0")
    if asked.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no CUDA device on this machine; accepted: auto, cpu")
    device = torch.device("cuda" if asked.device != "cpu" and torch.cuda.is_available() else "cpu")
    check_quantize(asked.quantize, device=device)
    check_offload(asked.offload, device=device)
    return device


def _prepared(asked: Generate, model: WorldModel) -> str:
    """The model made to run as asked; how the memory will enter."""
    conditioning = model.conditioning(asked.conditioning)
    if asked.cache is not None:
        if conditioning == "branch":
            raise InputError(BRANCH_CACHED)
        model.cache_steps(asked.cache)
    if asked.compile:
        model.compile_blocks()
    return conditioning


def _start(asked: Generate) -> _Start:
    assert asked.image is not None
    image = load_image(asked.image)
    height, width = image.shape[-2:]
    camera = Camera.looking(horizontal_fov=asked.fov or FIELD_OF_VIEW, aspect=width / height)
    path = square_pixels(_path(asked, camera), (height, width))
    if asked.fov is not None:
        path = path.with_intrinsics(camera.intrinsics)
    depth = load_depth(asked.depth, size=(height, width)) if asked.depth else None
    return _Start(image, path, depth, _painted(asked, frames=len(path), start=0))


def _painted(asked: Generate, *, frames: int, start: int) -> Segmenter | None:
    """The mask video, whose first frame belongs to frame `start` of the walk."""
    if asked.static_mask is None:
        return None
    mask = load_video(asked.static_mask).float().mean(1) > 127  # [F,H,W]
    if len(mask) < frames:
        raise InputError(f"--static-mask {asked.static_mask} has {len(mask)} frames, and the walk needs {frames}")

    def moving(first: int, count: int, frames: Callable[[], Tensor]) -> Tensor:
        return mask[first - start :][:count]

    return moving


def _named(asked: Generate, device: torch.device) -> Segmenter | None:
    """What finds the things of --moving."""
    if asked.moving is None:
        return None
    from mirage.models.others.moving import SAM3, load_moving

    return load_moving(asked.moving, segmenter=asked.segmenter or SAM3, device=device)


def _path(asked: Generate, camera: Camera) -> Camera:
    """The path [1 + 4k] from where `camera` stands."""
    path = load_trajectory(
        asked.trajectory, start=camera, frames=asked.frames, resample=asked.resample, convention=asked.convention
    )
    whole = whole_frames(len(path))
    if whole < 1 + STRIDE:
        raise InputError(
            f"the path {asked.trajectory!r} has {len(path)} poses; a walk needs at least {1 + STRIDE} "
            "(--frames with --resample makes more)"
        )
    if whole < len(path):
        print(f"the path has {len(path)} poses and the video the first {whole} of them: 1 + 4k frames")
    return path[:whole]


def _begun(
    asked: Generate, start: _Start, model: WorldModel, estimator: FromFrames | None, named: Segmenter | None
) -> tuple[Session, Camera, Tensor | None]:
    """A new session, its path, and the image as the video's first frame."""
    image, path = fit_image(start.image, start.path, model.size)
    policy = MemoryPolicy(max_bytes=parse_bytes(asked.memory_budget)) if asked.memory_budget else None
    session = Session(
        model,
        image,
        camera=path[0],
        prompt=asked.prompt or "",
        policy=policy,
        seed=asked.seed or 0,
        depth=estimator if start.depth is None else cut_depth(start.depth, model.size),
        memory=None if asked.memory == "latent" else make_memory(asked.memory, model),
        settings=_settings(asked, Settings()),
        moving=start.moving or named,
    )
    return session, path, image


def _continued(
    asked: Generate, model: WorldModel, estimator: FromFrames | None, named: Segmenter | None
) -> tuple[Session, Camera, Tensor | None]:
    """A saved session, and a path from where it stands; the video has no frame of that pose, which it had before."""
    assert asked.world is not None
    session = Session.load(asked.world, model, depth=estimator)
    path = _path(asked, session.camera).with_intrinsics(session.camera.intrinsics)
    session.moving = named or _painted(asked, frames=len(path) - 1, start=STRIDE * int(session.history.number[-1]) + 1)
    if asked.prompt is not None:
        session.prompt = asked.prompt
    if asked.seed is not None:
        session.seed = asked.seed
    session.settings = _settings(asked, session.settings)
    return session, path, None


def _settings(asked: Generate, before: Settings) -> Settings:
    """What was asked for, over what a saved session had."""
    return dataclasses.replace(
        before,
        steps=asked.steps or before.steps,
        flow_shift=asked.flow_shift or before.flow_shift,
        conditioning=asked.conditioning,
        filter=asked.static_filter or before.filter,
        draft=before.draft if asked.draft == "auto" else asked.draft == "on",
        noise_scale=before.noise_scale if asked.noise_scale is None else asked.noise_scale,
        guidance_scale=asked.guidance_scale,
        negative_prompt=asked.negative_prompt,
    )
