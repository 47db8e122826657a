"""The names of OpenEnv (https://github.com/meta-pytorch/OpenEnv): /reset, /step, /state, /schema, and /ws, where a
connection is an episode of its own. An episode is a session, and its id that session's name.

    in      {"type": "reset", "data": {"seed": 1}}, {"type": "step", "data": {"move": {"forward": 0.3}}},
            {"type": "state"}, {"type": "close"}
    out     {"type": "observation", "data": {"observation": ..., "reward": null, "done": false}},
            {"type": "state", ...}, {"type": "error", "data": {"message": ..., "code": ...}}
"""

import base64
from typing import Annotated, Any

from pydantic import BaseModel, ValidationError

from mirage.errors import InputError
from mirage.formats.image import encoded
from mirage.optional import optional
from mirage.serve import schemas, steps
from mirage.serve.app import Served
from mirage.serve.channel import accepted
from mirage.serve.kept import Kept, Walker
from mirage.serve.kinds import of_json, refusals
from mirage.serve.metrics import Metrics, counted
from mirage.serve.sessions import Full, Unknown
from mirage.serve.worker import Cancelled

with optional("fastapi", wanted="an API"):
    from fastapi import APIRouter, Depends, Query
    from starlette.websockets import WebSocket


def openenv_routes(served: Served, kept: Kept, metrics: Metrics) -> APIRouter:
    router = APIRouter(tags=["OpenEnv"])
    episodes = _Episodes(served, kept, metrics)
    json_body: dict[str, Any] = {"dependencies": [Depends(of_json)]}

    episode_id = "$response.body#/metadata/episode_id"
    links = {
        "state": {"operationId": "openenv_state", "parameters": {"episode_id": episode_id}},
        "step": {"operationId": "openenv_step", "requestBody": {"action": {"frames": 4}, "episode_id": episode_id}},
    }

    @router.post("/reset", responses={**refusals(400, 413, 415, 503), 200: {"links": links}}, **json_body)
    async def reset(asked: schemas.Reset) -> schemas.Result:
        """Begin an episode in a procedural scene; `metadata.episode_id` is its id."""
        return await episodes.reset(asked)

    @router.post("/step", responses=refusals(400, 404, 409, 413, 415, 503), **json_body)
    async def step(asked: schemas.Act) -> schemas.Result:
        """Walk on, and see."""
        return await episodes.step(asked.episode_id, asked.action)

    @router.get("/state", responses=refusals(400, 404, 503))
    async def state(episode_id: Annotated[str, Query(max_length=255)]) -> schemas.Episode:
        """How far an episode is."""
        return await episodes.state(episode_id)

    @router.get("/schema")
    async def schema() -> schemas.Schema:
        """What actions, observations and states look like."""
        kinds: dict[str, type[BaseModel]] = {
            "action": schemas.Action, "observation": schemas.Observation, "state": schemas.Episode}  # fmt: skip
        return schemas.Schema(**{name: kind.model_json_schema() for name, kind in kinds.items()})

    @router.websocket("/ws")
    async def episode(socket: WebSocket) -> None:
        channel = await accepted(socket, served.access)
        if channel is None:
            return
        name: str | None = None
        try:
            async for message in channel.messages():
                if message.get("type") == "close":
                    return await channel.close()
                try:
                    name, answer = await episodes.answer(name, message)
                except (ValidationError, InputError, Cancelled) as error:
                    answer = {"type": "error", "data": {"message": _line(error), "code": _code(error)}}
                await socket.send_json(answer)
        finally:
            if name is not None:
                await episodes.end(name)

    return router


class _Episodes:
    def __init__(self, served: Served, kept: Kept, metrics: Metrics) -> None:
        self._served, self._kept, self._metrics = served, kept, metrics

    async def reset(self, asked: schemas.Reset) -> schemas.Result:
        if asked.episode_id is not None:
            await self.end(asked.episode_id)
        walk = schemas.Walk(**asked.model_dump(exclude={"episode_id"}, exclude_none=True))
        model, limits = self._served.sessions.model, self._kept.limits
        name, walker = await self._kept.open(lambda: steps.begun(walk, None, model, limits))
        return await self._result(walker, 1.0, name)

    async def step(self, name: str, action: schemas.Action) -> schemas.Result:
        walker = await self._kept.get(name)
        chunk = await counted(self._metrics, steps.step(walker, action, self._kept.limits))
        return await self._result(walker, steps.made(walker, chunk).coverage, name)

    async def state(self, name: str) -> schemas.Episode:
        return schemas.Episode(episode_id=name, step_count=(await self._kept.get(name)).session.index)

    async def end(self, name: str) -> None:
        """If it is there."""
        try:
            await self._kept.close(name)
        except Unknown:
            return

    async def answer(self, name: str | None, message: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """(the episode from here on, the answer) of a message of a WebSocket."""
        kind, data = message.get("type"), message.get("data")
        if kind == "reset":
            asked = schemas.Reset.model_validate(data or {})
            result = await self.reset(asked.model_copy(update={"episode_id": name}))
            return result.metadata["episode_id"], {"type": "observation", "data": result.model_dump()}
        if kind not in ("step", "state"):
            raise InputError(f"a message is of type reset, step, state or close, got {str(kind)[:40]!r}")
        if name is None:
            raise InputError("the episode has not begun: reset first")
        if kind == "state":
            return name, {"type": "state", "data": (await self.state(name)).model_dump()}
        result = await self.step(name, schemas.Action.model_validate(data))
        return name, {"type": "observation", "data": result.model_dump()}

    async def _result(self, walker: Walker, coverage: float, name: str) -> schemas.Result:
        frame = base64.b64encode(encoded(await steps.last_frame(walker), "JPEG")).decode()
        seen = schemas.Observation(
            frame=frame,
            coverage=coverage,
            pose=steps.plain(walker.session.camera),
            memory_bytes=walker.session.memory.nbytes,
        )
        return schemas.Result(observation=seen, metadata={"episode_id": name})


def _line(error: Exception) -> str:
    said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
    return " ".join(said.split())


def _code(error: Exception) -> str:
    if isinstance(error, Full):
        return "CAPACITY_REACHED"
    return "EXECUTION_ERROR" if isinstance(error, Cancelled) else "VALIDATION_ERROR"
