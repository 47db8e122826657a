"""A walk that begins with several views: each is in the memory where it was taken, in one scale with the others."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from helpers import refusal
from mirage.depth.protocol import Views
from mirage.formats.cameras import save_cameras
from mirage.formats.image import save_image
from mirage.formats.video import VideoWriter
from mirage.formats.views import open_views
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.memory import LatentSpatialMemory
from mirage.request import Request
from mirage.rollout.begin import begin, open_request
from mirage.rollout.remembered import remember
from mirage.rollout.settings import Settings
from mirage.scenes import Scene

SIZE = (64, 96)


@pytest.fixture(scope="module")
def scene():
    """Three views of a room, of one walk."""
    scene = Scene.sample(3)
    path = scene.path("there_and_back", 33, seed=3)[[0, 8, 16]]
    path = path.with_intrinsics(Camera.looking(horizontal_fov=60, aspect=SIZE[1] / SIZE[0]).intrinsics)
    return path, scene.render(path, SIZE)


@pytest.fixture
def room(scene, tmp_path: Path) -> Path:
    path, seen = scene
    for number, frame in enumerate(seen.rgb):
        save_image(tmp_path / f"{number}.png", frame)
    save_cameras(tmp_path / "cameras.npz", path, format="npz")
    np.savez(tmp_path / "depth.npz", depth=seen.depth.z.numpy())
    return tmp_path


def asked(room: Path, **choices) -> Request:
    its = {"image": tuple(room / f"{n}.png" for n in range(3)), "image_cameras": room / "cameras.npz"}
    its |= {"depth": room / "depth.npz", "trajectory": "pan", "frames": 9, "steps": 1}
    return Request(**(its | choices))


def test_every_view_is_in_the_memory_and_the_walk_goes_on_from_the_last(room, scene, model):
    path, _ = scene
    session, walk = begin(asked(room), model)
    relative = path.relative_to(path[-1]).to(torch.float32)
    assert_close(session.camera.c2w, torch.eye(4))
    assert_close(walk[0].intrinsics, path[-1].intrinsics.to(torch.float32), atol=1e-4, rtol=0)
    alone, _ = begin(asked(room, image=room / "2.png", image_cameras=None, depth=None), model)
    assert len(session.memory) > len(alone.memory)
    for number in range(3):
        seen = session.look(relative[number])
        assert seen.mask.float().mean() > 0.95
        latents = model.encode(torch.stack([_picture(room, number)]))
        error = (seen.latents - latents).abs().mean(1)[seen.mask].mean() / latents.abs().mean()
        assert error < 0.3, number
    assert alone.look(relative[0]).mask.float().mean() < 0.7
    chunk = session.step(walk[1:])
    assert chunk.readout.mask.float().mean() > 0.3
    assert len(chunk.frames) == 9


def _picture(room: Path, number: int) -> torch.Tensor:
    return open_views([room / f"{number}.png"]).fitted(SIZE).photographs[0].pixels


@pytest.mark.parametrize("factor", [1.0, 3.0, 0.25])
def test_estimated_depth_is_brought_to_the_scale_of_the_cameras(room, scene, model, factor):
    """An estimator has a scale of its own; parallax tells it."""
    _, truth = scene
    views = open_views([room / f"{n}.png" for n in range(3)], cameras=room / "cameras.npz").fitted(SIZE)
    calls = iter(range(3))

    def estimator(seen: Views) -> DepthMap:
        return DepthMap(truth.depth.z[next(calls)][None] * factor)

    memory = LatentSpatialMemory(model.channels)
    last = remember(views, model, memory, estimator=estimator, settings=Settings())
    expected = truth.depth[2].resized(last.shape)
    both = last.valid & expected.valid
    assert (last.z / expected.z)[both].median() == pytest.approx(1, rel=0.1)  # of a grid of 4 x 6


def test_a_film_with_cameras_beside_it_is_several_views(room, scene, model):
    path, seen = scene
    with VideoWriter(room / "film.mkv", codec="ffv1") as film:
        film.write(seen.rgb)
    save_cameras(room / "film.npz", path, format="npz")
    opened = open_request(asked(room, image=room / "film.mkv", image_cameras=None))
    assert opened.views is not None
    assert len(opened.views) == 3
    assert opened.photograph is not None
    assert opened.photograph.fov_from == "cameras"
    assert len(begin(asked(room, image=room / "film.mkv", image_cameras=None), model, opened)[0].memory)


def test_what_does_not_go_together_is_one_line(room):
    refusal(open_request, asked(room, image_cameras=None), words=["3 views need their cameras"])
    refusal(open_request, asked(room, image=room / "0.png"), words=["one picture"])
    refusal(
        open_request, asked(room, depth=None, depth_model=str(room / "depth.npz")), words=["a map for each picture"]
    )
    one = asked(room, image=room / "0.png", image_cameras=None, depth=None, depth_model=str(room / "depth.npz"))
    refusal(open_request, one, words=["3 depth maps", "the walk needs 9"])
