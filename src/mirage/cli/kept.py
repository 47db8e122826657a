"""What a walk leaves, chunk by chunk, so that nothing that was made is lost however it ends.

    V.mp4, V.sheet.png, V.receipt.json      the video, a contact sheet and how it was made
    V.resume.safetensors                    while chunks are missing: the walk as it stands, to go on to the bit
    W.safetensors                           the world, where it was asked for

Of a chunk the video's frames come first, then the walk, the world and the receipt, each whole or not at all: a process
that is killed leaves a film of at least the chunks that its walk has. `F` video frames, `H W` pixels.
"""

import json
import sys
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mirage.chunks import windows
from mirage.cli.receipts import path_in
from mirage.cli.terminal import peak_memory
from mirage.errors import InputError
from mirage.evaluation.seam import seam
from mirage.files import Output, check_outputs
from mirage.formats.fragments import left_behind, recover
from mirage.formats.image import save_image
from mirage.formats.picture import contact_sheet
from mirage.formats.receipt import write_receipt
from mirage.formats.video import VideoWriter, video_frames
from mirage.geometry.camera import Camera
from mirage.memory import LatentSpatialMemory
from mirage.models.streams import reach
from mirage.rollout import Chunk, Session
from mirage.rollout.begin import keep
from mirage.rollout.session import Snapshot

PICTURES = 8  # on the contact sheet


@dataclass(frozen=True)
class Places:
    """Where a walk's files go."""

    video: Path
    world: Path | None = None

    @property
    def sheet(self) -> Path:
        """The contact sheet."""
        return self._beside(".sheet.png")

    @property
    def receipt(self) -> Path:
        """How it was made."""
        return self._beside(".receipt.json")

    @property
    def resume(self) -> Path:
        """The walk as it stands."""
        return self._beside(".resume.safetensors")

    def check(self, inputs: Iterable[Path | str | None], *, overwrite: bool) -> None:
        """The one rule of outputs."""
        check_outputs(
            Output("video", self.video, (".mp4", ".mov", ".mkv")),
            Output("sheet", self.sheet),
            Output("receipt", self.receipt),
            Output("walk", self.resume),
            None if self.world is None else Output("world", self.world, (".safetensors",)),
            inputs=inputs,
            overwrite=overwrite,
        )

    def settle(self, *, overwrite: bool) -> None:
        """What a killed run left of the video gets its name; or goes, where it would be overwritten."""
        left = left_behind(self.video)
        if overwrite:
            for path in left:
                path.unlink(missing_ok=True)
        elif left and not self.video.exists() and (frames := recover(self.video)):
            goes = f"; mirage generate --resume {self.receipt} goes on" if self.resume.exists() else ""
            _say(f"{self.video} holds {frames} frames of a run that was killed{goes}")

    def film(self, frames: int) -> Path:
        """The film with at least so many frames that an interrupted run left, under its name."""
        recover(self.video, least=frames)
        if not self.video.exists():
            raise InputError(f"{self.video} is gone; expected the film of the {frames} frames that are done")
        return self.video

    def _beside(self, ending: str) -> Path:
        """walk.mp4 -> walk.sheet.png, and walk.mov -> walk.mov.sheet.png: they do not share."""
        name = self.video.stem if self.video.suffix.lower() == ".mp4" else self.video.name
        return self.video.with_name(name + ending)


