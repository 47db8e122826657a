"""The server: one FastAPI application for page and programs. Each room adds its routes; what they share is here.

    served = Served(Sessions(model, Worker()), Shelf(), Access())
    app = create_app(served, page=Page(folder, explorer.talk), routers=[api_routes(served)])
    run(app, served, port=7860)

A wrong request is answered in one line with a status of its own: 400 what was asked is wrong, 401 a token is wanted,
403 it comes from elsewhere, 404 there is no such thing, 409 it was cancelled, 413 too large, 415 another kind,
503 as many sessions as there may be.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from mirage.errors import InputError
from mirage.optional import optional
from mirage.serve.access import Access, Guard
from mirage.serve.allocation import give_back_what_is_freed
from mirage.serve.sessions import Full, Sessions, Unknown
from mirage.serve.shelf import Shelf, TooLarge, WrongKind
from mirage.serve.worker import Cancelled
from mirage.version import __version__

with optional("fastapi", wanted="a server"):
    from fastapi import APIRouter, BackgroundTasks, FastAPI, Request, WebSocket
    from fastapi.responses import FileResponse, PlainTextResponse
    from fastapi.staticfiles import StaticFiles
    from starlette.routing import BaseRoute

    from mirage.serve.channel import Channel, accepted

STATUS: dict[type[Exception], int] = {
    InputError: 400,
    Unknown: 404,
    Cancelled: 409,
    TooLarge: 413,
    WrongKind: 415,
    Full: 503,
}


def status_of(error: Exception) -> int:
    """The status that says such an error."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


PATIENCE = 5
"""Seconds that steps have once the server is to end, before they are stopped."""
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; connect-src 'self' ws: wss:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)


@dataclass(frozen=True)
class Served:
    """What all routes share."""

    sessions: Sessions
    shelf: Shelf
    access: Access


@dataclass(frozen=True)
class Page:
    """A folder with an index.html, and who talks with the pages that are open, one `Channel` each, over /live."""

    folder: Path
    talk: "Callable[[Served, Channel], Awaitable[None]]"


def create_app(served: Served, *, page: Page | None = None, routers: "Sequence[APIRouter]" = ()) -> "FastAPI":
    """The application. What is open is closed when it ends."""

    @asynccontextmanager
    async def life(app: "FastAPI") -> AsyncIterator[None]:
        yield
        await served.sessions.close_all()
        served.shelf.close()

    app = FastAPI(
        title="Mirage", version=__version__, lifespan=life, generate_unique_id_function=_operation,
        docs_url=None, redoc_url=None,  # whose pages fetch scripts from elsewhere
    )  # fmt: skip
    for kind, status in STATUS.items():
        app.add_exception_handler(kind, _answering(status))
    app.include_router(_health())
    for router in routers:
        app.include_router(router)
    if page is not None:
        _add_page(app, served, page)
    app.add_middleware(Guard, access=served.access)
    return app


def run(
    app: "FastAPI",
    served: Served,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    ready: Callable[[int, Callable[[], None]], None] | None = None,
) -> None:
    """Serve until Ctrl-C or SIGTERM; then nothing new is taken, and a step that is not made in `PATIENCE` seconds is
    answered with 409. Port 0: any that is free. `ready(port, stop)` is called when pages can be asked for; `stop` ends
    it from any thread."""
    give_back_what_is_freed()
    with optional("uvicorn", wanted="a server"):
        import uvicorn
    with optional("websockets", wanted="a live page"):  # without it uvicorn would answer a WebSocket with 404
        import websockets  # noqa: F401

    class Server(uvicorn.Server):
        async def startup(self, sockets=None) -> None:
            await super().startup(sockets)
            if ready is not None and self.started:
                ready(self.servers[0].sockets[0].getsockname()[1], self._stop)

        async def shutdown(self, sockets=None) -> None:
            asyncio.get_running_loop().call_later(PATIENCE, served.sessions.cancel_all)
            await super().shutdown(sockets)

        def _stop(self) -> None:
            self.should_exit = True

    config = uvicorn.Config(
        app, host=host, port=port, ws="websockets-sansio", ws_max_size=1 << 16, ws_max_queue=64, lifespan="on",
        log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=PATIENCE + 25,
    )  # fmt: skip
    Server(config).run()


def _operation(route: "BaseRoute") -> str:
    """The name of an operation, from which others' programs make the names of their functions."""
    return "_".join([*getattr(route, "tags", ())[-1:], getattr(route, "name", "")]).lower()


def _health() -> "APIRouter":
    router = APIRouter(tags=["server"])

    @router.get("/healthz", response_class=PlainTextResponse)
    async def health() -> str:
        """Whether it answers."""
        return "ok"

    return router


def _files(served: Served) -> "APIRouter":
    router = APIRouter(tags=["files"])
    answers = {status: {"description": "refused, in one line"} for status in (400, 401, 403, 413, 415)}

    @router.post("/files", responses=answers)  # pyright: ignore[reportArgumentType]
    async def upload(request: Request) -> dict[str, str]:
        """A picture or a world file as the body; the ticket that stands for it once, for a few minutes."""
        length = request.headers.get("content-length", "")
        ticket = await served.shelf.take(request.stream(), length=int(length) if length.isdecimal() else None)
        return {"ticket": ticket}

    @router.get("/files/{ticket}", response_class=FileResponse, responses={404: {"description": "no such file"}})
    async def download(ticket: str, after: BackgroundTasks) -> FileResponse:
        """A file that was made for you, once."""
        item = served.shelf.fetched(ticket)
        if item is None:
            raise Unknown("there is no such file, or it was fetched already")
        after.add_task(item.path.unlink, missing_ok=True)
        return FileResponse(item.path, filename=item.name)

    return router


def _add_page(app: "FastAPI", served: Served, page: Page) -> None:
    @app.websocket("/live")
    async def live(socket: WebSocket) -> None:
        channel = await accepted(socket, served.access)
        if channel is not None:
            await page.talk(served, channel)

    @app.middleware("http")
    async def only_ours(request: Request, call_next):
        answer = await call_next(request)
        answer.headers["Content-Security-Policy"] = POLICY
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Cache-Control"] = "no-cache"
        return answer

    app.include_router(_files(served))
    app.mount("/", StaticFiles(directory=page.folder, html=True))


def _answering(status: int) -> Callable[["Request", Exception], "PlainTextResponse"]:
    def answer(request: "Request", error: Exception) -> "PlainTextResponse":
        return PlainTextResponse(" ".join(str(error).split()), status)

    return answer
