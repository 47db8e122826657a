"""Pictures for people show what they are of: another thing, another picture; and all of them can be kept."""

import io

import pytest
import torch
from PIL import Image

import mirage
from helpers import random_image, refusal, walls
from mirage import Camera, LatentSpatialMemory
from mirage.show import views
from mirage.show.shown import Shown

GRID = (8, 12)
CAMERA = Camera.looking(aspect=1.5)
PATH = mirage.orbit(CAMERA, 3, degrees=40)


def memory(seed: int = 0) -> LatentSpatialMemory:
    made = LatentSpatialMemory(5)
    latents = torch.randn(1, 5, *GRID, generator=torch.Generator().manual_seed(seed))
    made.write(latents, walls(1, GRID, 2.0 + seed), CAMERA)
    return made


def pictures(seed: int) -> dict[str, Shown]:
    kept = memory(seed)
    readout = kept.read(PATH, GRID)
    frames = torch.stack([random_image(seed=seed), random_image(seed=seed + 7)])
    mask = torch.zeros(GRID, dtype=torch.bool)
    mask[seed : seed + 3] = True
    return {
        "frames": views.frames(frames),
        "mask": views.mask(mask, frames[0]),
        "depth": views.depth(walls(2, GRID, 2.0).scaled(torch.linspace(1, 2 + seed, 12))),
        "readout": views.readout(readout),
        "coverage": views.coverage(readout.coverage * (1 - 0.3 * seed)),
        "map": views.map(kept),
        "cloud": views.cloud(kept),
    }


def test_every_picture_is_of_its_thing_and_can_be_kept(tmp_path):
    one, other = pictures(0), pictures(1)
    for name, shown in one.items():
        assert 0 <= float(shown.pixels.min()) < float(shown.pixels.max()) <= 1, name
        assert shown.pixels.shape != other[name].pixels.shape or not torch.equal(shown.pixels, other[name].pixels), name
        shown.save(tmp_path / f"{name}.png")
        again = mirage.load_image(tmp_path / f"{name}.png")
        torch.testing.assert_close(again, shown.pixels, atol=0.5 / 255 + 1e-6, rtol=0)
        with Image.open(io.BytesIO(shown._repr_png_())) as drawn:
            assert drawn.size == (shown.pixels.shape[2], shown.pixels.shape[1])
        assert len(repr(shown)) < 100


def test_a_mask_shows_where_it_is():
    picture = torch.full((3, 16, 24), 0.5)
    mask = torch.zeros(GRID, dtype=torch.bool)
    mask[2:4, 3:6] = True
    red = views.mask(mask, picture).pixels[0] > views.mask(mask, picture).pixels[1] + 0.1
    large = torch.zeros(16, 24, dtype=torch.bool)
    large[4:8, 6:12] = True
    assert torch.equal(red, large)


def test_holes_are_grey_and_what_is_known_is_not():
    kept = memory()
    everywhere = views.readout(kept.read(CAMERA, GRID)).pixels
    nowhere = views.readout(LatentSpatialMemory(5).read(CAMERA, GRID)).pixels
    coloured = (everywhere.amax(0) - everywhere.amin(0) > 0.1).sum()
    assert coloured > 1000
    assert (nowhere.amax(0) - nowhere.amin(0) > 0.1).sum() == 0


def test_frames_are_taken_in_every_layout(tmp_path):
    frames = (torch.rand(4, 3, 16, 24) * 255).round() / 255
    whole = (frames * 255).round().to(torch.uint8)
    ways = [frames, whole, whole.permute(0, 2, 3, 1), whole.permute(0, 2, 3, 1).numpy()]
    shown = [views.frames(way).pixels for way in ways]
    assert all(torch.equal(one, shown[0]) for one in shown)
    mirage.save_video(tmp_path / "film.mkv", ways[3])
    assert torch.equal(mirage.load_video(tmp_path / "film.mkv"), whole)


def test_an_animation_plays(tmp_path):
    frames = torch.rand(3, 3, 16, 24)
    views.animation(frames, fps=10, width=12).save(tmp_path / "walk.gif")
    with Image.open(tmp_path / "walk.gif") as film:
        assert (getattr(film, "n_frames", 1), film.size) == (3, (12, 8))
    assert views.animation(frames)._repr_html_().startswith("<img")
    refusal(views.animation(frames).save, tmp_path / "walk.mp4", words=["save_video"])


def test_a_still_picture_is_no_page(tmp_path):
    refusal(views.frames(torch.rand(1, 3, 16, 24)).save, tmp_path / "page.html", words=["still"])


@pytest.mark.parametrize("wrong", [None, "text", 3, torch.zeros(2), torch.zeros(0, 3, 4, 4), object()])
@pytest.mark.parametrize("name", ["frames", "depth", "readout", "coverage", "map", "cloud", "animation"])
def test_what_cannot_be_shown_is_told(name, wrong):
    if name == "coverage" and isinstance(wrong, torch.Tensor) and wrong.ndim == 1:
        return
    refusal(getattr(views, name), wrong)


def test_the_room_is_a_name_of_mirage():
    assert mirage.show.frames is views.frames
    assert "show" in dir(mirage)


def test_no_value_prints_its_numbers(model, image):
    session = mirage.Session(model, image, settings=mirage.Settings(sampler=mirage.Sampler(steps=1)))
    (chunk,) = session.follow(mirage.orbit(session.camera, 5))
    plan, scene = session.plan(mirage.orbit(session.camera, 5)[1:]), mirage.Scene.sample(1)
    values = [
        chunk,
        chunk.readout,
        chunk.depth,
        chunk.tape,
        chunk.alignment,
        plan,
        scene,
        session.camera,
        session.memory,
    ]
    values += [session, session.history, session.snapshot(), session.snapshot().state, session.memory.snapshot()]
    assert isinstance(session.memory, LatentSpatialMemory)
    for value in [*values, session.memory.points, session.memory.cloud, plan.condition]:
        assert len(repr(value)) < 400, type(value)
        assert "\n" not in repr(value), type(value)
    assert chunk._repr_png_().startswith(b"\x89PNG")
    assert session._repr_png_() is not None
