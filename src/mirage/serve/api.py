"""The API: sessions that are made, walked and kept over HTTP, and live over a WebSocket (stream.py); openenv.py has
the names of OpenEnv beside them.

    app = create_api(served, kept)            # FastAPI; its description is at /openapi.json
    run(app, served, port=7861)

Every refusal is one line of text. A session's name is its key: who has it may walk on, and nobody else finds it.
"""

from contextlib import asynccontextmanager
from typing import Annotated, Any

from pydantic import ValidationError

from mirage.errors import InputError
from mirage.formats.image import encoded
from mirage.formats.video import VideoWriter
from mirage.optional import optional
from mirage.serve import schemas, steps
from mirage.serve.app import Served, create_app
from mirage.serve.bodies import Bounded
from mirage.serve.kept import Kept
from mirage.serve.kinds import of_form, of_json, refusals
from mirage.serve.metrics import MEDIA_TYPE, Metrics, counted
from mirage.serve.openenv import openenv_routes
from mirage.serve.sessions import Unknown
from mirage.serve.stream import stream_routes

with optional("fastapi", wanted="an API"):
    from fastapi import APIRouter, Depends, FastAPI, File, Form, Path, Request, Response, UploadFile
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import FileResponse, PlainTextResponse
    from starlette.background import BackgroundTask
    from starlette.exceptions import HTTPException
    from starlette.routing import Match

NAME = r"^[A-Za-z0-9_-]{22}$"
BEGUN = ("read", "step", "look", "coverage", "branch", "save", "world", "frame", "cancel", "delete")
"""What a session can be asked that has not walked yet."""
Name = Annotated[str, Path(pattern=NAME, description="of the session, as POST /sessions gave it")]


def create_api(served: Served, kept: Kept, **more: Any) -> FastAPI:
    """The application: core, sessions, OpenEnv's names. Its end writes every session to disk."""
    metrics = Metrics(kept)
    router = _sessions(served, kept, metrics)
    more_names = openenv_routes(served, kept, metrics), stream_routes(served, kept, metrics)
    app = create_app(served, routers=[router, *more_names], **more)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_middleware(Bounded, limit=served.shelf.limit + (64 << 10))
    described = app.openapi
    app.openapi = lambda: _as_it_is(described(), token=served.access.token is not None)
    return app


