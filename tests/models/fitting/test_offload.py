"""Networks that come and go give what networks that stay give; the hooks of diffusers and accelerate, CPU to CPU."""

import threading

import pytest
import torch
from diffusers.hooks.group_offloading import ModuleGroup
from torch import nn

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.models.condition import Condition
from mirage.models.fitting.offload import STAGES, check_offload, place, running
from mirage.models.tiny import tiny_world
from mirage.models.world import WorldModel
from mirage.sampler import Sampler

CPU, META = torch.device("cpu"), torch.device("meta")


def networks(model: WorldModel) -> dict[str, nn.Module]:
    return {name: part for name, part in model.components.items() if isinstance(part, nn.Module)}


def outputs(model: WorldModel) -> list[torch.Tensor]:
    """Every verb once, denoising and decoding twice."""
    g = torch.Generator().manual_seed(0)
    text = model.encode_prompt("a red room")
    latents = model.encode(torch.rand((5, 3, 32, 64), generator=g))
    z, one = torch.randn((1, model.channels, 3, 2, 4), generator=g), torch.ones(1, 1, 3, 2, 4)
    condition = Condition(z, one, torch.zeros(1, 2, 3, 2, 4), torch.zeros(1, 6, 3, 2, 4), z[:, :, :1], z[:, :, :1],
                          z[:, :, :2], text)  # fmt: skip
    made = [
        model.denoise(condition, generator=torch.Generator().manual_seed(1), sampler=Sampler(steps=2)) for _ in range(2)
    ]
    depth = model.depth(latents, Camera.looking()[None], first=True)
    stream = model.decoder()
    return [text, latents, *made, depth.z, stream.decode(latents), stream.decode(made[0][0].transpose(0, 1))]


@pytest.mark.parametrize("offload", ["model", "group"])
def test_offloading_changes_no_output(offload) -> None:
    stays, moves = (tiny_world(detail_channels=4, prediction="sample") for _ in range(2))
    for model in (stays, moves):  # a branch that says something
        assert model.memory_branch is not None
        for block in model.memory_branch.blocks:
            nn.init.ones_(block.proj_out.weight)  # pyright: ignore
    place(networks(moves), offload=offload, device="cpu")
    moves.offload = offload
    assert moves.runs_on == CPU
    for one, other in zip(outputs(stays), outputs(moves), strict=True):
        assert torch.equal(one, other)


def test_one_stage_at_a_time_is_on_the_device() -> None:
    parts = networks(tiny_world())
    place(parts, offload="model", device="meta")  # what goes there does not compute, but it goes
    assert {part.device for part in parts.values()} == {CPU}
    for stage in STAGES:
        for name in stage:
            with running(parts[name]):
                pass
        there = {name for name, part in parts.items() if next(part.parameters()).device == META}
        assert there == set(stage)
        for name in stage:
            parts[name].to_empty(device="cpu")


def test_two_threads_do_not_move_each_others_networks() -> None:
    """One is within the transformer while the other wants to encode, which would take the transformer away."""
    parts = networks(tiny_world())
    place(parts, offload="model", device="meta")
    inside, moved = threading.Event(), []

    def encode() -> None:
        inside.wait()
        with running(parts["vae"]):
            moved.append("vae")

    other = threading.Thread(target=encode)
    other.start()
    with running(parts["transformer"]):
        inside.set()
        other.join(0.3)
        assert not moved
        assert next(parts["transformer"].parameters()).device == META
        parts["transformer"].to_empty(device="cpu")
    other.join(10)
    assert moved == ["vae"]


@pytest.mark.parametrize("offload", ["model", "group"])
def test_a_forward_that_fails_leaves_nothing_held_and_no_block_behind(offload, monkeypatch) -> None:
    parts, gone = networks(tiny_world()), []
    place(parts, offload=offload, device="cpu")
    monkeypatch.setattr(ModuleGroup, "offload_", lambda group: gone.append(group))
    with pytest.raises(ZeroDivisionError), running(parts["transformer"]):
        raise ZeroDivisionError
    assert bool(gone) == (offload == "group")
    with pytest.raises((TypeError, ValueError)):
        parts["text_encoder"](nonsense=1)

    def run() -> None:
        with running(parts["transformer"]):
            gone.append("other")

    other = threading.Thread(target=run)
    other.start()
    other.join(10)
    assert "other" in gone


def test_in_groups_each_block_comes_and_goes_and_the_stem_stays_for_the_forward(monkeypatch) -> None:
    model = tiny_world()
    place(networks(model), offload="group", device="cpu")
    transformer, there, most, seen = model.transformer, set(), [0], []

    def come(group: ModuleGroup) -> None:
        there.add(group)
        most[0] = max(most[0], len(there))
        seen.extend(module for module in group.modules)

    def go(group: ModuleGroup) -> None:
        there.discard(group)

    monkeypatch.setattr(ModuleGroup, "onload_", come)
    monkeypatch.setattr(ModuleGroup, "offload_", go)
    with running(transformer):
        stem = {id(module) for group in there for module in group.modules}
        assert {id(transformer.patch_embedding), id(transformer.condition_embedder), id(transformer.proj_out)} <= stem
    assert not there
    outputs(model)
    assert not there
    assert {id(block) for block in transformer.blocks} <= {id(module) for module in seen}
    assert most[0] == 3  # the transformer's stem, its branch's stem and one block


def test_offloading_needs_a_gpu() -> None:
    for offload in ("model", "group"):
        with pytest.raises(InputError, match=f"offload {offload} needs a CUDA device"):
            check_offload(offload, device="cpu")
    check_offload("none", device="cpu")
    with pytest.raises(InputError, match="accepted: none, model, group"):
        check_offload("all", device="cuda")  # pyright: ignore