@dataclass
class Kept:
    """What was made so far of the walk along `path` [F], of which `done` chunks were there before.

    moment    after the last chunk of the video; `resumable`, `remembered`: how many frames of it the walk and the world
              on the disk have
    """

    places: Places
    session: Session
    path: Camera
    video: VideoWriter
    facts: Mapping[str, Any]
    begun: Mapping[str, float]
    done: int = 0
    reports: list[dict[str, Any]] = field(default_factory=list)
    shown: list[Tensor] = field(default_factory=list)
    resumable: int = 0
    remembered: int = 0

    def __post_init__(self) -> None:
        self.chunks = len(list(windows(len(self.path), self.session.model.chunk_frames)))
        self.total = len(self.path) - (self.facts["request"]["walk"].get("world") is not None)
        count = min(PICTURES, self.total)
        self.chosen = set(torch.linspace(0, self.total - 1, count).round().long().tolist())
        self.moment = self.session.snapshot()
        self.saves = isinstance(self.session.memory, LatentSpatialMemory)
        self._seen = self.session.lead_in
        self.started = time.perf_counter()

    def before(self, film: Path, frames: int) -> None:
        """Pictures for the sheet of the frames that were there before, and their world: it may be a chunk behind."""
        for number, frame in enumerate(video_frames(film)):
            if number >= frames:
                break
            if number in self.chosen:
                self.shown.append(torch.from_numpy(frame.rgb()).permute(2, 0, 1).float() / 255)
        self.resumable = frames
        self._save_world()

    def add(self, chunk: Chunk, moment: Snapshot) -> None:
        """A chunk, into every file. The walk's first frame is the given image, not that as the model shows it."""
        frames, first = chunk.frames, self.session.image
        if first is not None and not self.video.frames:
            frames = torch.cat([first[None].to(frames), frames[1:]])
        if first is not None and not self.video.frames:
            self.facts = {**self.facts, "seam": asdict(seam(frames))}
        self.shown += pictures(frames, self.chosen, first=self.video.frames)
        self.video.write(frames)
        self.video.flush()
        self.reports.append(chunk.report())
        self.moment = moment
        self._seen = torch.cat([self._seen, chunk.latents])[-reach(self.session.model.vae) :]
        self._save()
        self.write_receipt()
        self._told(chunk)

    def _save(self) -> None:
        """The walk and the world, as they are where the video ends; the session may be ahead of that."""
        if not self.saves:
            return
        now = self.session.snapshot()
        self.session.restore(self.moment)
        try:
            if len(self.reports) < self.chunks:
                notes = json.dumps({"frames": self.video.frames, "chunks": self.reports})  # of this moment, as the walk
                done = len(self.reports)
                keep(self.places.resume, self.session, self.path, done=done, latents=self._seen, notes=notes)
                self.resumable = self.video.frames
            self._save_world()
        finally:
            self.session.restore(now)

    def _save_world(self) -> None:
        if self.places.world is not None:
            self.session.save(self.places.world)
            self.remembered = self.video.frames

    @property
    def world(self) -> Path | None:
        """The file of the world as it is where the video ends, if there is one."""
        return self.places.world if self.remembered == self.video.frames else None

    def write_receipt(self, *, last: bool = False) -> None:
        """The receipt of what is there."""
        whole = len(self.reports) == self.chunks
        ended = time.perf_counter()
        seconds = {**self.begun, "walk": self.begun.get("walk", 0.0) + ended - self.started}
        unfinished = not whole or not last  # until the film has its name, the last chunk can be made once more
        resume = {"file": self.places.resume.name, "frames": self.resumable} if self.resumable and unfinished else None
        write_receipt(
            self.places.receipt,
            {
                **self.facts,
                "video": self.places.video.name,
                "world": None if self.places.world is None else path_in(self.places.receipt, self.places.world),
                "frames": self.video.frames,
                "stopped": last and not whole,
                "resume": resume,
                "peak_memory_bytes": peak_memory(),
                "seconds": seconds | {"total": sum(seconds.values())},
                "chunks": self.reports,
            },
        )

    def finish(self, title: str) -> None:
        """Sheet and receipt. That of a whole walk goes on with nothing, so that it comes when all else is there."""
        numbers = [str(number) for number in sorted(self.chosen) if number < self.video.frames]
        row = {title: torch.stack(self.shown)}
        save_image(self.places.sheet, contact_sheet(row, columns=PICTURES, captions={title: numbers}))
        self.write_receipt(last=True)
        if len(self.reports) == self.chunks:
            self.places.resume.unlink(missing_ok=True)

    def words(self) -> str:
        """What there is of a walk that was interrupted."""
        said = f"{self.places.video} holds the first {self.video.frames} of {self.total} frames"
        if self.world is not None:
            said += f", {self.world} the world as it was then"
        elif self.remembered:
            said += f", {self.places.world} the world after {self.remembered} of them"
        if self.resumable and len(self.reports) < self.chunks:
            said += f"; mirage generate --resume {self.places.receipt} goes on"
        return said

    def _told(self, chunk: Chunk) -> None:
        """A line a chunk, where no bar is."""
        if sys.stderr.isatty():
            return
        made, done = len(self.reports), time.perf_counter() - self.started
        left, known = done / (made - self.done) * (self.chunks - made), self.reports[-1]["known"]
        _say(
            f"chunk {made} of {self.chunks}: {sum(chunk.timings.values()):.1f} s, {known:.0%} known, "
            f"memory {chunk.memory_points:,} points in {chunk.memory_bytes / 2**20:.2f} MiB, {left:.0f} s left"
        )


def pictures(frames: Tensor, chosen: Collection[int], *, first: int) -> list[Tensor]:
    """Those of frames `first`, `first` + 1, ... [F,3,H,W] that are chosen. Copies, in main memory: a view would keep
    all frames, and a long walk would fill a GPU."""
    return [frame.cpu().clone() for number, frame in enumerate(frames, start=first) if number in chosen]


def _say(words: str) -> None:
    print(f"mirage: {words}", file=sys.stderr, flush=True)
