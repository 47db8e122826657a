"""The branch beside the stock Wan transformer: a fresh one changes nothing, a trained one only what it should."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import Tensor

from mirage.errors import InputError
from mirage.models.condition import Condition
from mirage.models.transformer import MemoryBranch, embedded, predict, rotary_at

T, H, W = 3, 4, 6
CELLS = (H // 2) * (W // 2)


def backbone(seed: int = 0, layers: int = 4) -> WanTransformer3DModel:
    """Wan2.2-TI2V layout, tiny."""
    torch.manual_seed(seed)
    return WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=24, in_channels=48, out_channels=48,
        text_dim=32, freq_dim=256, ffn_dim=96, num_layers=layers, cross_attn_norm=True, rope_max_seq_len=64,
    ).eval()  # fmt: skip


def inputs(b: int = 2, *, c: int = 48, p: int = 0, r: int = 0) -> tuple[Tensor, Tensor, Condition]:
    g = torch.Generator().manual_seed(1)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g)

    mask = (torch.rand((b, 1, T, H, W), generator=g) > 0.5).float()
    condition = Condition(
        memory=randn(b, c, T, H, W) * mask,
        mask=mask,
        offset=(torch.rand((b, 2, T, H, W), generator=g) - 0.5) * mask,
        rays=randn(b, 6, T, H, W),
        first=randn(b, c, 1, H, W),
        preceding=randn(b, c, p, H, W),
        references=randn(b, c, r, H, W),
        text=randn(b, 7, 32),
    )
    timestep = torch.tensor([[0.0, 700.0, 700.0], [0.0, 331.25, 12.5]])[:b]
    return randn(b, c, T, H, W), timestep, condition


def stock(model: WanTransformer3DModel, latents: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
    per_token = timestep.repeat_interleave(CELLS, dim=1)
    return model(latents, per_token, text, return_dict=False)[0]


def trained(model: WanTransformer3DModel, **options: Any) -> MemoryBranch:
    """A branch whose zero projections have been moved, as training would."""
    branch = MemoryBranch.from_transformer(model, **options)
    torch.manual_seed(3)
    for name, weight in branch.named_parameters():
        if "proj_out" in name or "detail" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return branch


@pytest.mark.parametrize("with_branch", [False, True])
@pytest.mark.parametrize("detail", [0, 8])
@torch.no_grad()
def test_a_fresh_branch_changes_nothing_bit_for_bit(with_branch: bool, detail: int) -> None:
    model = backbone()
    branch = MemoryBranch.from_transformer(model, detail_channels=detail) if with_branch else None
    latents, timestep, condition = inputs()
    ours = predict(model, branch, latents, timestep, condition)
    assert torch.equal(ours, stock(model, latents, timestep, condition.text))


@torch.no_grad()
def test_a_fresh_branch_changes_nothing_beside_other_tokens() -> None:
    model = backbone()
    latents, timestep, condition = inputs(p=2, r=1)
    branch = MemoryBranch.from_transformer(model)
    without = predict(model, None, latents, timestep, condition)
    assert torch.equal(predict(model, branch, latents, timestep, condition), without)
    alone = stock(model, latents, timestep, condition.text)
    assert not torch.allclose(without, alone, atol=1e-4)  # the other tokens are attended to


@torch.no_grad()
def test_one_timestep_for_all_frames_is_the_plain_stock_forward() -> None:
    model = backbone()
    latents, _, condition = inputs()
    plain = model(latents, torch.tensor([500.0, 20.0]), condition.text, return_dict=False)[0]
    ours = predict(model, None, latents, torch.tensor([[500.0] * T, [20.0] * T]), condition)
    torch.testing.assert_close(ours, plain)


@torch.no_grad()
def test_rotary_equals_the_backbones_table_and_goes_on_below_zero() -> None:
    model = backbone()
    cos, sin = rotary_at(model, torch.arange(T), (H // 2, W // 2), torch.device("cpu"))
    stock_cos, stock_sin = model.rope(torch.empty(1, 48, T, H, W))
    assert torch.equal(cos, stock_cos)
    assert torch.equal(sin, stock_sin)
    below = rotary_at(model, -torch.arange(T), (1, 1), torch.device("cpu"))
    above = rotary_at(model, torch.arange(T), (1, 1), torch.device("cpu"))
    assert torch.equal(below[0], above[0])
    assert torch.equal(below[1], -above[1])


@torch.no_grad()
def test_time_is_relative_so_preceding_frames_are_like_earlier_targets() -> None:
    """[preceding | targets] at -P.. equals one longer clip at 0.., read off at its last T frames."""
    model = backbone()
    latents, timestep, condition = inputs(p=2)
    ours = predict(model, None, latents, timestep, condition)
    longer = torch.cat([condition.preceding, latents], dim=2)
    times = torch.cat([torch.zeros(2, 2), timestep], dim=1)
    torch.testing.assert_close(ours, stock(model, longer, times, condition.text)[:, :, 2:], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_trained_branch_reads_memory_mask_offset_and_rays() -> None:
    model = backbone()
    latents, timestep, condition = inputs()
    branch = trained(model)
    base = predict(model, branch, latents, timestep, condition)
    for name in ("memory", "mask", "offset", "rays"):
        changed = replace(condition, **{name: getattr(condition, name) + 1.0})
        assert not torch.allclose(predict(model, branch, latents, timestep, changed), base), name
    blind = trained(model, use_offset=False, use_rays=False)
    base = predict(model, blind, latents, timestep, condition)
    moved = replace(condition, offset=condition.offset + 1, rays=condition.rays + 1)
    assert torch.equal(predict(model, blind, latents, timestep, moved), base)


@torch.no_grad()
def test_a_branch_may_see_motion_and_takes_what_is_not_known_for_standing_still():
    model = backbone()
    latents, timestep, condition = inputs()
    for details in (0, 8):
        branch = trained(model, use_motion=True, detail_channels=details)
        base = predict(model, branch, latents, timestep, condition)
        still = replace(condition, motion=torch.zeros_like(condition.rays))
        assert torch.equal(predict(model, branch, latents, timestep, still), base)
        moved = replace(condition, motion=torch.ones_like(condition.rays))
        assert not torch.allclose(predict(model, branch, latents, timestep, moved), base)
        blind = trained(model, detail_channels=details)
        assert torch.equal(*(predict(model, blind, latents, timestep, its) for its in (still, moved)))
        dark = replace(moved, rays=torch.zeros_like(condition.rays))
        hidden = predict(model, branch.without_rays(), latents, timestep, moved)
        assert torch.equal(hidden, predict(model, branch, latents, timestep, dark))


@torch.no_grad()
def test_the_detail_path_is_local() -> None:
    """One remembered cell moves the detail output at most three cells away and in its own frame only."""
    model = backbone(layers=1)
    latents, timestep, condition = inputs()
    branch = trained(model, layers=(0,), detail_channels=8)
    for block in branch.blocks:
        torch.nn.init.zeros_(block.get_parameter("proj_out.weight"))
        torch.nn.init.zeros_(block.get_parameter("proj_out.bias"))
    memory = condition.memory.clone()
    memory[:, :, 1, 0, 0] += 5
    changed = replace(condition, memory=memory)
    moved = predict(model, branch, latents, timestep, changed) - predict(model, branch, latents, timestep, condition)
    assert moved[:, :, 1, :4, :4].abs().sum() > 0
    moved[:, :, 1, :4, :4] = 0
    assert moved.abs().sum() == 0


@torch.no_grad()
def test_a_share_of_one_puts_the_readout_where_a_point_fell_on_the_centre() -> None:
    """And leaves what is unknown, or known at a cell's corner, as the backbone has it."""
    model = backbone(layers=1)
    latents, timestep, condition = inputs()
    branch = MemoryBranch.from_transformer(model, detail_channels=8)
    assert branch.detail is not None
    branch.detail.leave[-1].get_parameter("bias")[48:] = 1
    offset = torch.zeros_like(condition.offset)
    offset[..., W // 2 :] = 0.5
    seen = replace(condition, offset=offset)
    made, plain = (predict(model, which, latents, timestep, seen) for which in (branch, None))
    central = condition.mask.bool() & (offset == 0).all(1, keepdim=True)
    assert central.any()
    torch.testing.assert_close(made, torch.where(central, condition.memory, plain), atol=1e-5, rtol=1e-5)


def test_gradients_reach_every_weight_of_the_branch_and_checkpointing_keeps_them() -> None:
    model = backbone().requires_grad_(False)
    latents, timestep, condition = inputs(p=1, r=1)

    fresh = trained(model, detail_channels=8)

    def gradients(checkpointing: bool) -> dict[str, Tensor]:
        branch = deepcopy(fresh)
        if checkpointing:
            model.enable_gradient_checkpointing()
            branch.enable_gradient_checkpointing()
        predict(model, branch, latents, timestep, condition).square().mean().backward()
        return {name: weight.grad for name, weight in branch.named_parameters() if weight.grad is not None}

    plain = gradients(False)
    assert set(plain) == {name for name, _ in fresh.named_parameters()}
    assert all(g.abs().sum() > 0 for name, g in plain.items())
    again = gradients(True)
    assert model.gradient_checkpointing
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, msg=name)


