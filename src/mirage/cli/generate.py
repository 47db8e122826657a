"""`mirage generate`: one image and a camera path become a video, a contact sheet beside it, and a receipt.

Everything that can be refused is looked at before the model is loaded; what is made is kept chunk by chunk (kept.py).
`F` video frames, `H W` pixels.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from mirage.chunks import windows
from mirage.cli.arguments import Generate, Walking
from mirage.cli.kept import Kept, Places, read_receipt
from mirage.cli.stopping import Stop, Terminated, stoppable
from mirage.cli.terminal import Result, peak_memory, progress
from mirage.errors import InputError, check_number
from mirage.files import claimed
from mirage.formats.receipt import versions
from mirage.formats.video import VideoWriter
from mirage.geometry.camera import Camera
from mirage.models.files.index import look_first
from mirage.models.words import vocabulary, words_read
from mirage.models.world import WorldModel
from mirage.request import ModelRequest, Request, checked_plain
from mirage.rollout import Chunk, Session
from mirage.rollout.begin import (
    Opened,
    begin,
    device_of,
    framed,
    load_model,
    open_request,
    prompts_by_chunk,
    resumed,
)
from mirage.rollout.looking_back import preceding
from mirage.rollout.overlap import overlapped, overlaps
from mirage.rollout.plan import Progress
from mirage.rollout.state import Snapshot

FITTING = ("device", "offload", "quantize", "tile", "compile")
"""Of a model's request, what may be typed to resume: it changes how the model runs, and not which."""


@dataclass(frozen=True)
class Asked:
    """What is to be done, from what was typed or from a receipt. `before`: that of the walk to go on with."""

    request: Request
    model: ModelRequest
    places: Places
    fps: float
    inputs: list[Path | str | None]
    overwrite: bool = False
    before: Mapping[str, Any] | None = None


@dataclass
class At:
    """Where in the work one is, for who has to say that it ended there."""

    stage: str = "while the model was loaded"


def run(typed: Generate) -> Result:
    """Walk, and leave the video with what belongs to it."""
    if typed.words:
        return _vocabulary(typed)
    asked = _to_resume(typed, typed.resume) if typed.resume is not None else _new(typed)
    asked.request.check_with(asked.model)
    _check_depth(asked.model.model, asked.request.depth_model)
    device_of(asked.model)
    places, at = asked.places, At()
    with stoppable() as stop, ExitStack() as claims:
        for path in (places.video, *([places.world] if places.world else [])):
            claims.enter_context(claimed(path))
        if asked.before is None:
            places.settle(overwrite=asked.overwrite)
            places.check(asked.inputs, overwrite=asked.overwrite)
        try:
            return _walked(asked, stop, at)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            print(f"mirage: out of memory {at.stage}; nothing was written; {MAY_FIT}", file=sys.stderr)
            return Result({"video": None, "frames": 0, "stopped": True}, 1)


def _check_depth(model: str, depth_model: str) -> None:
    """Depth of every chunk comes from somewhere; told before weights are read or fetched."""
    index = look_first(model)
    if index is not None and not index.depth_head and depth_model == "head":
        raise InputError(f"--model {model} has no depth head; accepted with it: --depth-model depth-anything, "
                         f"depth-pro, da3, mapanything, or depth maps")  # fmt: skip


