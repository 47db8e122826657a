"""`mirage generate`: one image and a camera path become a video, a contact sheet beside it, and a receipt.

Everything that can be refused is looked at before the model is loaded; chunks go into the video as they are made.
`F` video frames, `H W` pixels.
"""

import json
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from mirage.chunks import windows
from mirage.cli.arguments import Generate, Walking
from mirage.cli.terminal import Result, beside, peak_memory, progress
from mirage.errors import InputError
from mirage.files import check_writable
from mirage.formats.image import save_image
from mirage.formats.picture import contact_sheet
from mirage.formats.receipt import versions, write_receipt
from mirage.formats.video import VideoWriter
from mirage.geometry.camera import Camera
from mirage.models.files.index import look_first
from mirage.request import ModelRequest, Request, checked_plain
from mirage.rollout import Chunk, Session
from mirage.rollout.begin import Opened, begin, device_of, load_model, open_request, prompts_by_chunk
from mirage.rollout.overlap import overlapped, overlaps
from mirage.rollout.plan import Progress
from mirage.rollout.state import Snapshot

PICTURES = 8  # on the contact sheet


def run(asked: Generate) -> Result:
    """Walk, and leave the video with what belongs to it."""
    started = time.perf_counter()
    request, of_model = asked.requests(load_again(asked.again) if asked.again else ({}, {}))
    request.check_with(of_model)
    _check_depth(of_model.model, request.depth_model)
    device = device_of(of_model)
    if asked.save_world is not None and request.memory != "latent":
        raise InputError(f"--save-world is about a latent memory, not --memory {request.memory}")
    sheet, receipt = beside(asked.out, ".sheet.png"), beside(asked.out, ".receipt.json")
    for output in (asked.out, sheet, receipt, *([asked.save_world] if asked.save_world else [])):
        check_writable(output)
    video = VideoWriter(asked.out, fps=asked.fps)
    opened = open_request(request)
    model = load_model(of_model, conditioning=request.conditioning)
    loaded = time.perf_counter()
    session, path = begin(request, model, opened)
    _say_cut(opened, path)
    by_chunk = prompts_by_chunk(opened, path, model)
    prompt, begun = session.prompt, time.perf_counter()

    total = len(path) - (session.image is None)
    made = _Made(chosen=set(torch.linspace(0, total - 1, min(PICTURES, total)).round().long().tolist()))
    moment, stopped = session.snapshot(), False
    with video:
        try:
            for chunk, after in walk(session, path, prompts=by_chunk):
                made.take(chunk, video, first=session.image)
                moment = after
        except KeyboardInterrupt:
            if not video.frames:
                raise KeyboardInterrupt("stopped before the first chunk was done; nothing was written") from None
            stopped = True
    session.restore(moment)  # where the video ends, also if a chunk was made that is not in it

    made.draw(sheet, session.prompt or asked.out.name)
    if asked.save_world:
        session.save(asked.save_world)
    ended = time.perf_counter()
    sampler = session.settings.sampler.over(model.sampler)
    write_receipt(
        receipt,
        {
            "command": sys.argv[1:],
            "request": {"walk": request.plain(), "model": of_model.plain()},
            "versions": versions(),
            "model": of_model.model,
            **additions(of_model),
            "seed": session.seed,
            "prompt": prompt,
            "prompts": {str(number): text for number, text in by_chunk.items()},
            "negative_prompt": session.settings.negative_prompt,
            "guidance_scale": sampler.guidance,
            "flow_shift": sampler.shift,
            "conditioning": model.conditioning(request.conditioning),
            "cache": of_model.cache,
            "steps": sampler.steps,
            "draft": request.draft,
            "noise_scale": sampler.noise,
            "memory": request.memory,
            "memory_budget": request.memory_budget,
            "depth_model": request.depth_model,
            "moving": request.moving,
            "device": str(device),
            "offload": of_model.offload,
            "quantize": of_model.quantize,
            "tile": of_model.tile,
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
            "chunks": made.reports,
        },
    )
    print(
        f"wrote {asked.out}: {video.frames} frames in {len(made.reports)} chunks, {ended - started:.1f} s, memory "
        f"{len(session.memory):,} points in {session.memory.nbytes / 2**20:.2f} MiB"
    )
    print(f"      {sheet} and {receipt}" + (f"; the world is in {asked.save_world}" if asked.save_world else ""))
    if stopped:
        world = f", and {asked.save_world} the world as it was then" if asked.save_world else ""
        print(f"mirage: stopped after {video.frames} of {total} frames; {asked.out} holds them{world}", file=sys.stderr)
    summary = {
        "video": str(asked.out),
        "sheet": str(sheet),
        "receipt": str(receipt),
        "frames": video.frames,
        "chunks": len(made.reports),
        "seed": session.seed,
        "seconds": ended - started,
        "points": len(session.memory),
        "memory_bytes": session.memory.nbytes,
        "peak_memory_bytes": peak_memory(),
        "stopped": stopped,
    }
    return Result(summary, 130 if stopped else 0)


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
) -> Iterator[tuple[Chunk, Snapshot]]:
    """`session.follow(path)` with a progress bar, each chunk with the moment after it; on a GPU chunks come decoded,
    which ran beside the next one."""
    count = len(list(windows(len(path), session.model.chunk_frames)))
    with progress(what, total=count) as show:
        done, moments = 0, dict[int, Snapshot]()

        def step(at: Progress) -> None:
            share = (at.step + 1) / at.steps
            show(done + (0.3 * share if at.stage == "draft" else 0.3 + 0.3 * share), f"chunk {done + 1} of {count}")

        def made() -> Iterator[Chunk]:
            for chunk in session.follow(path, prompts=prompts, callback=step):
                moments[chunk.index] = session.snapshot()
                yield chunk

        for chunk in overlapped(made(), device=session.model.runs_on) if overlaps(session.model) else made():
            _ = chunk.frames
            done += 1
            show(done, f"chunk {min(done + 1, count)} of {count}")
            yield chunk, moments.pop(chunk.index)


