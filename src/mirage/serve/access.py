"""Who may ask: the Host and Origin of a request, and the token beyond this machine. An ASGI layer around the app.

Whatever runs in a browser on this machine can reach 127.0.0.1, a page from elsewhere included. Two things keep it out:
a page cannot choose its `Origin`, and a name that is made to lead here (DNS rebinding) stands in `Host`. Who listens
beyond this machine also asks for a token: whoever has it may use the model and every session, so it is a password, and
it travels in the clear unless something in front of the server speaks TLS.

A program sends `Authorization: Bearer TOKEN`. A browser cannot set headers of a WebSocket: the page is asked for with
?token=TOKEN once, which becomes a cookie, or the first message of the WebSocket is {"token": TOKEN} (channel.py).
"""

import ipaddress
import re
import secrets
import socket
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from mirage.errors import InputError

COOKIE = "mirage_token"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SHORTEST = 12  # characters of a token: fewer can be tried out


class Access:
    """The address that is listened on and the token that is asked for. None: no token, and this machine alone."""

    def __init__(self, host: str = "127.0.0.1", token: str | None = None) -> None:
        self.host, self.token = host.strip("[]"), token
        if token is None and not self.local:
            raise InputError(
                f"listening on {host} lets other machines use the model and read every session; that wants a token, "
                f"a password of {SHORTEST} characters or more, or 127.0.0.1, which wants none"
            )
        if token is not None and not re.fullmatch(rf"[\w.~-]{{{SHORTEST},}}", token, flags=re.ASCII):
            raise InputError(f"a token has {SHORTEST} or more characters, letters, digits and - . _ ~")

    @property
    def local(self) -> bool:
        """Whether only this machine can connect."""
        return self.host in LOOPBACK

    def knows(self, token: object) -> bool:
        """Whether this is the token; true where none is wanted."""
        return self.token is None or (isinstance(token, str) and _equal(token, self.token))

    def allows(self, headers: dict[str, str]) -> str | None:
        """Why a request with these headers is refused, None: it is not."""
        host = headers.get("host", "")
        name = (urlsplit(f"//{host}").hostname or "") if host.isprintable() else ""
        if not self._names_us(name):
            return f"Host {host[:80]!r} is not a name of this server; accepted: {', '.join(LOOPBACK)}, its address"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return f"Origin {origin[:80]!r} is not this server; pages from elsewhere may not use it"
        return None

    def shown(self, headers: dict[str, str]) -> str | None:
        """The token that a request brings, by header or cookie."""
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return token.strip()
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return None
        return None if cookie is None else cookie.value

    def _names_us(self, name: str) -> bool:
        if name in LOOPBACK or name == self.host:
            return True
        if self.local:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name == socket.gethostname().lower()
        return True


class Guard:
    """The layer: refuses what `access` does not allow, and turns ?token= into a cookie."""

    def __init__(self, app: Any, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refused, status = self.access.allows(headers), 403
        known = self.access.knows(self.access.shown(headers))
        scope.setdefault("state", {})["known"] = known
        if refused is None and scope["type"] == "http" and not known and scope["path"] != "/healthz":
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
            if scope["method"] == "GET" and self.access.knows(given):
                return await _login(send, scope["path"], given)
            refused, status = "a token is wanted: open /?token=TOKEN, or send Authorization: Bearer TOKEN", 401
        if refused is None:  # a WebSocket without the cookie may still say it in its first message
            return await self.app(scope, receive, send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008, "reason": refused[:120]})
        await _answer(send, status, [(b"content-type", b"text/plain; charset=utf-8")], refused.encode())


async def _login(send: Any, path: str, token: str) -> None:
    cookie = f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict"
    where = quote("/" + path.lstrip("/"))  # never //elsewhere
    await _answer(send, 303, [(b"location", where.encode()), (b"set-cookie", cookie.encode())], b"")


async def _answer(send: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    headers = [*headers, (b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _equal(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode(), other.encode())
