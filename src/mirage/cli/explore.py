"""`mirage explore`: a page to walk a world live, on this machine."""

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mirage.cli.arguments import Explore
from mirage.cli.arguments.common import noun_of
from mirage.cli.listening import said
from mirage.cli.terminal import Result
from mirage.errors import InputError, check_number
from mirage.explorer.explorer import FOLDER, STANDING, Explorer
from mirage.formats.image import save_image
from mirage.models.world import WorldModel
from mirage.request import ModelRequest, Request
from mirage.rollout.begin import load_model, open_request
from mirage.scenes import Scene
from mirage.serve.access import Access
from mirage.serve.app import Page, Served, create_app
from mirage.serve.app import run as serve
from mirage.serve.sessions import Sessions
from mirage.serve.shelf import Shelf
from mirage.serve.worker import Worker
from mirage.units import parse_bytes

SCENE = 5


def run(asked: Explore) -> Result:
    """Serve until Ctrl-C."""
    if (asked.image is not None) + (asked.world is not None) + (asked.scene is not None) > 1:
        raise InputError("an explorer begins in one of an image, a world and a scene; got several")
    check_number("--port", asked.port, kind=int, low=0, high=65535)
    access, limit = Access(asked.host, asked.token), parse_bytes(asked.upload, what="an upload")
    if asked.image is not None or asked.world is not None:
        open_request(_request(asked, image=asked.image, world=asked.world))  # before a model is loaded
    model = load_model(noun_of(asked, ModelRequest))
    with _opening(asked, model) as request:
        worker = Worker()
        served = Served(Sessions(model, worker, limit=asked.sessions), Shelf(limit=limit), access)
        app = create_app(served, page=Page(FOLDER, Explorer(request, model).talk))
        serve(app, served, host=asked.host, port=asked.port, ready=said(asked, page=True))
        worker.close()
    return Result({"served": True})


@contextmanager
def _opening(asked: Explore, model: WorldModel) -> Iterator[Request]:
    """Where every page begins; a scene is a picture, drawn now."""
    if asked.image is not None or asked.world is not None:
        yield _request(asked, image=asked.image, world=asked.world)
        return
    scene = Scene.sample(SCENE if asked.scene is None else asked.scene)
    camera = scene.path("walk", 1, seed=scene.seed)
    fov = math.degrees(2 * math.atan(0.5 / float(camera.intrinsics[0, 0])))
    prompt = scene.caption if asked.prompt is None else asked.prompt
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "scene.png"
        save_image(picture, scene.render(camera, model.size).rgb[0])
        yield replace(_request(asked, image=picture), fov=fov, prompt=prompt)


def _request(asked: Explore, *, image: Path | None = None, world: Path | None = None) -> Request:
    return Request(
        image=image,
        world=world,
        trajectory=STANDING,
        prompt=asked.prompt,
        fov=None if world else asked.fov,
        steps=asked.steps,
        seed=asked.seed,
    )
