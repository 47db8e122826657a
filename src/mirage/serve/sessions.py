"""The sessions that are served: how many there may be, who has which, and what they do one after the other.

    sessions = Sessions(model, Worker(), limit=8)
    live = await sessions.open(Request(image=picture, trajectory="stay 4"))
    chunk = await live.step(Motion(forward=1.0).along(live.session.camera, 16))
    live.cancel()                                  # from anywhere, at any time: the session stays at its last chunk
    await sessions.close(live.name)

Everything that changes a session goes through the worker, so a session is never changed by two at once.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import TypeVar

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.models.world import WorldModel
from mirage.request import Request
from mirage.rollout import Chunk, Session
from mirage.rollout.begin import begin
from mirage.rollout.plan import Progress
from mirage.serve.worker import Cancelled, Check, Worker

T = TypeVar("T")


class Full(InputError):
    """As many sessions as there may be are open."""


class Unknown(InputError):
    """There is no such session, or no longer."""


class Live:
    """A session that is served, under a name that cannot be guessed. `touched`: when it was last asked, monotonic."""

    def __init__(self, name: str, session: Session, worker: Worker) -> None:
        self.name, self.session, self._worker = name, session, worker
        self.touched = time.monotonic()

    async def step(
        self,
        camera: Camera | Callable[[Session], Camera],
        *,
        prompt: str | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Chunk:
        """The next chunk, along `camera` [4k] or where the session's own moment leads it. Newer steps of the same
        session replace those that wait. `progress` is called in the worker's thread."""

        def work(check: Check) -> Chunk:
            def between(at: Progress) -> None:
                if progress is not None:
                    progress(at)
                check(at)

            if prompt is not None:
                self.session.prompt = prompt
            return self.session.step(camera(self.session) if callable(camera) else camera, callback=between)

        return await self.walk(work)

    async def walk(self, work: Callable[[Check], T]) -> T:
        """Something long, in the worker's thread; see `Worker.walk`."""
        self.touched = time.monotonic()
        return await asyncio.wrap_future(self._worker.walk(self.name, work))

    async def command(self, work: Callable[[], T]) -> T:
        """Something short, in the worker's thread; see `Worker.command`."""
        self.touched = time.monotonic()
        return await asyncio.wrap_future(self._worker.command(self.name, work))

    def cancel(self) -> bool:
        """Stop what runs and what waits; whether anything did."""
        self.touched = time.monotonic()
        return self._worker.cancel(self.name)

    @property
    def busy(self) -> bool:
        """Whether a step waits or runs."""
        return self._worker.busy(self.name)


class Sessions:
    """Sessions on one model. `limit`: at most so many at once."""

    def __init__(self, model: WorldModel, worker: Worker, *, limit: int = 8) -> None:
        if limit < 1:
            raise InputError(f"a server has at least one session, got a limit of {limit}")
        self.model, self.worker, self.limit = model, worker, limit
        self._live: dict[str, Live] = {}
        self._coming = 0  # sessions that are being made

    async def open(self, request: Request) -> Live:
        """A new session from an image or a world; `Full` where there is no room. The request's trajectory has to be
        there but is not walked."""
        return await self.begin(lambda: begin(request, self.model)[0])

    async def begin(self, make: Callable[[], Session], name: str | None = None) -> Live:
        """A new session, made in the worker's thread; `name`: that of one that was here before."""
        if len(self._live) + self._coming >= self.limit:
            raise Full(f"{self.limit} sessions are open, and that is the limit here; try again when one has ended")
        name = name or secrets.token_urlsafe(16)
        self._coming += 1
        try:
            session = await asyncio.wrap_future(self.worker.command(name, make))
        finally:
            self._coming -= 1
        self._live[name] = Live(name, session, self.worker)
        return self._live[name]

    def get(self, name: str) -> Live:
        """The session of that name, or `Unknown`."""
        if name not in self._live:
            raise Unknown("there is no such session; it was closed, or it never was")
        self._live[name].touched = time.monotonic()
        return self._live[name]

    async def close(self, name: str) -> None:
        """End a session: what it runs is stopped, and what it held is free when this returns."""
        live = self._live.pop(name, None)
        if live is None:
            raise Unknown("there is no such session; it was closed, or it never was")
        live.cancel()
        await live.command(lambda: None)  # the worker has let go of it when this returns

    def cancel_all(self) -> None:
        """Stop what runs and what waits, of every session."""
        for live in self:
            live.cancel()

    async def close_all(self) -> None:
        """End every session."""
        for name in list(self._live):
            await self.close(name)

    def __iter__(self):
        return iter(list(self._live.values()))

    def __len__(self) -> int:
        return len(self._live) + self._coming


__all__ = ["Cancelled", "Full", "Live", "Sessions", "Unknown"]