def walk(
    session: Session,
    path: Camera,
    *,
    prompts: Mapping[int, str] = MappingProxyType({}),
    what: str = "walking",
    done: int = 0,
    at: At | None = None,
) -> Iterator[tuple[Chunk, Snapshot]]:
    """`session.follow(path)` with a progress bar, each chunk with the moment after it; on a GPU chunks come decoded,
    which ran beside the next one. `done`: chunks that were made before; `at` is told where one is."""
    count = done + len(list(windows(len(path), session.model.chunk_frames)))
    at = at or At()
    with progress(what, total=count) as show:
        made, moments = done, dict[int, Snapshot]()

        def step(now: Progress) -> None:
            share = (now.step + 1) / now.steps
            at.stage = f"in chunk {made + 1} of {count}, {now.stage} step {now.step + 1} of {now.steps}"
            show(made + (0.2 * share if now.stage == "draft" else 0.2 + 0.3 * share), f"chunk {made + 1} of {count}")

        def following() -> Iterator[Chunk]:
            for chunk in session.follow(path, prompts=prompts, callback=step):
                moments[chunk.index] = session.snapshot()
                yield chunk

        at.stage = f"in chunk {made + 1} of {count}"
        decoded = overlaps(session.model)
        for chunk in overlapped(following(), device=session.model.runs_on) if decoded else following():
            at.stage = f"in chunk {made + 1} of {count}, decoding"
            show(made + 0.5, f"chunk {made + 1} of {count}, decoding")
            _ = chunk.frames
            made += 1
            show(made, f"chunk {min(made + 1, count)} of {count}")
            yield chunk, moments.pop(chunk.index)
            at.stage = f"in chunk {made + 1} of {count}"


def _walked(asked: Asked, stop: Stop, at: At) -> Result:
    """Begin or go on, chunk by chunk, and say what there is."""
    started, before, places = time.perf_counter(), asked.before, asked.places
    opened = open_request(asked.request) if before is None else None
    model = load_model(asked.model, conditioning=asked.request.conditioning)
    loaded, at.stage = time.perf_counter(), "at the first picture"
    if opened is not None:
        session, path = begin(asked.request, model, opened)
        done, by_chunk, film, frames = 0, prompts_by_chunk(opened, path, model), None, 0
        _say_of_pictures(asked.request, opened, model, path)
        for text in dict.fromkeys([session.prompt, session.settings.negative_prompt, *by_chunk.values()]):
            for remark in words_read(model, text).remarks():
                print(f"mirage: {remark}", file=sys.stderr)
        facts = _facts(asked, session, by_chunk) | {"image": _pictured(asked.request, opened, model)}
    else:
        assert before is not None
        session, path, done = resumed(asked.request, model, places.resume)
        by_chunk = {int(number): text for number, text in before["prompts"].items()}
        frames = before["resume"]["frames"]
        film = places.film(frames)
        facts = {**before, "request": {"walk": asked.request.plain(), "model": asked.model.plain()}}
    begun = {"load": loaded - started, "begin": time.perf_counter() - loaded}
    reports: list[dict[str, Any]] = []
    if before is not None:
        begun = {name: before["seconds"][name] + begun.get(name, 0.0) for name in ("load", "begin", "walk")}
        reports = list(before["chunks"][:done])

    ended: BaseException | None = None
    with VideoWriter(places.video, fps=asked.fps, onto=film, first=frames or None) as video:
        kept = Kept(places, session, path, video, facts, begun, done=done, reports=reports)
        if film is not None:
            kept.before(film, frames)
        rest = path[done * (model.chunk_frames - 1) :]
        later = {number - done: text for number, text in by_chunk.items() if number >= done}
        try:
            for chunk, moment in walk(session, rest, prompts=later, done=done, at=at):
                with stop.held():
                    kept.add(chunk, moment)
        except BaseException as error:  # what is done is kept; the error is told after that
            stop.ending()
            if not video.frames:
                if isinstance(error, KeyboardInterrupt):
                    raise type(error)("stopped before the first chunk was done; nothing was written") from None
                raise
            ended = error
        stop.ending()
    session.restore(kept.moment)  # where the video ends, also if a chunk was made that is not in it
    kept.finish(session.prompt or places.video.name)
    return _said(kept, ended, at)


