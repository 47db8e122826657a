"""A WebSocket with a page at its other end: commands come in as JSON, pictures go out as bytes, never too many.

    out     4 bytes little endian: length of the header | header, JSON | payload, a JPEG or arrays
    in      JSON objects of a few hundred bytes; {"ack": n} is for us

What is `told` arrives, in order. What is `shown` is the newest of its kind: each has a number which the page
acknowledges once it is drawn, and while `WINDOW` are not acknowledged only the newest waits and older ones are dropped.
So a slow page sees fewer pictures, never late ones, and a page that takes nothing costs nothing.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from mirage.optional import optional
from mirage.serve.access import Access

with optional("fastapi", wanted="a server"):
    from fastapi import WebSocket, WebSocketDisconnect
    from fastapi.websockets import WebSocketState

WINDOW = 3
LONGEST = 16 * 1024  # characters of a message from the page
BEHIND = 256 << 20  # bytes that may wait for a page; beyond, it is gone
FIRST = 10.0  # seconds for a first message with a token


class Channel:
    """The connection of one page, accepted. `run` sends; `messages` receives, and ends where the connection does."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._told: deque[bytes] = deque()
        self._bytes = 0
        self._shown: tuple[dict[str, Any], bytes] | None = None
        self._number, self._open = 0, set[int]()
        self._wakes = asyncio.Event()
        self.dropped = 0

    def tell(self, header: dict[str, Any], payload: bytes = b"") -> None:
        """Send this, after what was told before."""
        packed = pack(header, payload)
        self._told.append(packed)
        self._bytes += len(packed)
        self._wakes.set()

    def show(self, header: dict[str, Any], picture: bytes) -> None:
        """Send this picture soon, or not at all where a newer one comes first."""
        self.dropped += self._shown is not None
        self._shown = header, picture
        self._wakes.set()

    async def run(self) -> None:
        """Sends until the connection ends."""
        try:
            while self._bytes <= BEHIND:
                self._wakes.clear()
                while self._told:
                    packed = self._told.popleft()
                    self._bytes -= len(packed)
                    await self._socket.send_bytes(packed)
                if self._shown is not None and len(self._open) < WINDOW:
                    (header, picture), self._shown = self._shown, None
                    self._number += 1
                    self._open.add(self._number)
                    await self._socket.send_bytes(pack(header | {"n": self._number}, picture))
                    continue
                await self._wakes.wait()
        except (WebSocketDisconnect, RuntimeError):  # starlette says RuntimeError of a socket that was closed meanwhile
            return

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """Objects that the page sends, but for its acknowledgements. What is none ends the connection."""
        while True:
            try:
                text = await self._socket.receive_text()
            except (WebSocketDisconnect, RuntimeError, KeyError):  # KeyError: bytes where text was expected
                return
            message = _object(text)
            if message is None:
                await self.close(1007, "a message is a JSON object of at most 16 KiB")
                return
            if "ack" in message:
                self._open = {number for number in self._open if number != message["ack"]}
                self._wakes.set()
            else:
                yield message

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say good-bye, if somebody listens."""
        if self._socket.application_state is WebSocketState.CONNECTED:
            try:
                await self._socket.close(code, reason[:120])
            except RuntimeError:
                return


async def accepted(socket: WebSocket, access: Access) -> Channel | None:
    """The channel of a new connection that brought the token, as a cookie or in its first message {"token": ...}."""
    await socket.accept()
    channel = Channel(socket)
    if not socket.scope.get("state", {}).get("known", False):
        try:
            first = _object(await asyncio.wait_for(socket.receive_text(), FIRST))
        except (TimeoutError, WebSocketDisconnect, KeyError):
            first = None
        if first is None or "token" not in first or not access.knows(first["token"]):
            await channel.close(1008, "a token is wanted, by cookie or as the first message")
            return None
    return channel


def pack(header: dict[str, Any], payload: bytes) -> bytes:
    """One message out."""
    said = json.dumps(header, allow_nan=False, separators=(",", ":")).encode()
    return len(said).to_bytes(4, "little") + said + payload


def _object(text: str) -> dict[str, Any] | None:
    if len(text) > LONGEST:
        return None
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None
