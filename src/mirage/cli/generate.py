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
from mirage.cli.kept import Kept, Places
from mirage.cli.plan import what_fits
from mirage.cli.receipts import SPENT, Unfinished, load_again, read_receipt, read_unfinished, written
from mirage.cli.stopping import Stop, stoppable
from mirage.cli.terminal import Result, Wrote, peak_memory, progress
from mirage.errors import InputError, Terminated, check_number
from mirage.files import claimed, identity
from mirage.formats.footage import VIDEOS
from mirage.formats.receipt import check_written, versions
from mirage.formats.source import object_of
from mirage.formats.video import VideoWriter
from mirage.geometry.camera import Camera
from mirage.models.files.index import look_first
from mirage.models.files.lora_spec import lora_specs
from mirage.models.files.loras import asked_for
from mirage.models.flow import solver_of
from mirage.models.loading import BUNDLED
from mirage.models.words import vocabulary, words_read
from mirage.models.world import WorldModel
from mirage.request import ModelRequest, Request
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
    inputs: list[Path | str | None]
    overwrite: bool = False
    before: Unfinished | None = None


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
        for path in {identity(path): path for path in (places.world, places.video) if path is not None}.values():
            claims.enter_context(claimed(path))
        if asked.before is None:
            places.settle(overwrite=asked.overwrite)
        places.check(asked.inputs, overwrite=asked.overwrite)
        try:
            return _walked(asked, stop, at)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            print(f"mirage: out of memory {at.stage}; nothing was written; {_fits(asked)}", file=sys.stderr)
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
    wrote = Wrote(places.video, places.sheet, places.receipt, places.world)
    opened = open_request(asked.request) if before is None else None
    model = load_model(asked.model, conditioning=asked.request.conditioning)
    loaded, at.stage = time.perf_counter(), "at the first picture"
    if opened is not None:
        session, path = begin(asked.request, model, opened)
        done, by_chunk, film, frames = 0, prompts_by_chunk(opened, path, model), None, 0
        reports: list[dict[str, Any]] = []
        _say_of_pictures(asked.request, opened, model, path)
        for text in dict.fromkeys([session.prompt, asked.request.negative_prompt or "", *by_chunk.values()]):
            for remark in words_read(model, text).remarks():
                print(f"mirage: {remark}", file=sys.stderr)
        facts = _facts(asked, session, by_chunk) | _pictured(asked.request, opened, model)
    else:
        assert before is not None
        session, path, done, notes = resumed(asked.request, model, places.resume)
        frames, reports = _noted(notes, done, places.resume)
        by_chunk = before.prompts
        film = places.film(frames)
        facts = {**before.said, "request": _request(asked)}
    begun = {"load": loaded - started, "begin": time.perf_counter() - loaded}
    if before is not None:
        begun = {name: before.seconds[name] + begun.get(name, 0.0) for name in SPENT}

    ended: BaseException | None = None
    with VideoWriter(places.video, fps=facts["fps"], onto=film, first=frames or None) as video:
        kept = Kept(places, session, path, video, facts, begun, done=done, reports=reports)
        if film is not None:
            kept.before(film, frames)
        rest = path[done * (model.chunk_frames - 1) :]
        later = {number - done: text for number, text in by_chunk.items() if number >= done}
        try:
            with stop.kept():
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
    return _said(asked, kept, ended, at, wrote)


def _noted(notes: str, done: int, source: Path) -> tuple[int, list[dict[str, Any]]]:
    """How many frames of the film belong to the chunks that are done, and what a receipt says of these. They are those
    of the walk's own file, for a kill may come between that and the receipt."""
    held = object_of(notes, source=f"{source}: its notes", accepts="those of an interrupted walk")
    check_written(held, source=f"{source}: its notes")
    frames, chunks = check_number(f"{source}: frames", held.get("frames"), kind=int, low=1), held.get("chunks")
    if not isinstance(chunks, list) or len(chunks) != done or not all(isinstance(one, dict) for one in chunks):
        raise InputError(f"{source}: {done} chunks are done, and its notes are of others")
    return frames, chunks


def _said(asked: Asked, kept: Kept, ended: BaseException | None, at: At, wrote: Wrote) -> Result:
    """What there is now, and why it is not more."""
    places, session = kept.places, kept.session
    seconds = kept.begun["load"] + kept.begun["begin"] + time.perf_counter() - kept.started
    wrote(
        f"{places.video}: {kept.video.frames} frames in {len(kept.reports)} chunks, {seconds:.1f} s, memory "
        f"{len(session.memory):,} points in {session.memory.nbytes / 2**20:.2f} MiB",
        without=None if kept.world else places.world,
    )
    print(f"      {places.sheet} and {places.receipt}" + (f"; the world is in {kept.world}" if kept.world else ""))
    code = 0
    if isinstance(ended, KeyboardInterrupt):
        code = 143 if isinstance(ended, Terminated) else 130
        print(f"mirage: stopped; {kept.words()}", file=sys.stderr)
    elif ended is not None and out_of_memory(ended):
        code = 1
        print(f"mirage: out of memory {at.stage}; {kept.words()}; {_fits(asked, kept)}", file=sys.stderr)
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