@torch.no_grad()
def test_a_saved_branch_comes_back(tmp_path: Any) -> None:
    model = backbone()
    branch = trained(model, detail_channels=8, use_rays=False)
    branch.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    again = MemoryBranch.from_pretrained(tmp_path)
    latents, timestep, condition = inputs()
    ours, theirs = (predict(model, one, latents, timestep, condition) for one in (branch, again))
    assert torch.equal(ours, theirs)


@torch.no_grad()
def test_the_published_inputs_are_memory_and_a_constant_video() -> None:
    model = backbone()
    latents, timestep, condition = inputs()
    branch = trained(model, inputs="published")
    assert branch.patch_embedding.in_channels == 96
    with pytest.raises(InputError, match="constant"):
        predict(model, branch, latents, timestep, condition)
    predict(model, branch, latents, timestep, replace(condition, constant=torch.ones_like(condition.memory)))


def test_requests_that_do_not_fit_say_so() -> None:
    model = backbone()
    latents, timestep, condition = inputs()
    with pytest.raises(InputError, match="one per latent frame"):
        predict(model, None, latents, timestep[:, :1], condition)
    with pytest.raises(InputError, match="multiples of the patch"):
        predict(model, None, latents[..., :5], timestep, condition)
    with pytest.raises(InputError, match="accepted: 0 to 3"):
        MemoryBranch.from_transformer(model, layers=(0, 4))
    with pytest.raises(InputError, match="ascending"):
        MemoryBranch.from_transformer(model, layers=(2, 0))
    with pytest.raises(InputError, match="readout_mask"):
        MemoryBranch.from_transformer(model, inputs="everything")


