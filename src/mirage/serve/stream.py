"""A session over a WebSocket: steps are asked for in JSON, and their frames come as they are decoded.

    in      {"step": {...}}, as POST /sessions/{session}/step takes it; {"cancel": true}
    out     channel.py's messages: 4 bytes, the length of a JSON header, the header, a payload
            {"kind": "frame", "index": 3, "frame": 0}, a JPEG; or {"kind": "fragment", "index": 3}, a piece of MP4;
            {"kind": "chunk", ...}, as a step is answered; {"kind": "refused", "status": 400, "said": "..."}

With ?video=h264 the pieces put together are one fragmented MP4, which grows by a fragment a step and plays at any
moment. A message that comes while a step runs waits for it, but for cancel.
"""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from mirage.errors import InputError
from mirage.formats.image import encoded
from mirage.formats.video import VideoWriter
from mirage.optional import optional
from mirage.serve import schemas, steps
from mirage.serve.app import Served, status_of
from mirage.serve.channel import Channel, accepted
from mirage.serve.kept import Kept
from mirage.serve.metrics import Metrics, counted

with optional("fastapi", wanted="an API"):
    from fastapi import APIRouter
    from starlette.websockets import WebSocket


def stream_routes(served: Served, kept: Kept, metrics: Metrics) -> APIRouter:
    router = APIRouter()

    @router.websocket("/sessions/{session}/live")
    async def live(socket: WebSocket, session: str) -> None:
        channel = await accepted(socket, served.access)
        if channel is None:
            return
        film = served.shelf.room(".mp4") if socket.query_params.get("video") == "h264" else None
        sending = asyncio.create_task(channel.run())
        try:
            await _talk(channel, kept, metrics, session, film)
        finally:
            sending.cancel()

    return router


async def _talk(channel: Channel, kept: Kept, metrics: Metrics, name: str, film: Path | None) -> None:
    """Until the connection ends, which stops what runs."""
    waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=16)
    with ExitStack() as stack:
        writer = None if film is None else stack.enter_context(VideoWriter(film))
        if film is not None:
            stack.callback(film.unlink, missing_ok=True)
        stepping = asyncio.create_task(_steps(channel, kept, metrics, name, waiting, _Film(writer)))
        try:
            async for message in channel.messages():
                if message.get("cancel") is True:
                    (await kept.get(name)).live.cancel()
                elif waiting.full():
                    channel.tell({"kind": "refused", "status": 400, "said": "16 steps wait already"})
                else:
                    waiting.put_nowait(message)
        except InputError as error:
            channel.tell({"kind": "refused", "status": status_of(error), "said": str(error)})
        finally:
            stepping.cancel()
            await asyncio.gather(stepping, return_exceptions=True)


async def _steps(channel: Channel, kept: Kept, metrics: Metrics, name: str, waiting: Any, film: "_Film") -> None:
    loop = asyncio.get_running_loop()
    while True:
        message = await waiting.get()
        try:
            walker = await kept.get(name)
            asked = schemas.Step.model_validate(message.get("step"))
            index = walker.session.index

            def shown(number: int, frame: Tensor, index: int = index) -> None:
                header = {"kind": "frame", "index": index, "frame": number}
                loop.call_soon_threadsafe(channel.tell, header, encoded(frame, "JPEG"))

            try:
                chunk = await counted(metrics, steps.step(walker, asked, kept.limits, shown=None if film else shown))
            except asyncio.CancelledError:
                walker.live.cancel()  # who asked is gone
                raise
            if film:
                channel.tell({"kind": "fragment", "index": index}, film.grown(chunk.frames))
            channel.tell({"kind": "chunk", **steps.made(walker, chunk).model_dump()})
        except ValidationError as error:
            said = " ".join(str(error.errors()[0]["msg"]).split())
            channel.tell({"kind": "refused", "status": 400, "said": f"step: {said}"})
        except (InputError, steps.Cancelled) as error:
            channel.tell({"kind": "refused", "status": status_of(error), "said": " ".join(str(error).split())})


class _Film:
    """The film of a connection, if it has one: what it grew by."""

    def __init__(self, writer: VideoWriter | None) -> None:
        self._writer, self._sent = writer, 0

    def __bool__(self) -> bool:
        return self._writer is not None

    def grown(self, frames: Tensor) -> bytes:
        assert self._writer is not None
        self._writer.write(frames)
        self._writer.flush()
        with self._writer.growing.open("rb") as file:
            file.seek(self._sent)
            piece = file.read()
        self._sent += len(piece)
        return piece
