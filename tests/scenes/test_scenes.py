"""Laws of the procedural scenes: one seed, one picture; colour, depth and pose agree with one another."""

import random
import re

import pytest
import torch

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.grid import cell_centers
from mirage.scenes import EVERY_KIND, HELD_OUT, Scene, sample_clip, training_seed, vocabulary
from mirage.scenes.path import LEG
from mirage.scenes.words import shortened

SIZE = (48, 64)
RETURNING = ("there_and_back", "orbit", "pan_and_return", "approach")


def clearance(scene: Scene, camera: Camera, time: torch.Tensor) -> torch.Tensor:
    """Distance of each camera centre to the nearest box at its time, 0 inside: [F]."""
    bounds = scene.boxes + scene.shift(time)[:, :, None]
    center = camera.center[:, None]
    gap = torch.maximum(bounds[:, :, 0] - center, center - bounds[:, :, 1]).clamp(min=0)
    return gap.norm(dim=-1).amin(1)


@pytest.mark.parametrize("moving", [False, True])
def test_same_seed_same_clip(moving):
    torch.manual_seed(0)
    first = sample_clip(41, frames=9, size=SIZE, moving=moving)
    torch.manual_seed(1)
    second = sample_clip(41, frames=9, size=SIZE, moving=moving)
    assert torch.equal(first.rgb, second.rgb)
    assert torch.equal(first.depth.z, second.depth.z)
    assert torch.equal(first.camera.c2w, second.camera.c2w)
    assert (first.caption, first.kind) == (second.caption, second.kind)
    assert not torch.equal(first.rgb, sample_clip(42, frames=9, size=SIZE, moving=moving).rgb)
    assert first.rgb.shape == (9, 3, *SIZE)
    assert first.depth.shape == first.moving.shape == (3, *SIZE)


def test_training_never_sees_held_out_seeds():
    assert all(training_seed(i) >= HELD_OUT for i in range(100))


@pytest.mark.parametrize("seed", [2, 3, 5, 7, 11])
def test_views_agree_through_depth(seed):
    """A pixel of A lifted with its depth lands in B on the same depth and colour, unless something nearer hides it."""
    scene = Scene.sample(seed)
    camera = scene.path("walk", 33)[[0, 12]]
    size = (96, 128)
    view = scene.render(camera, size, time=torch.zeros(2))
    points = camera[0].unproject(cell_centers(size), view.depth.z[0])
    uv, z = camera[1].project(points.reshape(-1, 3))
    # Colour is compared where the lifted point falls near a pixel's centre, away from edges.
    pixel = uv * torch.tensor([size[1], size[0]]) - 0.5
    column, row = pixel.round().long().unbind(-1)
    inside = (z > 0.1) & (row >= 0) & (row < size[0]) & (column >= 0) & (column < size[1])
    inside &= view.depth.valid[0].flatten() & ((pixel - pixel.round()).abs().amax(-1) < 0.25)
    row, column, z = row[inside], column[inside], z[inside]
    same = view.surface[1][row, column] == view.surface[0].flatten()[inside]
    assert same.sum() > 100
    there = view.depth.z[1][row, column]
    assert ((there - z).abs() / z)[same].median() < 0.01
    assert ((there - z).abs() / z)[same].quantile(0.99) < 0.1
    # Hidden: something nearer is there, or a silhouette passes within a pixel.
    nearest = -torch.nn.functional.max_pool2d(-view.depth.z[1][None], 3, 1, 1)[0]
    assert (nearest[row, column] < z * 1.1).all()
    colour = (view.rgb[1][:, row, column] - view.rgb[0].flatten(1)[:, inside]).abs().amax(0)[same]
    assert colour.median() < 0.02
    assert colour.quantile(0.9) < 0.15