def _said(kept: Kept, ended: BaseException | None, at: At) -> Result:
    """What there is now, and why it is not more."""
    places, session = kept.places, kept.session
    seconds = kept.begun["load"] + kept.begun["begin"] + time.perf_counter() - kept.started
    print(
        f"wrote {places.video}: {kept.video.frames} frames in {len(kept.reports)} chunks, {seconds:.1f} s, memory "
        f"{len(session.memory):,} points in {session.memory.nbytes / 2**20:.2f} MiB"
    )
    print(f"      {places.sheet} and {places.receipt}" + (f"; the world is in {places.world}" if places.world else ""))
    code = 0
    if isinstance(ended, KeyboardInterrupt):
        code = 143 if isinstance(ended, Terminated) else 130
        print(f"mirage: stopped; {kept.words()}", file=sys.stderr)
    elif ended is not None and out_of_memory(ended):
        code = 1
        print(f"mirage: out of memory {at.stage}; {kept.words()}; {MAY_FIT}", file=sys.stderr)
    elif isinstance(ended, InputError):
        raise InputError(f"{ended}; {kept.words()}") from ended
    elif ended is not None:
        print(f"mirage: {kept.words()}", file=sys.stderr)
        raise ended
    summary = {
        "video": str(places.video),
        "sheet": str(places.sheet),
        "receipt": str(places.receipt),
        "frames": kept.video.frames,
        "chunks": len(kept.reports),
        "seed": session.seed,
        "seconds": seconds,
        "points": len(session.memory),
        "memory_bytes": session.memory.nbytes,
        "peak_memory_bytes": peak_memory(),
        "stopped": ended is not None,
    }
    return Result(summary, code)


MAY_FIT = "what may fit: --offload model or group, --tile 320, --quantize int8 (mirage plan counts)"


def out_of_memory(error: BaseException) -> bool:
    """Of Python, a GPU, or torch on a CPU, which has no class for it."""
    cpu = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    return cpu or isinstance(error, MemoryError | torch.OutOfMemoryError)


# -- what is asked ----------------------------------------------------------------------------------------------------


def _new(typed: Generate) -> Asked:
    request, model = typed.requests(load_again(typed.again) if typed.again else ({}, {}))
    if typed.out is None:
        raise InputError("--out FILE is needed: the video, .mp4, .mov or .mkv")
    if typed.save_world is not None and request.memory != "latent":
        raise InputError(f"--save-world is about a latent memory, not --memory {request.memory}")
    if typed.again is not None:
        _compare_pictures(typed.again, request)
    its = [getattr(each, item.name) for each in (request, model) for item in fields(each)]
    paths = [value for value in its if isinstance(value, Path)]
    words = [Path(word) for word in (request.trajectory, request.depth_model, model.model) if len(word) < 1000]
    folder = Path(model.model)
    inside = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    inputs = [*paths, *(word for word in words if word.is_file()), *inside, typed.again]
    places = Places(typed.out, typed.save_world)
    return Asked(request, model, places, typed.fps, inputs, overwrite=typed.overwrite)


def _to_resume(typed: Generate, receipt: Path) -> Asked:
    """The walk of a receipt that was interrupted; all that it needs is in the receipt and beside it."""
    allowed = {"resume", "json", *FITTING}
    extra = [item.name for item in fields(typed) if getattr(typed, item.name) != item.default]
    if odd := [f"--{name.replace('_', '-')}" for name in extra if name not in allowed]:
        raise InputError(f"--resume goes on with what its receipt asks for; typed beside it: {', '.join(odd)}")
    held = read_receipt(receipt)
    if not isinstance(held.get("resume"), dict):
        raise InputError(f"{receipt} has nothing to go on with; expected that of a walk that was interrupted")
    walked, model = load_again(receipt)
    try:
        places = Places(receipt.with_name(held["video"]), None if held["world"] is None else Path(held["world"]))
        fps = check_number(f"{receipt}: fps", held["fps"])
        check_number(f"{receipt}: frames", held["resume"]["frames"], kind=int, low=1)
        whole = isinstance(held["chunks"], list) and all(int(number) >= 0 for number in held["prompts"])
        seconds = [check_number(f"{receipt}: seconds", held["seconds"][name]) for name in ("load", "begin", "walk")]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{receipt} is not as generate writes it: {error!r}") from error
    if places.receipt != receipt or not whole or not seconds:
        raise InputError(f"{receipt} is not beside its video {places.video}; expected {places.receipt}")
    if not places.resume.is_file():
        raise InputError(f"{places.resume} is gone, from which {receipt} goes on")
    chosen = {name: getattr(typed, name) for name in FITTING if name in extra}
    return Asked(Request(**walked), ModelRequest(**(model | chosen)), places, fps, [], before=held)