def _sessions(served: Served, kept: Kept, metrics: Metrics) -> APIRouter:
    @asynccontextmanager
    async def life(app: Any):
        async with kept.running():
            yield

    router = APIRouter(tags=["sessions"], lifespan=life)
    limits, shelf = kept.limits, served.shelf
    json_body: dict[str, Any] = {"dependencies": [Depends(of_json)]}

    @router.post("/sessions", status_code=201, dependencies=[Depends(of_form)],
                 responses={**refusals(400, 413, 415, 503), 201: _links(*BEGUN)})  # fmt: skip
    async def create(
        walk: Annotated[
            str,
            Form(
                max_length=16384,
                description="choices, a JSON object",
                examples=['{"scene": 3}'],
                json_schema_extra={
                    "contentMediaType": "application/json",
                    "contentSchema": schemas.Walk.model_json_schema(),
                },
            ),
        ] = "{}",
        file: Annotated[UploadFile | None, File(description="a picture, or a world file to go on with")] = None,
    ) -> schemas.State:
        """Begin a session: from a picture, from a world file, or without a file in a procedural scene."""
        asked = _parsed(walk)
        if file is None:
            _, walker = await kept.open(lambda: steps.begun(asked, None, served.sessions.model, limits))
            return steps.state(walker)
        ticket = await shelf.take(_parts(file), length=file.size)
        with shelf.taken(ticket) as item:
            given = (item.path, str(item.kind))
            _, walker = await kept.open(lambda: steps.begun(asked, given, served.sessions.model, limits))
        return steps.state(walker)

    @router.get("/sessions/{session}", responses=refusals(400, 404, 503))
    async def read(session: Name) -> schemas.State:
        """Where a session stands; one that was idle wakes."""
        return steps.state(await kept.get(session))

    @router.delete("/sessions/{session}", status_code=204, response_class=Response, responses=refusals(400, 404))
    async def delete(session: Name) -> None:
        """End a session, and forget it."""
        await kept.close(session)

    @router.post("/sessions/{session}/step", **json_body, responses={
        **refusals(400, 404, 409, 413, 415, 503), 200: _links("step", "frame", "video", "undo")})  # fmt: skip
    async def step(session: Name, asked: schemas.Step) -> schemas.Made:
        """Walk on: the answer comes when the frames are made. A step that fails leaves the session where it stood."""
        walker = await kept.get(session)
        return steps.made(walker, await counted(metrics, steps.step(walker, asked, limits)))

    @router.post("/sessions/{session}/cancel", responses=refusals(400, 404, 503))
    async def cancel(session: Name) -> schemas.Cancel:
        """Stop the step that runs, after its denoising step, and those that wait."""
        return schemas.Cancel(cancelled=(await kept.get(session)).live.cancel())

    @router.post("/sessions/{session}/look", responses=refusals(400, 404, 413, 415, 503), **json_body)
    async def look(session: Name, asked: schemas.Look) -> schemas.Seen:
        """What is known from a view; nothing is drawn, and nothing changes."""
        return await steps.look(await kept.get(session), asked)

    @router.get("/sessions/{session}/coverage", responses=refusals(400, 404, 503))
    async def coverage(session: Name) -> schemas.Seen:
        """How much of the view from where it stands is known, and what."""
        return await steps.look(await kept.get(session), schemas.Look(picture=False))

    @router.post("/sessions/{session}/undo", responses=refusals(400, 404, 413, 415, 503), **json_body)
    async def undo(session: Name, asked: schemas.Undo) -> schemas.State:
        """Back by some steps; what runs is stopped."""
        walker = await kept.get(session)
        await steps.undo(walker, asked.steps)
        return steps.state(walker)

    @router.post("/sessions/{session}/branch", status_code=201, responses={
        **refusals(400, 404, 503), 201: _links("step", "delete")})  # fmt: skip
    async def branch(session: Name) -> schemas.State:
        """A second session from the same moment."""
        name = await steps.branch(kept, session, shelf.room(".safetensors"))
        return steps.state(await kept.get(name))

    @router.post("/sessions/{session}/save", responses=refusals(400, 404, 503))
    async def save(session: Name) -> schemas.Saved:
        """Write it to the server's disk, where it outlasts the server."""
        path = await kept.save(session)
        return schemas.Saved(world=f"/sessions/{session}/world", bytes=path.stat().st_size)

    @router.get("/sessions/{session}/world", response_class=FileResponse, responses={
        **refusals(400, 404, 503), 200: _binary("application/octet-stream", "a world file, as it is now")})  # fmt: skip
    async def world(session: Name) -> FileResponse:
        """The world file: `mirage generate --world`, or a new session, goes on with it."""
        walker, path = await kept.get(session), shelf.room(".safetensors")
        with steps.using(walker):
            await walker.live.command(lambda: walker.session.save(path))
        gone = BackgroundTask(path.unlink, missing_ok=True)
        return FileResponse(path, media_type="application/octet-stream", filename="world.safetensors", background=gone)

    @router.get("/sessions/{session}/frame", response_class=Response, responses={
        **refusals(400, 404, 503), 200: _binary("image/jpeg", "what is seen from where it stands")})  # fmt: skip
    async def frame(session: Name) -> Response:
        """The last frame, as a JPEG."""
        picture = await steps.last_frame(await kept.get(session))
        return Response(encoded(picture, "JPEG"), media_type="image/jpeg")

    @router.get("/sessions/{session}/video", response_class=FileResponse, responses={
        **refusals(400, 404, 503), 200: _binary("video/mp4", "the frames of the last step")})  # fmt: skip
    async def video(session: Name) -> FileResponse:
        """The frames of the last step, as an MP4 of H.264."""
        chunk, path = (await kept.get(session)).chunk, shelf.room(".mp4")
        if chunk is None:
            raise Unknown("the session has not made a step since it was made, woken or undone")
        with VideoWriter(path) as film:
            film.write(chunk.frames)
        return FileResponse(path, media_type="video/mp4", background=BackgroundTask(path.unlink, missing_ok=True))

    @router.get("/metrics", name="metrics", tags=["server"], response_class=PlainTextResponse)
    async def numbers() -> Response:
        """What Prometheus reads."""
        return Response(metrics.text(), media_type=MEDIA_TYPE)

    return router


def _parsed(walk: str) -> Any:
    try:
        return schemas.Walk.model_validate_json(walk)
    except ValidationError as error:
        raise InputError(f"walk: {_first(error.errors())}") from error


async def _parts(file: UploadFile):
    while part := await file.read(1 << 20):
        yield part


def _as_it_is(description: dict[str, Any], *, token: bool) -> dict[str, Any]:
    """FastAPI declares a 422 wherever something may be invalid, which here is a 400, and knows nothing of tokens."""
    for path, operations in description["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            if token and path != "/healthz":
                operation["responses"] |= {str(status): said for status, said in refusals(401).items()}
    parts = description["components"]
    for name in ("HTTPValidationError", "ValidationError"):
        parts["schemas"].pop(name, None)
    if token:
        parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        description["security"] = [{"token": []}]
    return description


def _invalid(request: Request, error: Exception) -> PlainTextResponse:
    assert isinstance(error, RequestValidationError)
    return PlainTextResponse(_first(error.errors()), 400)


def _first(errors: Any) -> str:
    """The first of pydantic's errors, in a line that names the field."""
    where = ".".join(str(part) for part in errors[0]["loc"])
    return " ".join(f"{where}: {errors[0]['msg']}".split())


def _refused(request: Request, error: Exception) -> PlainTextResponse:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:  # Starlette names the methods of the first of a path's routes alone
        routes = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
        headers["Allow"] = ", ".join(sorted({method for route in routes for method in getattr(route, "methods", ())}))
    return PlainTextResponse(str(error.detail), error.status_code, headers=headers)


def _links(*names: str) -> dict[str, Any]:
    """What may be asked next of the session that an answer names."""
    parameters = {"session": "$response.body#/session"}
    return {"links": {name: {"operationId": f"sessions_{name}", "parameters": parameters} for name in names}}


def _binary(media_type: str, description: str) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": {"type": "string", "format": "binary"}}}}
