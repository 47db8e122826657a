"""All pages that are open on the explorer, each with a walk of its own on one model.

    explorer = Explorer(Request(image=picture, trajectory="stay 4"), model)
    app = create_app(served, page=Page(FOLDER, explorer.talk))

A page that loses its connection finds its walk again within `GRACE` seconds; after that, and at once where there is no
room for somebody new, it is closed and its memory is free. Keys, mouse and stop are answered at once, whatever else a
page waits for.
"""

import asyncio
import io
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mirage.errors import InputError, check_number
from mirage.explorer.visit import Visit
from mirage.explorer.walk import DEGREES, FPS, METRES
from mirage.formats.image import encoded
from mirage.formats.video import VideoWriter
from mirage.models.world import WorldModel
from mirage.request import Request
from mirage.rollout.begin import begin, framed, open_request
from mirage.serve.app import Served
from mirage.serve.channel import Channel
from mirage.serve.sessions import Cancelled, Full
from mirage.serve.shelf import Item

FOLDER = Path(__file__).parent / "page"
GRACE = 20.0  # seconds
STANDING = "stay 4"
"""The trajectory of a request that only begins: the page walks."""
LONGEST_PROMPT = 500  # characters


@dataclass(eq=False)
class _Place:
    """A visit, and what it takes to come back to it."""

    visit: Visit
    secret: str
    one_at_a_time: asyncio.Lock
    leaves: asyncio.TimerHandle | None = None