def load_again(receipt: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The request that a receipt holds, and that of its model; plain choices, checked for their kinds."""
    held, source = read_receipt(receipt)["request"], str(receipt)
    return (
        checked_plain(Request, held["walk"], source=source),
        checked_plain(ModelRequest, held["model"], source=source),
    )


def additions(asked: Walking | ModelRequest) -> dict[str, str | None]:
    """Files beside the model, for a receipt."""
    return {"branch": asked.branch and str(asked.branch), "lora": asked.lora and str(asked.lora)}


def _vocabulary(typed: Generate) -> Result:
    """Every word that a model knows."""
    its = {item.name: getattr(typed, item.name) for item in fields(ModelRequest)}
    known = vocabulary(load_model(ModelRequest(**its)))
    print("any text, in pieces of words" if known is None else "\n".join(known))
    return Result({"words": known})


# -- what is told -----------------------------------------------------------------------------------------------------


def _facts(asked: Asked, session: Session, by_chunk: Mapping[int, str]) -> dict[str, Any]:
    """What a receipt says of how a walk is made; it does not change on the way."""
    request, of_model, model = asked.request, asked.model, session.model
    sampler, device = session.settings.sampler.over(model.sampler), device_of(of_model)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "command": sys.argv[1:],
        "request": {"walk": request.plain(), "model": of_model.plain()},
        "versions": versions(),
        "model": of_model.model,
        **additions(of_model),
        "seed": session.seed,
        "prompt": session.prompt,
        "prompts": {str(number): text for number, text in by_chunk.items()},
        "negative_prompt": session.settings.negative_prompt,
        "guidance_scale": sampler.guidance,
        "flow_shift": sampler.shift,
        "sampler_grid": sampler.grid,
        "conditioning": model.conditioning(request.conditioning),
        "cache": of_model.cache,
        "steps": sampler.steps,
        "draft": request.draft,
        "noise_scale": sampler.noise,
        "memory": request.memory,
        "memory_budget": request.memory_budget,
        "memory_policy": request.memory_policy,
        "references": model.references if session.settings.references is None else session.settings.references,
        "preceding": preceding(session),
        "depth_model": request.depth_model,
        "moving": request.moving,
        "device": str(device),
        "device_name": name,
        "dtype": str(model.transformer.dtype).removeprefix("torch."),
        "offload": of_model.offload,
        "quantize": of_model.quantize,
        "tile": of_model.tile,
        "size": [side * model.stride for side in session.grid],
        "fps": asked.fps,
    }


def _pictured(request: Request, opened: Opened, model: WorldModel) -> dict[str, Any] | None:
    """The picture, as the walk has it."""
    if opened.photograph is None or opened.path is None:
        return None
    return framed(request, model, opened.photograph, opened.path)[0].receipt()


def _say_of_pictures(request: Request, opened: Opened, model: WorldModel, path: Camera) -> None:
    if opened.photograph is not None and opened.path is not None:
        print(framed(request, model, opened.photograph, opened.path)[0])
    if opened.poses > len(path):
        print(f"the path has {opened.poses} poses and the video the first {len(path)} of them: 1 + 4k frames")


def _compare_pictures(receipt: Path, request: Request) -> None:
    """Say where the picture is another one than the receipt's walk began with."""
    import hashlib

    image = read_receipt(receipt).get("image")
    was = image.get("sha256") if isinstance(image, dict) else None
    if was is None or request.image is None or not request.image.is_file():
        return
    with request.image.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != was:
            print(f"mirage: {request.image} is not the picture of {receipt}, whose SHA-256 is {was}", file=sys.stderr)
