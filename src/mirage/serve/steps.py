"""What a session does when the API asks: begin, step, look, undo, branch. No word of HTTP here.

`F` video frames of a step, `H W` pixels.
"""

import asyncio
import base64
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.formats.image import encoded
from mirage.formats.keys import KEYS, SPEED, TURN, parse_keys
from mirage.geometry.camera import Camera, check_cameras
from mirage.geometry.motion import Motion
from mirage.models.world import WorldModel
from mirage.request import Request
from mirage.rollout import Chunk, Session
from mirage.rollout.begin import begin, open_request, open_scene
from mirage.scenes.scene import Scene
from mirage.serve import schemas
from mirage.serve.kept import Kept, Limits, Walker, check_memory
from mirage.serve.worker import Cancelled, Check
from mirage.units import parse_bytes

STANDING = "stay 4"  # of a request: where the walk goes is said step by step
SCENE = 5


def begun(asked: Any, file: tuple[Path, str] | None, model: WorldModel, limits: Limits) -> Session:
    """A session of a `schemas.Walk`, from a file of kind "image" or "world", or in a scene."""
    choices = asked.model_dump(exclude={"scene"}, exclude_unset=True)
    world = file is not None and file[1] == "world"
    if file is not None and asked.scene is not None:
        raise InputError("a session begins in a scene or with a file, got both")
    if not world and parse_bytes(asked.memory_budget or f"{limits.memory}B") > limits.memory:
        raise InputError(f"a memory budget is at most {limits.memory} bytes here, got {asked.memory_budget}")
    if not world:
        choices["memory_budget"] = asked.memory_budget or f"{limits.memory}B"
    start: dict[str, Any] = {"image": Path("a scene")} if file is None else {file[1]: file[0]}
    if file is None:
        scene = Scene.sample(SCENE if asked.scene is None else asked.scene)
        choices["prompt"] = scene.caption if asked.prompt is None else asked.prompt
        request = Request(**choices, **start, trajectory=STANDING)
        return begin(request, model, open_scene(scene, model.size))[0]
    request = Request(**choices, **start, trajectory=STANDING)
    session = begin(request, model, open_request(request))[0]
    check_memory(session, limits)
    if not world and session.image is not None and math.prod(session.image.shape[-2:]) > math.prod(model.size):
        raise InputError("the frames of this picture would be larger than the model's")
    return session


def poses(asked: Any, start: Camera, most: int) -> Camera:
    """The cameras [F] of a step that a `schemas.Step` (or an action) asks for, from where the session stands."""
    given = {name: value for name in ("move", "keys", "poses") if (value := getattr(asked, name, None)) is not None}
    if len(given) > 1:
        raise InputError(f"a step is said in one way, got {' and '.join(given)}")
    if "keys" in given:
        path, at = list[Camera](), start
        for press in parse_keys(given["keys"]):
            path.append((_pressed(press.keys) * press.frames).along(at, press.frames))
            at = path[-1][-1]
            if sum(map(len, path)) > most:
                raise InputError(f"a step has at most {most} video frames here, got keys for more")
        return Camera.concatenate(path)
    if "poses" in given:
        c2w = torch.tensor(given["poses"], dtype=start.c2w.dtype)
        return check_cameras(Camera(c2w, start.intrinsics), source="the step")
    return motion(asked.move or schemas.Move()).along(start, asked.frames)


def motion(move: schemas.Move) -> Motion:
    return Motion(**move.model_dump())


async def step(
    walker: Walker, asked: Any, limits: Limits, *, shown: Callable[[int, Tensor], None] | None = None
) -> Chunk:
    """The next chunk, decoded. `shown(number, frame)` is called in the worker's thread for each frame as it comes. What
    raises or takes too long leaves the session at its last chunk."""
    session = walker.session
    check_memory(session, limits)

    def work(check: Check) -> Chunk:
        before, prompt = session.snapshot(), session.prompt
        try:
            if asked.__dict__.get("prompt") is not None:
                session.prompt = asked.prompt
            chunk = session.step(poses(asked, session.camera, session.model.chunk_frames - 1), callback=check)
            number = 0

            def told(piece: Tensor) -> None:
                nonlocal number
                check(None)
                for frame in piece:
                    if shown is not None:
                        shown(number, frame)
                    number += 1

            chunk.decode(told)
        except BaseException:
            session.restore(before)
            raise
        walker.undo.append(replace(before, state=replace(before.state, prompt=prompt)).light(session.model))
        walker.chunk = chunk
        return chunk

    with using(walker):
        try:
            return await asyncio.wait_for(walker.live.walk(work), limits.step)
        except TimeoutError:
            walker.live.cancel()
            raise Cancelled(f"the step took more than {limits.step:g} seconds and was stopped") from None