@torch.no_grad()
def test_a_branch_takes_its_backbones_dtypes(tmp_path: Any) -> None:
    """In bfloat16 diffusers keeps some weights in float32; the branch keeps the same ones, and is still a no-op."""
    backbone().save_pretrained(tmp_path)
    model = WanTransformer3DModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    branch = MemoryBranch.from_transformer(model, layers=(1, 3))
    theirs = {name: weight.dtype for name, weight in model.blocks[1].named_parameters()}
    beside: Any = branch.blocks[0].block
    assert {name: weight.dtype for name, weight in beside.named_parameters()} == theirs
    assert set(theirs.values()) == {torch.bfloat16, torch.float32}
    latents, timestep, condition = inputs()
    latents, condition = latents.bfloat16(), condition.to(dtype=torch.bfloat16)
    ours = predict(model, branch, latents, timestep, condition)
    assert ours.dtype == torch.bfloat16
    assert torch.equal(ours, stock(model, latents, timestep, condition.text))


def test_at_full_size_the_branch_is_as_large_as_the_published_one() -> None:
    """Wan2.2-TI2V-5B on the meta device: 5.000 billion weights, and 2.607 billion in 15 side blocks of 96 channels."""
    with torch.device("meta"):
        model = WanTransformer3DModel(
            patch_size=(1, 2, 2), num_attention_heads=24, attention_head_dim=128, in_channels=48, out_channels=48,
            text_dim=4096, freq_dim=256, ffn_dim=14336, num_layers=30, cross_attn_norm=True,
        )  # fmt: skip
    branch = MemoryBranch.from_transformer(model, inputs="published")
    assert branch.device.type == "meta"
    assert branch.layers == tuple(range(0, 30, 2))
    sizes = [sum(weight.numel() for weight in part.parameters()) / 1e9 for part in (model, branch)]
    assert sizes == [pytest.approx(5.000, abs=5e-4), pytest.approx(2.607, abs=5e-4)]


def test_rays_can_be_hidden_from_the_same_weights():
    model = backbone()
    branch = trained(model)
    latents, timestep, condition = inputs()
    dark = replace(condition, rays=torch.zeros_like(condition.rays))
    hidden = predict(model, branch.without_rays(), latents, timestep, condition)
    assert torch.equal(hidden, predict(model, branch, latents, timestep, dark))
    assert not torch.equal(hidden, predict(model, branch, latents, timestep, condition))
    with pytest.raises(InputError, match="no rays"):
        trained(model, use_rays=False).without_rays()


@pytest.mark.parametrize(("channels", "dim", "patch"), [(16, 256, 4), (25, 256, 4), (48, 64, 2), (4, 8, 2)])
@torch.no_grad()
def test_patches_in_bfloat16_are_those_of_float32_up_to_rounding(channels, dim, patch):
    """Asked of the sizes that ship: a library's 3D convolution in bfloat16 was wrong for the first of them."""
    torch.manual_seed(0)
    embedding = torch.nn.Conv3d(channels, dim, (1, patch, patch), stride=(1, patch, patch))
    x = torch.randn(4, channels, 9, 24, 32)
    exact = embedding(x)
    assert torch.equal(embedded(embedding, x), exact)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = embedded(embedding, x)
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).square().mean() < 1e-4 * exact.square().mean()


@torch.no_grad()
def test_a_network_in_bfloat16_says_what_it_says_in_float32():
    model = backbone()
    branch = trained(model, detail_channels=8, detail_blocks=1)
    latents, timestep, condition = inputs(p=1, r=1)
    exact = predict(model, branch, latents, timestep, condition)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = predict(model, branch, latents, timestep, condition)
    assert (rounded.float() - exact).square().mean() < 1e-3 * exact.square().mean()
