"""A denoiser for other latents: the same, said in them, where they are a linear map of the old ones."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.models.condition import Condition
from mirage.models.depth_head import cell_slopes
from mirage.models.tiny import GroupedSizes, build_world, tiny_world
from mirage.models.transformer import predict
from mirage.scenes import sample_clip, vocabulary
from mirage.training.clips import clip_path, save_pixels
from mirage.training.parts import Parts, assembled, leave
from mirage.training.runs import Translate
from mirage.training.translation import Linear, maps_between, translate
from toys import SIZE, SMALL

OLD, NEW, SHARE = 8, 12, 0.7
SAMPLES: dict[str, Any] = {"prediction": "sample", "detail_channels": 8, "detail_blocks": 1}


@cache
def worlds() -> tuple[Any, Any]:
    """Two of the same sizes but for the channels; the first one's zero layers say something."""
    old: Any = tiny_world(0, channels=OLD, **SAMPLES)
    new = tiny_world(1, channels=NEW, **SAMPLES)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weights in old.memory_branch.parameters():
            if not weights.any():
                weights.normal_(0, 0.1, generator=generator)
        last = old.memory_branch.detail.leave[-1]
        last.weight[OLD:], last.bias[OLD:] = 0, SHARE  # which a share for each channel has to be, to be the same in all
    return old, new


def mapped_worlds(generator):
    """The first world, the second one with what is behind the first one's latents, and the map [NEW,OLD] between."""
    basis = torch.linalg.qr(torch.randn(NEW, OLD, generator=generator))[0]
    old, new = worlds()
    translate(old, new, Linear(basis.T, torch.ones(OLD)), Linear(basis, torch.ones(NEW)))
    return old, new, basis