def _fits(asked: Asked, kept: Kept | None = None) -> str:
    """What a run that found no memory may do."""
    its = asked.model
    if its.model not in BUNDLED and not Path(its.model).expanduser().is_dir():
        return "mirage plan counts what each of --offload, --tile and --quantize needs"
    size = asked.request.size if kept is None else (kept.facts["size"][0], kept.facts["size"][1])
    return what_fits(its, device=device_of(its), size=size, frames=None if kept is None else len(kept.path))


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
    places = Places(typed.out, typed.save_world)
    return Asked(request, model, places, [*_inputs(request, model), typed.again], overwrite=typed.overwrite)


def _inputs(request: Request, model: ModelRequest) -> list[Path | str | None]:
    """All files that are read."""
    its = [getattr(each, item.name) for each in (request, model) for item in fields(each)]
    paths = [value for value in its if isinstance(value, Path)] + [*request.images]
    paths += [spec.path for spec in lora_specs(model.lora)]
    words = [Path(word) for word in (request.trajectory, request.depth_model) if len(word) < 1000]
    return [*paths, *(word for word in words if word.is_file()), model.model]


def _to_resume(typed: Generate, receipt: Path) -> Asked:
    """The walk of a receipt that was interrupted; all that it needs is in the receipt and beside it."""
    allowed = {"resume", "json", *FITTING}
    extra = {item.name for item in fields(typed) if getattr(typed, item.name) != item.default} | typed.typed
    if odd := [f"--{name.replace('_', '-')}" for name in sorted(extra - allowed - {"typed"})]:
        raise InputError(f"--resume goes on with what its receipt asks for; typed beside it: {', '.join(odd)}")
    before, (walked, model) = read_unfinished(receipt), load_again(receipt)
    places = Places(before.video, before.world)
    if places.receipt != receipt:
        raise InputError(f"{receipt} is not beside its video {places.video}; expected {places.receipt}")
    if not places.resume.is_file():
        raise InputError(f"{places.resume} is gone, from which {receipt} goes on")
    chosen = {name: getattr(typed, name) for name in FITTING if name in extra}
    request, of_model = Request(**walked), ModelRequest(**(model | chosen))
    return Asked(request, of_model, places, _inputs(request, of_model), overwrite=True, before=before)


def additions(asked: Walking | ModelRequest) -> dict[str, Any]:
    """Files beside the model, for a receipt; a branch's own LoRA is one of them."""
    loras = [{"file": str(one.path), "strength": one.strength} for one in asked_for(asked.lora, branch=asked.branch)]
    return {"branch": asked.branch and str(asked.branch), "lora": loras}


def _request(asked: Asked) -> dict[str, Any]:
    """What was asked, to be asked again."""
    receipt = asked.places.receipt
    return {"walk": written(asked.request, receipt), "model": written(asked.model, receipt)}


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
    ran = solver_of(model.scheduler, sampler)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "command": sys.argv[1:],
        "request": _request(asked),
        "versions": versions(),
        "model": of_model.model,
        **additions(of_model),
        "seed": session.seed,
        "prompt": session.prompt,
        "prompts": {str(number): text for number, text in by_chunk.items()},
        "negative_prompt": _negative(session) if sampler.guidance != 1.0 else None,
        "guidance_scale": sampler.guidance,
        "solver": sampler.solver,
        "timesteps": ran.timesteps,
        "flow_shift": sampler.shift,
        "sampler_grid": sampler.grid,
        "conditioning": model.conditioning(request.conditioning),
        "cache": of_model.cache,
        "steps": sampler.steps,
        "draft": model.drafts if session.settings.draft is None else session.settings.draft,
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
        "fps": model.fps if request.fps is None else request.fps,
    }


def _negative(session: Session) -> str:
    """What guidance goes away from."""
    asked = session.settings.negative_prompt
    return session.model.negative_prompt if asked is None else asked


def _pictured(request: Request, opened: Opened, model: WorldModel) -> dict[str, Any]:
    """The picture, as the walk has it, and the views that it begins with, if there are several."""
    if opened.photograph is None or opened.path is None:
        return {"image": None}
    photograph = framed(request, model, opened.photograph, opened.path)[0]
    views = opened.views
    several = {} if views is None else {"views": views.fitted(photograph.size, fit=request.fit).receipt()}
    return {"image": photograph.receipt(), **several}


def _say_of_pictures(request: Request, opened: Opened, model: WorldModel, path: Camera) -> None:
    if opened.photograph is not None and opened.path is not None:
        if opened.views is not None:
            print(f"{len(opened.views)} views enter the memory, and the walk goes on from the last")
        print(framed(request, model, opened.photograph, opened.path)[0])
    if opened.poses > len(path):
        print(f"the path has {opened.poses} poses and the video the first {len(path)} of them: 1 + 4k frames")


def _compare_pictures(receipt: Path, request: Request) -> None:
    """Say where the picture is another one than the receipt's walk began with."""
    import hashlib

    image = read_receipt(receipt).get("image")
    was = image.get("sha256") if isinstance(image, dict) else None
    last = request.images[-1] if request.images else None
    if was is None or last is None or not last.is_file() or last.suffix.lower() in VIDEOS:
        return
    with last.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != was:
            print(f"mirage: {last} is not the picture of {receipt}, whose SHA-256 is {was}", file=sys.stderr)
