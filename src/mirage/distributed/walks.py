"""The worker of a batch: a model that is loaded once, and walks, several at a time if asked, each into a folder.

    NAME/walk.mp4, walk.sheet.png      the video, a contact sheet
    NAME/walk.receipt.json             how it was made; `mirage generate --again` takes it
    NAME/walk.safetensors              the world, where it was asked for
    NAME/done.json                     what was asked, and a few numbers: the task is done

`F` video frames, `H W` pixels.
"""

import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mirage.chunks import windows
from mirage.distributed.manifest import Entry
from mirage.distributed.store import DONE, Store
from mirage.errors import InputError
from mirage.files import replacing
from mirage.formats.image import save_image
from mirage.formats.picture import contact_sheet
from mirage.formats.receipt import versions, write_receipt
from mirage.formats.video import VideoWriter
from mirage.geometry.camera import Camera
from mirage.models.files.index import look_first
from mirage.request import ModelRequest, Request
from mirage.rollout import Chunk, Session
from mirage.rollout.begin import begin, load_model, open_request, prompts_by_chunk
from mirage.rollout.plan import denoise

PICTURES = 8
"""On the contact sheet."""


@dataclass(frozen=True)
class Making:
    """What all walks of a batch have in common: the model, where results go, how the video plays, what is kept."""

    model: ModelRequest
    out: str
    fps: float = 16.0
    save_world: bool = False

    def asked(self, entry: Entry) -> dict[str, Any]:
        """What a task's result depends on, as done.json has it; JSON alone."""
        return {"walk": dict(entry.said), "model": self.model.plain(), "fps": self.fps, "world": self.save_world}

    def finished(self, entry: Entry, held: Mapping[str, Any]) -> Mapping[str, Any]:
        """What done.json says of a task, if it is this one; results of two requests do not mix."""
        asked = json.loads(json.dumps(self.asked(entry)))
        if held.get("asked") != asked:
            theirs: dict[str, Any] = {**held["asked"], **held["asked"]["walk"]} if "asked" in held else {}
            mine = {**asked, **asked["walk"]}
            odd = sorted(name for name in theirs.keys() | mine.keys() if theirs.get(name) != mine.get(name))
            raise InputError(
                f"{self.out}/{entry.name} is done, of another request (differing: "
                f"{', '.join(name for name in odd if name != 'walk')}); expected the same one, another name or folder"
            )
        return held


def check(entry: Entry, making: Making) -> None:
    """All that files can refuse of a walk; `InputError` names its line."""
    try:
        with entry.request() as request:
            request.check_with(making.model)
            if making.save_world and request.memory != "latent":
                raise InputError(f"saving the world is about a latent memory, not memory {request.memory}")
            index = look_first(making.model.model)
            if index is not None and not index.depth_head and request.depth_model == "head":
                raise InputError(f"model {making.model.model} has no depth head; accepted with it: another depth model")
            open_request(request)
    except (InputError, OSError) as error:
        said = " ".join(str(error).split())
        raise InputError(said if entry.source in said else f"{entry.source}: {said}") from error


class Walker:
    """Makes one `making`'s walks; the model is loaded at once."""

    def __init__(self, making: Making) -> None:
        self.making, self.store = making, Store.of(making.out)
        started = time.perf_counter()
        self.model = load_model(making.model)
        self.load = time.perf_counter() - started

    def __call__(self, entries: Sequence[Entry]) -> list[Mapping[str, Any]]:
        """What done.json says of each; those that somebody has done meanwhile are not done again."""
        held = {entry.name: self.store.finished(entry.name) for entry in entries}
        left = [entry for entry in entries if held[entry.name] is None]
        try:
            with ExitStack() as stack:
                walks = [self._begun(entry, stack) for entry in left]
                self._walked(walks)
                held |= {walk.entry.name: walk.finish(self._facts(walk)) for walk in walks}
        except (InputError, OSError):
            held |= {entry.name: self.store.finished(entry.name) for entry in left}
            if None in held.values():  # else another driver was sooner after all, and its results stand
                raise
        return [self.making.finished(entry, held[entry.name] or {}) for entry in entries]

    def _begun(self, entry: Entry, stack: ExitStack) -> "_Walk":
        started = time.perf_counter(), time.process_time()
        request = stack.enter_context(entry.request())
        opened = open_request(request)
        session, path = begin(request, self.model, opened)
        folder = stack.enter_context(self.store.making(entry.name))
        video = stack.enter_context(VideoWriter(folder / "walk.mp4", fps=self.making.fps))
        prompts = prompts_by_chunk(opened, path, self.model)
        return _Walk(entry, request, session, path, prompts, folder, video, started)

    def _walked(self, walks: Sequence["_Walk"]) -> None:
        """All of them, a chunk of each at a time."""
        steps = [list(windows(len(walk.path), self.model.chunk_frames)) for walk in walks]
        for number in range(max(map(len, steps), default=0)):
            now = [(walk, step[number]) for walk, step in zip(walks, steps, strict=True) if number < len(step)]
            for walk, _ in now:
                walk.session.prompt = walk.prompts.get(number, walk.session.prompt)
            plans = [walk.session.plan(walk.path[window][1:]) for walk, window in now]
            for (walk, _), plan, latents in zip(now, plans, denoise(plans), strict=True):
                walk.add(walk.session.accept(plan, latents))

    def _facts(self, walk: "_Walk") -> dict[str, Any]:
        return {
            "asked": self.making.asked(walk.entry),
            "request": {"walk": walk.request.plain(), "model": self.making.model.plain()},
            "world": self.making.save_world,
            "versions": versions(),
            "device": str(self.model.runs_on),
            "seconds": {
                "load": self.load,
                "total": time.perf_counter() - walk.started[0],
                "cpu": time.process_time() - walk.started[1],  # with what is made beside it in this process
            },
        }


@dataclass
class _Walk:
    """One walk on its way, in its folder."""

    entry: Entry
    request: Request
    session: Session
    path: Camera
    prompts: Mapping[int, str]
    folder: Path
    video: VideoWriter
    started: tuple[float, float]
    reports: list[dict[str, Any]] = field(default_factory=list)
    shown: list[Tensor] = field(default_factory=list)

    def add(self, chunk: Chunk) -> None:
        """A chunk into the video. The walk's first frame is the given image, not that as the model shows it."""
        frames, first = chunk.frames, self.session.image
        if first is not None and not self.video.frames:
            frames = torch.cat([first[None].to(frames), frames[1:]])
        chosen = torch.linspace(0, len(self.path) - 1, PICTURES).round().long().tolist()
        here = range(self.video.frames, self.video.frames + len(frames))
        self.shown += [frames[number - here.start].cpu().clone() for number in chosen if number in here]
        self.video.write(frames)
        self.reports.append(chunk.report())

    def finish(self, facts: dict[str, Any]) -> dict[str, Any]:
        """The files beside the video, done.json last."""
        save_image(self.folder / "walk.sheet.png", contact_sheet({self.entry.name: torch.stack(self.shown)}))
        if facts["world"]:
            self.session.save(self.folder / "walk.safetensors")
        facts |= {"seed": self.session.seed, "prompt": self.session.prompt, "frames": self.video.frames}
        write_receipt(self.folder / "walk.receipt.json", facts | {"chunks": self.reports, "video": "walk.mp4"})
        done = {name: facts[name] for name in ("asked", "frames", "seconds", "device")}
        done |= {"machine": socket.gethostname(), "process": os.getpid()}
        with replacing(self.folder / DONE) as beside:
            beside.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
        return done