class Explorer:
    """`opening`: where every page begins, as a request whose trajectory is not walked."""

    def __init__(self, opening: Request, model: WorldModel, *, grace: float = GRACE) -> None:
        self._opening, self._grace = opening, grace
        self._places: dict[str, _Place] = {}
        self._eyes = ThreadPoolExecutor(1, thread_name_prefix="eyes")
        self._tasks: set[asyncio.Task[None]] = set()
        opened = open_request(opening)
        self._first: bytes | None = None  # which a page is shown before its session is made
        if opened.photograph is not None and opened.path is not None:
            self._first = encoded(framed(opening, model, opened.photograph, opened.path)[0].pixels, "JPEG")

    async def talk(self, served: Served, channel: Channel) -> None:
        """Everything with one page, from its first message until it is gone."""
        sending = asyncio.create_task(channel.run())
        place = None
        try:
            async for message in channel.messages():
                if place is None:
                    place = await self._arrive(served, channel, message)
                    if place is None:
                        return
                else:
                    self._answer(served, channel, place, message)
        finally:
            sending.cancel()
            if place is not None and place.visit.channel is channel:
                self._leave(served, place)

    # -- coming and going -------------------------------------------------------------------------------------------

    async def _arrive(self, served: Served, channel: Channel, hello: dict[str, Any]) -> _Place | None:
        """The walk that the page had, or a new one."""
        name, secret = hello.get("session"), hello.get("secret")
        place = self._places.get(name) if isinstance(name, str) else None
        if place is not None and (place.visit.channel is None or place.secret == secret):
            if place.leaves is not None:
                place.leaves.cancel()
            back = True
        else:
            if self._first is not None:
                channel.tell({"kind": "first"}, self._first)
            try:
                place = await self._new(served)
            except (InputError, Cancelled) as error:
                channel.tell({"kind": "full" if isinstance(error, Full) else "error", "words": str(error)})
                await asyncio.sleep(0.2)
                await channel.close(1013, str(error))
                return None
            back = False
        before, place.visit.channel = place.visit.channel, channel
        place.secret = secret if isinstance(secret, str) else ""
        if before is not None:
            await before.close(4000, "the page is open elsewhere")
        self._greet(served, channel, place, back=back)
        await place.visit.send_all()
        return place

    async def _new(self, served: Served) -> _Place:
        absent = [place for place in self._places.values() if place.visit.channel is None]
        if len(served.sessions) >= served.sessions.limit and absent:
            await self._forget(served, absent[0])
        live = await served.sessions.open(self._opening)
        place = _Place(Visit(live, self._eyes), "", asyncio.Lock())
        self._places[live.name] = place
        await place.visit.begin()
        return place

    def _greet(self, served: Served, channel: Channel, place: _Place, *, back: bool) -> None:
        session = place.visit.live.session
        height, width = session.grid[0] * session.model.stride, session.grid[1] * session.model.stride
        channel.tell(
            {
                "kind": "hello", "session": place.visit.live.name, "back": back, "size": [height, width], "fps": FPS,
                "metres": METRES, "degrees": DEGREES, "lens": session.camera.intrinsics.tolist(),
                "upload": served.shelf.limit,
            }
        )  # fmt: skip

    def _leave(self, served: Served, place: _Place) -> None:
        """The page is gone, perhaps to come back."""
        visit = place.visit
        visit.channel = None
        visit.halt()
        loop = asyncio.get_running_loop()
        place.leaves = loop.call_later(self._grace, lambda: self._soon(self._forget(served, place)))

    async def _forget(self, served: Served, place: _Place) -> None:
        if place.visit.channel is None and self._places.pop(place.visit.live.name, None) is not None:
            if place.leaves is not None:
                place.leaves.cancel()
            await place.visit.end()
            await served.sessions.close(place.visit.live.name)

    # -- what a page asks -------------------------------------------------------------------------------------------

    def _answer(self, served: Served, channel: Channel, place: _Place, message: dict[str, Any]) -> None:
        visit = place.visit
        try:
            match message:
                case {"keys": dict(held)}:
                    visit.keys(held)
                case {"mouse": [yaw, pitch]}:
                    visit.mouse(*(check_number("mouse", one, low=-360, high=360) for one in (yaw, pitch)))
                case {"stop": True}:
                    visit.stop()
                case {"prompt": str(text)} if len(text) <= LONGEST_PROMPT:
                    visit.prompt(text)
                case {"frames": number}:
                    visit.send_frames(number)
                case {"go": number}:
                    self._later(channel, place, lambda: visit.go(number))
                case {"open": str(ticket)}:
                    self._later(channel, place, lambda: self._open(served, channel, place, ticket))
                case {"restart": True}:
                    self._later(channel, place, lambda: self._begin(served, channel, place, self._opening))
                case {"save": True}:
                    self._later(channel, place, lambda: self._save(served, channel, visit))
                case {"record": number}:
                    self._later(channel, place, lambda: self._record(served, channel, visit, number))
                case _:
                    raise InputError(f"there is no such command: {', '.join(sorted(message))[:80]}")
        except InputError as error:
            channel.tell({"kind": "error", "words": str(error)})

    def _later(self, channel: Channel, place: _Place, work: Callable[[], Awaitable[None]]) -> None:
        """One after the other, while keys are answered."""

        async def do() -> None:
            async with place.one_at_a_time:
                try:
                    await work()
                except (InputError, Cancelled) as error:
                    channel.tell({"kind": "error", "words": str(error)})
                except Exception as error:  # a fault of ours: it keeps its traceback, and the page is not left waiting
                    logging.getLogger(__name__).exception("a page asked for something that failed")
                    channel.tell({"kind": "error", "words": f"that failed on the server: {type(error).__name__}"})

        self._soon(do())

    def _soon(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self, served: Served, channel: Channel, place: _Place, ticket: str) -> None:
        with served.shelf.taken(ticket) as item:
            await self._begin(served, channel, place, _request(item))

    async def _begin(self, served: Served, channel: Channel, place: _Place, request: Request) -> None:
        """Another walk in the place of this one; which goes on where the new one cannot begin."""
        visit = place.visit
        visit.halt()
        session = await visit.live.command(lambda: begin(request, served.sessions.model)[0])
        await visit.end()
        visit.live.session = session
        await visit.begin()
        self._greet(served, channel, place, back=False)
        await visit.send_all()

    async def _save(self, served: Served, channel: Channel, visit: Visit) -> None:
        path = served.shelf.room(".safetensors")
        await visit.live.command(lambda: visit.live.session.save(path))
        self._offer(served, channel, path, "world.safetensors")

    async def _record(self, served: Served, channel: Channel, visit: Visit, number: object) -> None:
        frames = [frame for moment in visit.timeline.line(number) for frame in moment.frames]
        path = served.shelf.room(".mp4")
        await asyncio.get_running_loop().run_in_executor(None, _film, path, frames)
        self._offer(served, channel, path, "walk.mp4")

    @staticmethod
    def _offer(served: Served, channel: Channel, path: Path, name: str) -> None:
        channel.tell({"kind": "file", "url": f"/files/{served.shelf.offer(path, name)}", "name": name})


def _request(item: Item) -> Request:
    """A walk that begins with an upload."""
    return Request(**{item.kind or "image": item.path}, trajectory=STANDING)  # pyright: ignore[reportArgumentType]


def _film(path: Path, frames: list[bytes]) -> None:
    with VideoWriter(path, FPS) as video:
        for frame in frames:
            picture = torch.from_numpy(np.asarray(Image.open(io.BytesIO(frame)).convert("RGB")).copy())
            video.write(picture.permute(2, 0, 1)[None].float() / 255)