@pytest.mark.parametrize("seed", [0, 1, 2, 8])
def test_depth_is_where_the_surface_is(seed):
    """Every lifted pixel lies on the face that `surface` names."""
    scene = Scene.sample(seed)
    camera = scene.path("still_look", 2)
    view = scene.render(camera, SIZE)
    origin, direction = camera.rays(SIZE)
    points = origin[:, None, None] + view.depth.z[..., None] * direction
    seen = view.surface >= 0
    face = view.surface[seen].long()
    point, box, axis, side = points[seen], scene.boxes[face // 6], face % 6 // 2, face % 2
    offset = point.gather(1, axis[:, None])[:, 0] - box[torch.arange(len(face)), side, axis]
    assert offset.abs().max() < 1e-4 * view.depth.z.max()
    outside = torch.maximum(box[:, 0] - point, point - box[:, 1]).amax(1)
    assert outside.max() < 1e-3


def test_sky_is_invalid_and_nothing_else_is():
    skies = 0
    for seed in range(12):
        scene = Scene.sample(seed)
        view = scene.render(scene.path("still_look", 1), SIZE)
        assert torch.equal(view.depth.valid, view.surface >= 0)
        assert (view.depth.z > 0).all()
        skies += int((view.surface < 0).any())
        assert (view.surface >= 0).all() or "sky" in scene.caption
    assert skies > 0


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_walks_touch_nothing(kind):
    """Clear of every box at every time, never through a wall, and calm: over worlds of both kinds, with movers."""
    for seed in range(20):
        scene = Scene.sample(seed, moving=seed % 2 == 1)
        camera = scene.path(kind, 97, seed=seed)
        assert len(camera) == 97
        assert clearance(scene, camera, torch.arange(97.0)).min() > 0.2
        step = camera.center.diff(dim=0).norm(dim=-1)
        assert step.max() < 1.6 / 32
        turn = (camera.c2w[1:, :3, 2] * camera.c2w[:-1, :3, 2]).sum(-1).clamp(-1, 1).acos().rad2deg()
        assert turn.max() < 60 / 32


@pytest.mark.parametrize("kind", RETURNING)
@pytest.mark.parametrize("frames", [1, 2, 33, 97])
def test_return_is_exact(kind, frames):
    scene = Scene.sample(6)
    camera = scene.path(kind, frames)
    assert len(camera) == frames
    if frames > 2:
        assert torch.equal(camera.c2w[0], camera.c2w[-1])
        first, last = scene.render(camera[[0, -1]], SIZE).rgb
        assert torch.equal(first, last)
    if kind == "there_and_back":
        assert torch.equal(camera.c2w, camera.c2w.flip(0))


def test_back_and_forth_stands_where_it_began_again_and_again():
    camera = Scene.sample(6).path("back_and_forth", 1 + 6 * LEG)
    for lap in (2 * LEG, 4 * LEG, 6 * LEG):
        assert torch.equal(camera.c2w[lap], camera.c2w[0])
        assert not torch.allclose(camera.c2w[lap - LEG], camera.c2w[0], atol=0.1)
    assert torch.equal(camera.c2w, camera.c2w.flip(0))
    with pytest.raises(InputError, match="back_and_forth"):
        Scene.sample(6).path("sideways", 33)


def test_a_shortened_caption_tells_some_of_it():
    for seed in range(60):
        caption, rng = Scene.sample(seed).caption, random.Random(seed)
        short = shortened(caption, rng)
        if caption.startswith("a street"):
            assert short == caption
            continue
        left = iter(caption.replace(",", " ").replace(";", " ").split())
        told = [word for word in short.replace(",", " ").replace(";", " ").split() if word != "and"]
        assert all(word in left for word in told), (caption, short)  # in its order
        assert told[-1] not in ("with", "has")
    whole = Scene.sample(next(s for s in range(60) if "next room" in Scene.sample(s).caption)).caption
    shorts = {shortened(whole, random.Random(seed)) for seed in range(60)}
    assert whole in shorts
    assert len(shorts) > 20
    assert any(short.startswith("the next room has") for short in shorts)


def test_captions_stay_in_the_vocabulary():
    known = set(vocabulary())
    said = set()
    for seed in range(150):
        for moving in (False, True):
            said |= set(re.findall("[a-z]+", Scene.sample(seed, moving=moving).caption.lower()))
    assert said <= known
    assert known - said == set()


def test_edges_are_smoothed_in_colour_only():
    """Finer grids show the same surfaces and depths; colour comes much nearer to their mean than one ray alone."""
    scene = Scene.sample(3)
    camera = scene.path("still_look", 1)
    coarse, fine = scene.render(camera, SIZE), scene.render(camera, (SIZE[0] * 3, SIZE[1] * 3))
    assert torch.equal(coarse.surface, fine.surface[:, 1::3, 1::3])  # the middle of each 3 x 3 is the same ray
    assert torch.allclose(coarse.depth.z, fine.depth.z[:, 1::3, 1::3], rtol=1e-4)
    exact = torch.nn.functional.avg_pool2d(fine.rgb, 3)
    plain = fine.rgb[:, :, 1::3, 1::3]
    assert (coarse.rgb - exact).square().mean() < 0.35 * (plain - exact).square().mean()


def test_only_movers_change():
    """From a camera that stands still, exactly the pixels marked at either time may change."""
    changed_any = 0
    for seed in range(8):
        scene = Scene.sample(seed, moving=True)
        camera = scene.path("still_look", 1)[[0, 0]]
        view = scene.render(camera, SIZE, time=torch.tensor([0.0, 31.0]))
        changed = ((view.rgb[0] - view.rgb[1]).abs() > 1e-4).any(0)  # not the last bit, which the order of sums decides
        marked = view.moving[0] | view.moving[1]
        assert not (changed & ~marked).any()
        assert not Scene.sample(seed).render(camera, SIZE).moving.any()
        if marked.any():
            changed_any += 1
            assert changed[marked].float().mean() > 0.3
    assert changed_any > 0


def test_hard_is_finer():
    def busy(difficulty):
        total = 0.0
        for seed in range(10):
            scene = Scene.sample(seed, difficulty=difficulty)
            rgb = scene.render(scene.path("still_look", 1), (96, 128)).rgb
            total += float(rgb.diff(dim=-1).abs().mean())
        return total

    assert busy("hard") > 1.15 * busy("standard")


@pytest.mark.parametrize(
    "call",
    [
        lambda: Scene.sample(-1),
        lambda: Scene.sample(0, difficulty="easy"),  # pyright: ignore[reportArgumentType]
        lambda: Scene.sample(0).path("fly"),
        lambda: Scene.sample(0).path("walk", 0),
    ],
)
def test_wrong_requests_say_what_is_accepted(call):
    with pytest.raises(InputError, match=r"got|accepted"):
        call()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_draws_the_same_picture():
    a = sample_clip(9, frames=30, size=SIZE)
    b = sample_clip(9, frames=30, size=SIZE, device="cuda")
    assert ((a.rgb.int() - b.rgb.cpu().int()).abs() <= 2).float().mean() > 0.999
