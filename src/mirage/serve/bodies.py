"""An ASGI layer that bounds every body in bytes, whatever its length says, before anybody parses it."""

from typing import Any

from starlette.exceptions import HTTPException


class Bounded:
    """At most `limit` bytes of a body are handed on; the answer to more is 413. As many again are read and dropped
    first, for a client that is still sending would not see the answer."""

    def __init__(self, app: Any, limit: int) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if said.isdigit() and int(said) > self.limit:
            await self._drop(receive)
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 413, "headers": headers})
            return await send({"type": "http.response.body", "body": self._too_large().encode()})
        read = 0

        async def counted() -> Any:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.limit:
                await self._drop(receive)
                raise HTTPException(413, self._too_large(), {"connection": "close"})
            return message

        await self.app(scope, counted, send)

    async def _drop(self, receive: Any) -> None:
        dropped, more = 0, True
        while more and dropped <= self.limit:
            message = await receive()
            dropped, more = dropped + len(message.get("body", b"")), message.get("more_body", False)

    def _too_large(self) -> str:
        return f"at most {self.limit / 2**20:g} MiB are taken here"