@dataclass
class _Made:
    """What was made so far, for sheet and receipt: pictures of the `chosen` frames, and a report of each chunk."""

    chosen: set[int]
    shown: list[Tensor] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)
    frames: int = 0

    def take(self, chunk: Chunk, video: VideoWriter, *, first: Tensor | None) -> None:
        """Write a chunk's frames; the walk's first one is the given image, not that as the model shows it."""
        frames = chunk.frames
        if first is not None and not video.frames:
            frames = torch.cat([first[None].to(frames), frames[1:]])
        self.shown += pictures(frames, self.chosen, first=video.frames)
        video.write(frames)
        self.frames = video.frames
        self.reports.append(chunk.report())

    def draw(self, sheet: Path, title: str) -> None:
        """The contact sheet."""
        numbers = [str(number) for number in sorted(self.chosen) if number < self.frames]
        row = {title: torch.stack(self.shown)}
        save_image(sheet, contact_sheet(row, columns=PICTURES, captions={title: numbers}))


def pictures(frames: Tensor, chosen: Collection[int], *, first: int) -> list[Tensor]:
    """Those of frames `first`, `first` + 1, ... [F,3,H,W] that are chosen. Copies, in main memory: a view would keep
    all frames, and a long walk would fill a GPU."""
    return [frame.cpu().clone() for number, frame in enumerate(frames, start=first) if number in chosen]


def load_again(receipt: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The request that a receipt holds, and that of its model; plain choices, checked for their kinds."""
    try:
        held = json.loads(receipt.read_text(encoding="utf-8"))
        walked, model = held["request"]["walk"], held["request"]["model"]
    except OSError as error:
        raise InputError(f"cannot read {receipt}: {error.strerror}") from error
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        raise InputError(f"{receipt} is no receipt with a request in it; expected one that generate wrote") from error
    source = str(receipt)
    return checked_plain(Request, walked, source=source), checked_plain(ModelRequest, model, source=source)


def additions(asked: Walking | ModelRequest) -> dict[str, str | None]:
    """Files beside the model, for a receipt."""
    return {"branch": asked.branch and str(asked.branch), "lora": asked.lora and str(asked.lora)}


def _say_cut(opened: Opened, path: Camera) -> None:
    if opened.poses > len(path):
        print(f"the path has {opened.poses} poses and the video the first {len(path)} of them: 1 + 4k frames")
