"""One walk that somebody watches: what the page asks, what it is shown, and when the next chunk is made.

    tick      16 times a second while keys are held: the tip goes on, and is seen from the memory at once
    chunks    whenever enough lies ahead: plan, denoise, accept, decode, in the worker; frames go out as they come

The page may go away and come back: the walk waits for it a while (explorer.py). `F` video frames.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import torch
from torch import Tensor

from mirage.chunks import TIME_STRIDE
from mirage.errors import InputError, check_number
from mirage.explorer.preview import LinearDecoder, copied, seen
from mirage.explorer.timeline import Moment, Timeline
from mirage.explorer.walk import FPS, Walk, pressed
from mirage.formats.image import encoded
from mirage.geometry.camera import Camera
from mirage.geometry.motion import Motion
from mirage.memory import LatentSpatialMemory
from mirage.rollout import Session
from mirage.rollout.plan import Progress
from mirage.rollout.state import LEAD_IN
from mirage.serve.channel import Channel
from mirage.serve.sessions import Cancelled, Live
from mirage.serve.worker import Check

POINTS = 60_000  # of the cloud that a page is sent


class Visit:
    """A live session and the page that watches it, if one does. `eyes`: the thread that looks."""

    def __init__(self, live: Live, eyes: Executor) -> None:
        self.live, self._eyes = live, eyes
        self.channel: Channel | None = None
        self._prompt: str | None = None
        self._key, self._seen_key = 0, 0  # numbers that the page gives its keys, of the newest and the newest seen
        self._wakes, self._walked = asyncio.Event(), asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """Stand at the session's first frame."""
        session = self.live.session
        self.timeline = Timeline(session.model)
        self.walk = Walk(session.camera, session.model.chunk_frames - 1)
        frame, self._decoder = await self.live.command(lambda: _first(session))
        self._memory = await self.live.command(lambda: _copied(session))
        path = Camera(session.camera.c2w[None], session.camera.intrinsics)
        self.timeline.add(
            Moment(0, None, session.snapshot(), (encoded(frame, "JPEG"),), path, session.prompt, self._report(session))
        )
        await self._look(self.walk.tip)  # what is compiled at the first look is compiled now
        self._tasks = [asyncio.create_task(self._ticks()), asyncio.create_task(self._chunks())]

    async def end(self) -> None:
        """Nothing moves any more; the session is somebody else's to close."""
        self.live.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    # -- what the page asks -----------------------------------------------------------------------------------------

    def keys(self, held: dict[str, Any]) -> None:
        """The keys that are held now, each -1 to 1, and the pace of walking in times of the usual."""
        self.walk.press(pressed(held))
        self._key = check_number("the number of a key", held.get("n", 0), kind=int, low=0, high=2**53)
        self._wakes.set()
        self._walked.set()

    def mouse(self, yaw: float, pitch: float) -> None:
        """Degrees that were turned since the last time."""
        self.walk.mouse = self.walk.mouse + Motion(yaw=yaw, pitch=pitch)
        self._wakes.set()

    def prompt(self, text: str) -> None:
        """From the next chunk on."""
        self._prompt = text

    def stop(self) -> None:
        """At once: no chunk is made, and the tip is where the walk stands."""
        self.live.cancel()
        self.walk.reset(self.live.session.camera)
        self._tell({"kind": "stopped"})

    async def go(self, number: object) -> None:
        """Back to a moment, from which the walk may go on another way."""
        moment, snapshot = self.timeline.back_to(number)
        session = self.live.session
        self.halt()

        def back() -> LatentSpatialMemory:
            session.restore(snapshot)
            return _copied(session)

        self._memory = await self.live.command(back)
        self.timeline.current, self._prompt = moment.number, None
        self.walk.reset(session.camera)
        self._tell({"kind": "at", "moment": moment.number, "prompt": session.prompt})
        await self._send_cloud()

    def halt(self) -> None:
        """No key is held, and nothing is made."""
        self.live.cancel()
        self.walk.press(Motion())
        self.walk.reset(self.live.session.camera)

    def send_frames(self, number: object) -> None:
        """All frames of a chunk."""
        moment = self.timeline.get(number)
        sizes = [len(frame) for frame in moment.frames]
        self._tell({"kind": "frames", "moment": moment.number, "sizes": sizes}, b"".join(moment.frames))

    async def send_all(self) -> None:
        """Everything that a page needs that knows nothing: the timeline, and where the walk stands."""
        for moment in self.timeline.moments.values():
            self._send_moment(moment)
        self._tell({"kind": "at", "moment": self.timeline.current, "prompt": self.live.session.prompt})
        await self._send_cloud()

    # -- what moves -------------------------------------------------------------------------------------------------

    async def _ticks(self) -> None:
        """The tip goes on while keys are held, and what is known there is shown."""
        loop = asyncio.get_running_loop()
        while True:
            self._wakes.clear()
            if not self.walk.moving:
                await self._wakes.wait()
            began = loop.time()
            moved = self.walk.advance()
            self._walked.set()
            if moved or self._key != self._seen_key:  # a key is answered also where the tip may go no farther
                await self._show_tip()
            await asyncio.sleep(max(0.0, 1 / FPS - (loop.time() - began)))

    async def _show_tip(self) -> None:
        tip, key = self.walk.tip, self._key
        self._seen_key = key
        known, picture, coverage = await self._look(tip)
        if self.channel is not None:
            header = {
                "kind": "preview",
                "grid": self.live.session.grid,
                "mask": len(known),
                "known": round(coverage, 4),
            }
            header |= {"pose": _pose(tip), "ahead": self.walk.ahead, "key": key}
            self.channel.show(header, known + picture)

    async def _look(self, tip: Camera) -> tuple[bytes, bytes, float]:
        """Which cells are known from there, a picture of them, and how many they are."""
        memory, decoder, grid = self._memory, self._decoder, self.live.session.grid

        def look() -> tuple[bytes, bytes, float]:
            view = seen(memory, tip, decoder, grid)
            return _bits(view.known), encoded(view.picture, "JPEG"), view.coverage

        return await asyncio.get_running_loop().run_in_executor(self._eyes, look)

    async def _chunks(self) -> None:
        """What lies ahead becomes chunks."""
        while True:
            self._walked.clear()
            if not self.walk.ready:
                await self._walked.wait()
                continue
            camera, prompt = self.walk.take(), self._prompt
            self._prompt = None
            try:
                await self._chunk(camera, prompt)
            except Cancelled:
                self._tell({"kind": "stopped"})
            except Exception as error:  # the walk stands where it stood, and the page is told
                if not isinstance(error, InputError):
                    logging.getLogger(__name__).exception("a chunk failed")
                self.halt()
                self._tell({"kind": "error", "words": f"the chunk failed: {' '.join(str(error).split())[:300]}"})

    async def _chunk(self, camera: Camera, prompt: str | None) -> None:
        session, loop = self.live.session, asyncio.get_running_loop()
        number, parent = self.timeline.next, self.timeline.current
        frames: list[bytes] = []
        self._tell({"kind": "making", "moment": number, "frames": len(camera)})

        def soon(act: Callable[..., None], *given: Any) -> None:
            loop.call_soon_threadsafe(act, *given)

        def decoded(piece: Tensor) -> None:
            if len(piece) == 1:  # the given image, before a walk's first chunk, which was shown already
                return
            made = [encoded(frame, "JPEG") for frame in piece]
            frames.extend(made)
            sizes = [len(one) for one in made]
            soon(self._tell, {"kind": "frames", "moment": number, "live": True, "sizes": sizes}, b"".join(made))

        def progress(at: Progress) -> None:
            soon(self._tell, {"kind": "progress", "stage": at.stage, "step": at.step + 1, "steps": at.steps})

        def work(check: Check) -> Moment:
            before = session.snapshot()
            try:
                return made(check)
            except BaseException:
                session.restore(before)  # with its frames, or not at all
                raise

        def made(check: Check) -> Moment:
            if prompt is not None:
                session.prompt = prompt

            def between(at: Progress) -> None:
                progress(at)
                check(at)

            chunk = session.step(camera, callback=between)
            self._memory = _copied(session)

            def shown(piece: Tensor) -> None:
                decoded(piece)
                check(None)

            pictures = chunk.decode(shown)
            ends = pictures[len(pictures) - 1 - TIME_STRIDE * (len(chunk.latents) - 1) :: TIME_STRIDE]
            self._decoder = self._decoder.learned(chunk.latents, ends)
            return Moment(number, parent, session.snapshot(), tuple(frames), camera, session.prompt, chunk.report())

        try:
            moment = await self.live.walk(work)
        except Exception:
            self._memory = await self.live.command(lambda: _copied(session))
            raise
        self.timeline.add(moment)
        self._send_moment(moment)
        self._tell({"kind": "at", "moment": number, "prompt": session.prompt})
        await self._send_cloud()

    # -- what the page is sent --------------------------------------------------------------------------------------

    def _send_moment(self, moment: Moment) -> None:
        report = moment.report | {"prompt": moment.prompt, "held": moment.snapshot is not None}
        path = [_pose(camera) for camera in moment.path[:: max(1, len(moment.path) - 1)]]
        line = [[round(x, 4) for x in center] for center in moment.path.center.tolist()]
        header = {"kind": "moment", "moment": moment.number, "parent": moment.parent, "count": len(moment.frames)}
        self._tell(header | {"report": report, "poses": path, "line": line}, moment.frames[-1])

    async def _send_cloud(self) -> None:
        memory, decoder = self._memory, self._decoder

        def cloud() -> tuple[int, int, bytes]:
            points = memory.points
            count = len(points)
            some = torch.randperm(count)[:POINTS] if count > POINTS else torch.arange(count)
            colours = (decoder.colours(points.feature[some].cpu()) * 255).round().byte()
            place = points.position[some].cpu().float().contiguous()
            return len(some), count, place.numpy().tobytes() + colours.numpy().tobytes()

        sent, count, payload = await asyncio.get_running_loop().run_in_executor(self._eyes, cloud)
        self._tell({"kind": "cloud", "count": sent, "all": count}, payload)

    def _tell(self, header: dict[str, Any], payload: bytes = b"") -> None:
        if self.channel is not None:
            self.channel.tell(header, payload)

    @staticmethod
    def _report(session: Session) -> dict[str, Any]:
        return {"points": len(session.memory), "memory_bytes": session.memory.nbytes, "seconds": {}, "frames": 1}


@torch.no_grad()
def _first(session: Session) -> tuple[Tensor, LinearDecoder]:
    """The frame where a session stands [3,H,W], and what may be learned from it."""
    decoder = LinearDecoder.of(session.model)
    if session.image is not None:
        latents, frames = session.history.latents[:1], session.image[None]
    else:
        latents = session.history.latents[-LEAD_IN:]
        frames = session.model.decode(latents)[::TIME_STRIDE]
    return frames[-1].cpu(), decoder.learned(latents, frames)


def _copied(session: Session) -> LatentSpatialMemory:
    memory = session.memory
    if not isinstance(memory, LatentSpatialMemory):
        raise InputError(f"the explorer looks into a latent memory, this session has {type(memory).__name__}")
    return copied(memory)


def _bits(known: Tensor) -> bytes:
    """[h,w] bool, a bit each, most significant first."""
    import numpy as np

    return np.packbits(known.numpy()).tobytes()


def _pose(camera: Camera) -> list[float]:
    """Where it stands and its axes right, down, ahead: twelve numbers."""
    return [round(value, 4) for value in [*camera.center.tolist(), *camera.c2w[:3, :3].T.flatten().tolist()]]