async def look(walker: Walker, asked: schemas.Look) -> schemas.Seen:
    """What is known from where the session stands, or after a move."""
    session = walker.session

    def work() -> schemas.Seen:
        camera = motion(asked.move).along(session.camera, 1)
        readout = session.look(camera)
        picture = None
        if asked.picture:
            frame = session.model.decode(readout.latents.to(session.history.latents))[0]
            known = torch.nn.functional.interpolate(readout.mask[None].float(), size=frame.shape[-2:])[0].to(frame)
            picture = base64.b64encode(encoded(frame * (0.25 + 0.75 * known), "JPEG")).decode()
        rows = ["".join("#" if cell else "." for cell in row) for row in readout.mask[0].tolist()]
        return schemas.Seen(pose=plain(camera[0]), coverage=_share(readout.mask), known=rows, picture=picture)

    with using(walker):
        return await walker.live.command(work)


async def undo(walker: Walker, steps: int) -> None:
    """Back by so many steps."""

    def work() -> None:
        if steps > len(walker.undo):
            raise InputError(
                f"{len(walker.undo)} steps can be undone, those since the session was made or came back from disk, "
                f"at most {walker.undo.maxlen}; got {steps}"
            )
        for _ in range(steps):
            snapshot = walker.undo.pop()
        walker.session.restore(snapshot)  # pyright: ignore[reportPossiblyUnboundVariable]
        walker.chunk = None

    with using(walker):
        walker.live.cancel()
        await walker.live.command(work)


async def branch(kept: Kept, name: str, scratch: Path) -> str:
    """A new session that stands where this one does; the two go on apart."""
    walker = await kept.get(name)
    try:
        with using(walker):
            await walker.live.command(lambda: walker.session.save(scratch))
        other, _ = await kept.open(lambda: Session.load(scratch, walker.session.model))
    finally:
        scratch.unlink(missing_ok=True)
    return other


async def last_frame(walker: Walker) -> Tensor:
    """[3,H,W], what is seen from where the session stands."""
    if walker.chunk is not None:
        return walker.chunk.frames[-1]
    session = walker.session

    def work() -> Tensor:
        if session.index == 0 and session.image is not None:
            return session.image
        return session.model.decode(session.history.latents[-3:])[-1]

    with using(walker):
        return await walker.live.command(work)


def state(walker: Walker) -> schemas.State:
    """Where a session stands."""
    session = walker.session
    grid = session.grid
    return schemas.State(
        session=walker.live.name,
        index=session.index,
        prompt=session.prompt,
        pose=plain(session.camera),
        size=[side * session.model.stride for side in grid],
        chunk_frames=session.model.chunk_frames - 1,
        undo=len(walker.undo),
        memory_points=len(session.memory),
        memory_bytes=session.memory.nbytes,
        busy=walker.live.busy,
    )


def made(walker: Walker, chunk: Chunk) -> schemas.Made:
    """What a step gave."""
    return schemas.Made(
        session=walker.live.name,
        index=chunk.index,
        frames=len(chunk.camera),
        pose=plain(chunk.latent_camera[-1]),
        coverage=_share(chunk.readout.mask),
        points_added=chunk.points_added,
        memory_bytes=chunk.memory_bytes,
        seconds=dict(chunk.timings),
    )


def plain(camera: Camera) -> list[list[float]]:
    return camera.c2w.tolist()


@contextmanager
def using(walker: Walker) -> Iterator[None]:
    """Nobody puts it to sleep meanwhile."""
    walker.using += 1
    try:
        yield
    finally:
        walker.using -= 1


def _pressed(keys: tuple[str, ...]) -> Motion:
    """Keys held for a frame."""
    total = Motion()
    for key in keys:
        right, down, forward, yaw, pitch = KEYS[key]
        went = Motion(forward=forward, right=right, up=-down) * SPEED
        total = total + went + Motion(yaw=yaw, pitch=pitch) * TURN
    return total


def _share(mask: Tensor) -> float:
    return round(float(mask.float().mean()), 6)
