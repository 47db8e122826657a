"""Sessions that outlast a quiet hour and the process: who is idle is written to disk, and comes back when asked.

    kept = Kept(sessions, folder, Limits(idle=600))
    async with kept.running(): ...            # at the end all that is still awake is written: nothing is lost
    walker = await kept.get(name)             # awake, whatever it was; `Unknown` for a name that is not here

A file is a world file under the session's name, so a session that comes back goes on as from one: its undo begins
anew. Names come from clients and are looked up in a table; none becomes a path that was not written here.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mirage.errors import InputError
from mirage.rollout import Chunk, Session
from mirage.rollout.state import Snapshot
from mirage.serve.sessions import Full, Live, Sessions, Unknown

SUFFIX = ".world.safetensors"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """idle: seconds after which a session is written to disk. asleep: most sessions there. step: seconds that a step
    may take, its wait included. memory: most bytes that a session's memory takes. undo: steps that can be undone."""

    idle: float = 600.0
    asleep: int = 1000
    step: float = 300.0
    memory: int = 64 << 20
    undo: int = 16


@dataclass(eq=False)
class Walker:
    """A session that is awake, the moments that it can go back to, and its last chunk."""

    live: Live
    undo: deque[Snapshot]
    chunk: Chunk | None = None
    using: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def session(self) -> Session:
        return self.live.session


class Kept:
    """Sessions in memory, at most `sessions.limit`, and in `folder`, at most `limits.asleep`."""

    def __init__(self, sessions: Sessions, folder: Path, limits: Limits) -> None:
        self.sessions, self.folder, self.limits = sessions, folder, limits
        folder.mkdir(parents=True, exist_ok=True)
        self._asleep = {path.name.removesuffix(SUFFIX) for path in folder.glob(f"*{SUFFIX}")}
        self._awake: dict[str, Walker] = {}
        self._turning = asyncio.Lock()  # one falls asleep or wakes at a time

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Puts to sleep who is idle; in the end everybody."""
        watch = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watch.cancel()
            await self.drain()

    async def open(self, make: Callable[[], Session]) -> tuple[str, Walker]:
        """A new session, made in the worker's thread. Where there is no room, who was idle longest makes some."""
        async with self._turning:
            if len(self._awake.keys() | self._asleep) >= self.limits.asleep + self.sessions.limit:
                raise Full(
                    f"{self.sessions.limit} sessions in memory and {self.limits.asleep} on disk are the limit here, "
                    "and there are as many; delete one"
                )
            await self._make_room()
            live = await self.sessions.begin(make)
            return live.name, self._woken(live)

    async def get(self, name: str) -> Walker:
        """Who is awake, or wakes now; `Unknown` for all others."""
        if name not in self._awake:
            async with self._turning:
                if name in self._asleep:
                    await self._make_room()
                    path, model = self._file(name), self.sessions.model
                    self._woken(await self.sessions.begin(lambda: Session.load(path, model), name))
        if name not in self._awake:
            raise Unknown("there is no such session; it was deleted, or it never was")
        self._awake[name].live.touched = time.monotonic()
        return self._awake[name]

    async def save(self, name: str) -> Path:
        """Write it now, as it is; it stays awake. Where it lies: a copy for the server, replaced by the next."""
        walker, path = await self.get(name), self._file(name)
        await walker.live.command(lambda: walker.session.save(path))
        self._asleep.add(name)
        return path

    async def close(self, name: str) -> None:
        """End a session, and remove its file."""
        if name not in self._awake and name not in self._asleep:
            raise Unknown("there is no such session; it was deleted, or it never was")
        async with self._turning:
            if self._awake.pop(name, None) is not None:
                await self.sessions.close(name)
            if name in self._asleep:
                self._asleep.discard(name)
                self._file(name).unlink(missing_ok=True)

    async def drain(self) -> None:
        """Stop what runs and write every session that the disk has room for."""
        for walker in self._awake.values():
            walker.live.cancel()
        for name in list(self._awake):
            await self._rest(name)

    @property
    def awake(self) -> list[Walker]:
        return list(self._awake.values())

    @property
    def asleep(self) -> int:
        """How many are on disk and not in memory."""
        return len(self._asleep - self._awake.keys())

    # -- inside -----------------------------------------------------------------------------------------------------

    def _woken(self, live: Live) -> Walker:
        walker = Walker(live, deque(maxlen=self.limits.undo))
        self._awake[live.name] = walker
        return walker

    async def _sleep(self, name: str) -> None:
        if name in self._awake:
            await self.save(name)
            del self._awake[name]
            await self.sessions.close(name)

    async def _rest(self, name: str) -> None:
        """To sleep. Who finds no room on the disk stays awake, and keeps nobody else from it."""
        try:
            async with self._turning:
                await self._sleep(name)
        except InputError as error:
            logging.getLogger(__name__).warning("session %s stays in memory: %s", name, error)

    async def _make_room(self) -> None:
        """Space for one more in memory."""
        while len(self.sessions) >= self.sessions.limit:
            resting = [walker for walker in self._awake.values() if not walker.using and not walker.live.busy]
            if not resting:
                raise Full(f"all {self.sessions.limit} sessions that fit in memory are at work; try again soon")
            try:
                await self._sleep(min(resting, key=lambda walker: walker.live.touched).live.name)
            except InputError as error:
                raise Full("the disk has no room for the session that has rested longest; try again later") from error

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(min(self.limits.idle / 4, 30.0))
            for walker in self.awake:
                idle = time.monotonic() - walker.live.touched > self.limits.idle
                if idle and not walker.using and not walker.live.busy:
                    await self._rest(walker.live.name)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}{SUFFIX}"


def check_memory(session: Session, limits: Limits) -> None:
    """`InputError` for a session whose memory has outgrown the server's limit."""
    if session.memory.nbytes > limits.memory:
        raise InputError(
            f"the memory of this session takes {session.memory.nbytes} bytes, more than the {limits.memory} that are "
            "served here; save its world and go on elsewhere"
        )