def conditions(z, readout):
    """What is seen beside chunks of latents z [1,C,3,h,w]: `readout` where something is known, and 0 elsewhere."""
    generator = torch.Generator().manual_seed(z.shape[2])
    some = torch.rand(1, 9, *z.shape[2:], generator=generator)
    mask = (some[:, :1] > 0.4).float()
    return Condition(
        memory=readout * mask,
        mask=mask,
        offset=(some[:, 1:3] - 0.5) * mask,
        rays=some[:, 3:],
        first=z[:, :, :1],
        preceding=z[:, :, :0],
        references=z[:, :, 1:2],
        text=torch.zeros(1, 4, 32),
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
@torch.no_grad()
def test_where_the_new_latents_are_a_linear_map_of_the_old_ones_so_is_the_output(seed):
    generator = torch.Generator().manual_seed(seed)
    old, new, basis = mapped_worlds(generator)
    z, readout = torch.randn(2, 1, OLD, 3, 4, 6, generator=generator)
    timestep = torch.tensor([[0.0, 400.0, 400.0]])

    def output(world, basis):
        mapped = [torch.einsum("dc,bc...->bd...", basis, x) for x in (z, readout)]
        return predict(world.transformer, world.memory_branch, mapped[0], timestep, conditions(*mapped))

    its, ours = output(old, torch.eye(OLD)), output(new, basis)
    assert torch.allclose(ours, torch.einsum("dc,bc...->bd...", basis, its), atol=1e-4 * float(its.abs().max()))


@torch.no_grad()
def test_what_the_old_branch_did_not_see_says_nothing_yet():
    generator = torch.Generator().manual_seed(4)
    old, new, basis = mapped_worlds(generator)
    seeing: Any = tiny_world(1, channels=NEW, use_motion=True, **SAMPLES)
    maps = Linear(basis.T, torch.ones(OLD)), Linear(basis, torch.ones(NEW))
    translate(old, seeing, *maps)
    z = torch.randn(1, NEW, 3, 4, 6, generator=generator)
    seen, timestep = conditions(z, z), torch.tensor([[0.0, 400.0, 400.0]])
    moved = replace(seen, motion=torch.randn(seen.rays.shape, generator=generator))
    wanted = predict(new.transformer, new.memory_branch, z, timestep, seen)
    assert torch.equal(predict(seeing.transformer, seeing.memory_branch, z, timestep, moved), wanted)
    with pytest.raises(InputError, match="sees motion and the new one does not"):
        translate(seeing, tiny_world(2, channels=OLD, **SAMPLES), maps[1], maps[0])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
@torch.no_grad()
def test_depth_is_what_it_was(seed):
    generator = torch.Generator().manual_seed(seed)
    old, new, basis = mapped_worlds(generator)
    z, single = torch.randn(2, OLD, 4, 6, generator=generator), torch.tensor([True, False])
    mapped = torch.einsum("dc,tchw->tdhw", basis, z)
    rays = cell_slopes(Camera.looking(), (4, 6)).expand(2, -1, -1, -1)
    for its, ours in zip(old.depth_head(z, rays, single), new.depth_head(mapped, rays, single), strict=True):
        assert torch.allclose(its, ours, atol=1e-4 * float(its.abs().max()))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_least_squares_finds_a_linear_map_and_says_how_much_of_each_channel_it_explains(seed):
    generator = torch.Generator().manual_seed(seed)
    x, weight = torch.randn(400, 5, generator=generator), torch.randn(3, 5, generator=generator)
    y = x @ weight.T
    y[:, 1] = torch.randn(400, generator=generator)  # which x knows nothing of
    y[:, 2] = 1e-4 * x[:, 0]  # dead
    found = Linear.fitted(x, y, ridge=1e-9)
    assert torch.allclose(found.weight[0], weight[0], atol=1e-4)
    assert found.explained[0] > 0.999
    assert found.explained[1] < 0.1
    assert not found.weight[2].any()


def test_the_maps_are_those_between_two_autoencoders_over_the_same_clips(tmp_path):
    clip = sample_clip(0, frames=17, size=SIZE)
    save_pixels(clip_path(tmp_path, 0), clip)
    old, new = tiny_world(0, channels=OLD, **SAMPLES), tiny_world(1, channels=NEW, **SAMPLES)
    into, back = maps_between(old, new, tmp_path)
    assert into.weight.shape == (OLD, NEW)
    assert back.weight.shape == (NEW, OLD)
    itself, _ = maps_between(old, old, tmp_path)
    assert itself.explained[itself.weight.any(1)].min() > 0.9
    with pytest.raises(InputError, match="expected the same grid"):
        maps_between(old, tiny_world(1, grouped=GroupedSizes(8, 4, 1, 1)), tmp_path)


def test_a_velocity_cannot_be_said_in_other_channels():
    old, new = tiny_world(0), tiny_world(1)
    with pytest.raises(InputError, match="accepted: sample"):
        translate(old, new, Linear(torch.eye(48), torch.ones(48)), Linear(torch.eye(48), torch.ones(48)))


def test_models_that_differ_in_more_than_channels_are_refused():
    old, new = tiny_world(0, channels=OLD, **SAMPLES), tiny_world(1, channels=NEW, **SAMPLES | {"layers": 6})
    with pytest.raises(InputError, match=r"transformer of the two models .* expected them to differ in channels alone"):
        translate(old, new, Linear(torch.eye(OLD, NEW), torch.ones(OLD)), Linear(torch.eye(NEW, OLD), torch.ones(NEW)))


def test_a_run_of_it_leaves_what_a_denoiser_begins_from(tmp_path):
    toy = replace(SMALL, channels=NEW)
    leave(build_world(SMALL, words=vocabulary()), tmp_path / "old")
    (tmp_path / "clips").mkdir()
    save_pixels(clip_path(tmp_path / "clips", 0), sample_clip(0, frames=17, size=SIZE))
    leave(build_world(toy, words=vocabulary()).vae, tmp_path / "autoencoder" / "vae")
    run = Translate(str(tmp_path / "old"), vae=tmp_path / "autoencoder", clips=tmp_path / "clips", sizes=toy)
    run.check()
    run.work(tmp_path / "translated")
    model = assembled(replace(Parts.of(tmp_path / "translated"), vae=tmp_path / "autoencoder"), toy)
    assert model.channels == NEW
