"""A published transformer and its branch, renamed and run by ours, give what the published forward gives."""

from dataclasses import replace

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import Tensor

import published_layout as published
from helpers import renamed
from mirage.models.condition import Condition
from mirage.models.files.keys import branch_name
from mirage.models.transformer import MemoryBranch, predict

T, H, W = 3, 4, 6
TIMESTEP = torch.tensor([0.0, 700.0, 312.5])


def backbone() -> WanTransformer3DModel:
    model = WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=24, in_channels=48, out_channels=48,
        text_dim=32, freq_dim=256, ffn_dim=96, num_layers=4, cross_attn_norm=True, rope_max_seq_len=64,
    ).eval()  # fmt: skip
    model.load_state_dict({renamed(name): value for name, value in published.dit_state().items()})
    return model


def side(inputs: str) -> MemoryBranch:
    branch = MemoryBranch.from_transformer(backbone(), layers=(0, 2), inputs=inputs).eval()
    state = published.branch_state(seen=branch.patch_embedding.in_channels)
    branch.load_state_dict({renamed(name, branch_name): value for name, value in state.items()})
    return branch


def condition(r: int, p: int) -> Condition:
    g = torch.Generator().manual_seed(5)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g)

    mask = (torch.rand((1, 1, T, H, W), generator=g) > 0.5).float()
    before = (torch.rand((1, 1, p, H, W), generator=g) > 0.5).float()
    return Condition(
        memory=randn(1, 48, T, H, W) * mask, mask=mask, offset=randn(1, 2, T, H, W), rays=randn(1, 6, T, H, W),
        first=randn(1, 48, 1, H, W), preceding=randn(1, 48, p, H, W), references=randn(1, 48, r, H, W),
        text=randn(1, 7, 32), preceding_memory=randn(1, 48, p, H, W) * before, constant=randn(1, 48, T + p, H, W),
    )  # fmt: skip


def restated(seen: Condition, latents: Tensor, inputs: str | None) -> Tensor:
    assert seen.preceding_memory is not None
    assert seen.constant is not None
    scene = torch.cat([seen.memory, seen.preceding_memory], dim=2)[0]
    hole = (scene == 0).all(dim=0, keepdim=True).float()
    branch = None if inputs is None else published.branch_state(seen=96 if inputs == "published" else 49)
    beside = seen.constant[0] if inputs == "published" else hole
    return published.forward(
        published.dit_state(), branch, seen.references[0], latents[0], seen.preceding[0], TIMESTEP, seen.text[0],
        torch.cat([scene, beside]),
    )  # fmt: skip


@pytest.mark.parametrize("inputs", ["published", "published_hole"])
@pytest.mark.parametrize(("r", "p"), [(0, 0), (2, 0), (0, 2), (3, 1)])
@torch.no_grad()
def test_the_published_forward(inputs: str, r: int, p: int) -> None:
    seen, latents = condition(r, p), torch.randn((1, 48, T, H, W), generator=torch.Generator().manual_seed(6))
    ours = predict(backbone(), side(inputs), latents, TIMESTEP[None], seen)[0]
    torch.testing.assert_close(ours, restated(seen, latents, inputs), atol=2e-4, rtol=2e-4)
    without = restated(seen, latents, None)
    assert (ours - without).abs().mean() > 0.1 * without.abs().mean()  # the branch has something to say


@torch.no_grad()
def test_what_a_published_branch_reads_and_what_not() -> None:
    model, branch = backbone(), side("published")
    seen, latents = condition(2, 1), torch.randn((1, 48, T, H, W), generator=torch.Generator().manual_seed(6))
    base = predict(model, branch, latents, TIMESTEP[None], seen)
    for name in ("memory", "preceding_memory", "constant", "references", "preceding"):
        changed = replace(seen, **{name: getattr(seen, name) + 1})
        assert not torch.allclose(predict(model, branch, latents, TIMESTEP[None], changed), base), name
    for name in ("mask", "offset", "rays"):
        changed = replace(seen, **{name: getattr(seen, name) + 1})
        assert torch.equal(predict(model, branch, latents, TIMESTEP[None], changed), base), name
