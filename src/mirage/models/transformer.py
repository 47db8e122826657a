"""The denoiser: a stock diffusers Wan transformer, with a memory branch of our own beside it.

    readout + mask + offset + rays --patch--> c --block 0--> c --block 1--> c ...     MemoryBranch
                                                    |hint          |hint
    [references | targets | preceding] --> layer 0 -+-> layer 1 ---+-> layer 2 ...    WanTransformer3DModel
    ... -> layer n -> output -+-> detail path -> + -> output

`predict` is the whole forward, in the open: no hooks, no subclass of the backbone. A hint's projection starts at zero,
so a fresh branch changes nothing, bit for bit (tests/models/test_transformer.py).

Letters: `B` batch, `T` target latent frames, `P` preceding, `R` references, `C` latent channels, `h w` latent grid, `N`
tokens of width `d`. Layout of the side blocks after VACE (arXiv 2503.07598); one timestep per latent frame after
Wan2.2-TI2V.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel, WanTransformerBlock
from einops import rearrange, repeat
from torch import Tensor, nn

from mirage.errors import InputError
from mirage.models.condition import Condition

Rotary = tuple[Tensor, Tensor]  # cos, sin, each [1,N,1,head_dim]

ROTARY_BASE = 10000.0  # fixed in Wan
REFERENCE_GAP = 16  # rotary steps left free before frame 0, so that references are read as views, not as history
TIMESTEPS = 1000.0  # timestep = 1000 * sigma
PUBLISHED: dict[str, Callable[[int], int]] = {"published": lambda channels: channels, "published_hole": lambda _: 1}
"""Inputs of branches in the published layout: how many channels they have beside the C of the readout."""
FEW_ROWS = 64  # below about this many rows a matrix product may take another kernel, with other rounding


def predict(
    transformer: WanTransformer3DModel,
    branch: MemoryBranch | None,
    latents: Tensor,
    timestep: Tensor,
    condition: Condition,
) -> Tensor:
    """The network's raw output for the target frames, [B,C,T,h,w]: velocity or clean latents, as it was trained.

    latents [B,C,T,h,w] noisy targets, the clean first frame already in its place; timestep [B,T] in [0, 1000], 0 for
    clean frames. References and preceding frames stand beside the targets as tokens with timestep 0, in the order
    [reference | target | preceding] and at the rotary positions of `token_rotary`. Hints touch target tokens, and in
    the published layout the preceding ones too. Without references and preceding frames and with a fresh branch (or
    none) this is the stock forward with a timestep per token.
    """
    its: Any = transformer.config
    b, _, frames, height, width = latents.shape
    _, patch_h, patch_w = its.patch_size
    if timestep.shape != (b, frames):
        raise InputError(f"timestep has shape {list(timestep.shape)}; accepted: one per latent frame, {[b, frames]}")
    if height % patch_h or width % patch_w:
        raise InputError(f"latent grid is {height}x{width}; accepted: multiples of the patch {patch_h}x{patch_w}")
    r, p = condition.references.shape[2], condition.preceding.shape[2]
    cells = (height // patch_h) * (width // patch_w)

    # One timestep per frame, embedded and then repeated over the frame's tokens: what stock does per token, with fewer
    # rows. Not with too few: `copies` of a row make the product take the kernel that it takes for all tokens.
    every = torch.cat([timestep.new_zeros(b, r), timestep, timestep.new_zeros(b, p)], dim=1)
    copies = min(cells, math.ceil(FEW_ROWS / every.numel()))
    temb, modulation, text, _ = transformer.condition_embedder(
        every.flatten().repeat_interleave(copies), condition.text, None, timestep_seq_len=every.shape[1] * copies
    )
    temb = repeat(temb[:, ::copies], "b t d -> b (t n) d", n=cells)
    modulation = repeat(modulation[:, ::copies], "b t (six d) -> b (t n) six d", n=cells, six=6)

    published = branch is not None and branch.published
    counts, grid = (r, frames, p), (height // patch_h, width // patch_w)
    rotary = token_rotary(transformer, counts, grid, latents.device, published=published)

    beside = torch.cat([condition.references, latents, condition.preceding], dim=2) if r or p else latents
    hidden = rearrange(embedded(transformer.patch_embedding, beside), "b d t h w -> b (t h w) d").contiguous()

    start, stop = r * cells, (r + frames) * cells
    hinted = hidden.shape[1] if published else stop  # hints are for the tokens start..hinted
    hints: dict[int, Tensor] = {}
    if branch is not None:
        own = (rotary[0][:, start:hinted], rotary[1][:, start:hinted])
        found = branch(hidden[:, start:hinted], text, modulation[:, start:hinted], own, condition)
        hints = dict(zip(branch.layers, found, strict=True))

    for index, block in enumerate(transformer.blocks):
        hidden = _run(transformer, block, hidden, text, modulation, rotary)
        if index in hints:
            hidden = hidden + F.pad(hints[index], (0, 0, start, hidden.shape[1] - hinted))

    hidden, temb = hidden[:, start:stop], temb[:, start:stop]
    shift, scale = (transformer.scale_shift_table.unsqueeze(0).to(temb.device) + temb.unsqueeze(2)).unbind(2)
    hidden = (transformer.norm_out(hidden.float()) * (1 + scale) + shift).type_as(hidden)
    output = rearrange(
        transformer.proj_out(hidden),
        "b (t h w) (ph pw c) -> b c t (h ph) (w pw)",
        t=frames, h=height // patch_h, ph=patch_h, pw=patch_w,
    )  # fmt: skip
    if branch is None or branch.detail is None:
        return output
    return output + branch.correction(output, latents, timestep, condition)


def embedded(embedding: nn.Conv3d, x: Tensor) -> Tensor:
    """Patches of x [B,c,T,h,w] as tokens [B,d,T,h/p,w/p]: `embedding(x)`, for kernels as wide as their stride.

    On a CPU in bfloat16 it is written as the matrix product that it is: oneDNN's 3D convolution in bfloat16 (torch
    2.13, Xeon with AMX) gives wrong numbers here, off by as much as they are large, and says nothing.
    """
    if x.device.type != "cpu" or not (torch.is_autocast_enabled("cpu") or x.dtype == torch.bfloat16):
        return embedding(x)
    _, rows, columns = embedding.kernel_size
    patches = rearrange(x, "b c t (h p) (w q) -> b t h w (c p q)", p=rows, q=columns)
    return rearrange(F.linear(patches, embedding.weight.flatten(1), embedding.bias), "b t h w d -> b d t h w")


class MemoryBranch(ModelMixin, ConfigMixin):
    """Side blocks over the memory's readout, giving hints to chosen layers of a Wan transformer. Saved by itself.

    layers           backbone layers after which a hint is added, ascending
    inputs           what the side blocks see, and with it how tokens lie (`token_rotary`):
                     "readout_mask": C readout latents, 1 mask, then 2 offset, 6 motion and 6 ray channels if chosen;
                     "published": C readout latents and C latents of an encoded constant video (`Condition.constant`),
                     as released with the paper; "published_hole": C readout latents and 1 channel that is 1 where
                     there are none, its code's other choice. Both see the preceding frames behind the targets.
    detail_channels  > 0: a small convolutional path of this width at latent resolution, behind a backbone whose output
                     is clean latents, of `detail_blocks` blocks. It joins the backbone's coarse patches, and says how
                     far each known cell is to be drawn to the readout: their errors are independent, so what lies
                     between is better than either. 0 for Wan2.2.
    The remaining fields are the backbone's own; `from_transformer` copies them.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules: ClassVar[list[str]] = ["HintBlock"]
    _repeated_blocks: ClassVar[list[str]] = ["HintBlock"]
    _keep_in_fp32_modules: ClassVar[list[str]] = ["scale_shift_table", "norm1", "norm2", "norm3"]  # as the backbone

    @register_to_config
    def __init__(
        self,
        layers: tuple[int, ...] = (0, 2, 4),
        channels: int = 16,
        num_attention_heads: int = 4,
        attention_head_dim: int = 64,
        ffn_dim: int = 1024,
        patch_size: tuple[int, int, int] = (1, 2, 2),
        cross_attn_norm: bool = True,
        qk_norm: str = "rms_norm_across_heads",
        eps: float = 1e-6,
        inputs: str = "readout_mask",
        use_offset: bool = True,
        use_motion: bool = False,
        use_rays: bool = True,
        detail_channels: int = 0,
        detail_blocks: int = 0,
    ) -> None:
        super().__init__()
        if inputs not in ("readout_mask", *PUBLISHED):
            raise InputError(f"branch inputs are {inputs!r}; accepted: {', '.join(('readout_mask', *PUBLISHED))}")
        if not layers or list(layers) != sorted(set(layers)):
            raise InputError(f"branch layers are {list(layers)}; accepted: one or more, ascending, each once")
        dim = num_attention_heads * attention_head_dim
        if inputs in PUBLISHED:
            seen = channels + PUBLISHED[inputs](channels)
        else:
            seen = channels + beside_latents(use_offset, use_motion, use_rays)
        self.patch_embedding = nn.Conv3d(seen, dim, kernel_size=patch_size, stride=patch_size)
        self.blocks = nn.ModuleList(
            HintBlock(
                WanTransformerBlock(dim, ffn_dim, num_attention_heads, qk_norm, cross_attn_norm, eps), first=i == 0
            )
            for i in range(len(layers))
        )
        self.detail = None
        if detail_channels > 0:
            sees = 3 * channels + 1 + beside_latents(use_offset, use_motion, use_rays)
            self.detail = DetailPath(sees, detail_channels, 2 * channels, blocks=detail_blocks)
        self.layers, self.inputs = tuple(layers), inputs
        self.use_offset, self.use_motion, self.use_rays = use_offset, use_motion and not self.published, use_rays
        self.gradient_checkpointing = False

    @property
    def published(self) -> bool:
        """Whether tokens lie as in the published code, and the preceding frames are seen and hinted too."""
        return self.inputs in PUBLISHED

    @classmethod
    def from_transformer(
        cls,
        transformer: WanTransformer3DModel,
        *,
        layers: tuple[int, ...] | None = None,
        inputs: str = "readout_mask",
        use_offset: bool = True,
        use_motion: bool = False,
        use_rays: bool = True,
        detail_channels: int = 0,
        detail_blocks: int = 0,
    ) -> MemoryBranch:
        """A fresh branch for this backbone: same sizes, its blocks starting as copies of the layers they sit beside.

        layers None: every second one. The zero projections make it a no-op until it is trained.
        """
        its: Any = transformer.config
        if its.patch_size[0] != 1:
            raise InputError(f"backbone has patch size {tuple(its.patch_size)}; accepted: (1, *, *)")
        chosen = tuple(range(0, its.num_layers, 2)) if layers is None else tuple(layers)
        if not all(0 <= i < its.num_layers for i in chosen):
            raise InputError(f"branch layers are {list(chosen)}; accepted: 0 to {its.num_layers - 1} of this backbone")
        with transformer.device:  # a full-size branch is not built elsewhere first; on `meta` it is not built at all
            branch = cls(
                layers=chosen,
                channels=its.in_channels,
                num_attention_heads=its.num_attention_heads,
                attention_head_dim=its.attention_head_dim,
                ffn_dim=its.ffn_dim,
                patch_size=tuple(its.patch_size),
                cross_attn_norm=its.cross_attn_norm,
                qk_norm=its.qk_norm,
                eps=its.eps,
                inputs=inputs,
                use_offset=use_offset,
                use_motion=use_motion,
                use_rays=use_rays,
                detail_channels=detail_channels,
                detail_blocks=detail_blocks,
            )
        nn.Module.to(branch, dtype=transformer.dtype)
        for layer, block in zip(chosen, branch.blocks, strict=True):
            # assign: each weight keeps the backbone's own dtype, for some stay float32 beside bfloat16 ones
            weights = {name: weight.clone() for name, weight in transformer.blocks[layer].state_dict().items()}
            cast(HintBlock, block).block.load_state_dict(weights, assign=True)
        return branch

    def without_rays(self) -> MemoryBranch:
        """The same weights, rays hidden: what the ray channels bring is nothing, as if they were all 0."""
        if self.published or not self.use_rays:
            raise InputError("this branch sees no rays, so there are none to hide")
        blind = copy.deepcopy(self)
        with torch.no_grad():
            rays = slice(self.patch_embedding.in_channels - 6, self.patch_embedding.in_channels)  # last of `_inputs`
            blind.patch_embedding.weight[:, rays] = 0
            if blind.detail is not None:
                blind.detail.enter.weight[:, rays] = 0
        return blind

    def forward(
        self,
        hidden: Tensor,
        text: Tensor,
        modulation: Tensor,
        rotary: Rotary,
        condition: Condition,
    ) -> tuple[Tensor, ...]:
        """A hint [B,N,d] per chosen layer, from the target tokens hidden [B,N,d] as they enter the backbone; in the
        published layout, from the target and the preceding ones.

        text [B,L,d] and modulation [B,N,6,d] as embedded by the backbone.
        """
        seen = embedded(self.patch_embedding, self._inputs(condition).to(hidden.dtype))
        state = rearrange(seen, "b d t h w -> b (t h w) d")
        hints = []
        for block in self.blocks:
            hint, state = _run(self, block, state, hidden, text, modulation, rotary)
            hints.append(hint)
        return tuple(hints)

    def correction(self, output: Tensor, latents: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        """What the detail path adds to the backbone's output [B,C,T,h,w]; latents and timestep as in `predict`."""
        assert self.detail is not None
        sigma = (timestep / TIMESTEPS)[:, None, :, None, None].expand_as(condition.mask)
        seen = torch.cat([self._inputs(condition), latents, sigma, output], dim=1).to(output.dtype)
        change, share = self.detail(seen).chunk(2, dim=1)
        near = 1 - math.sqrt(2) * condition.offset.norm(dim=1, keepdim=True)  # 1 in a cell's centre, 0 in its corners
        known = share * (condition.mask * near).to(output)
        return change + known * (condition.memory.to(output) - output - change)

    def _inputs(self, condition: Condition) -> Tensor:
        if self.published:
            scene = condition.memory
            if condition.preceding.shape[2]:
                if condition.preceding_memory is None:
                    raise InputError("condition has no preceding_memory; a branch in the published layout needs it")
                scene = torch.cat([scene, condition.preceding_memory], dim=2)
            if self.inputs == "published_hole":
                return torch.cat([scene, (scene == 0).all(dim=1, keepdim=True).to(scene.dtype)], dim=1)
            if condition.constant is None:
                raise InputError("condition has no constant video; a branch in the published layout needs one")
            return torch.cat([scene, condition.constant], dim=1)
        parts = [condition.memory, condition.mask] + [condition.offset] * self.use_offset
        if self.use_motion:
            still = condition.rays.new_zeros(condition.rays.shape)
            parts.append(still if condition.motion is None else condition.motion)
        return torch.cat(parts + [condition.rays] * self.use_rays, dim=1)


def beside_latents(use_offset: bool, use_motion: bool, use_rays: bool) -> int:
    """Channels that a branch of this project sees beside the readout's latents."""
    return 1 + 2 * use_offset + 6 * use_motion + 6 * use_rays


class HintBlock(nn.Module):
    """A Wan block on the branch's own state; the first one mixes the backbone's tokens in, each one gives a hint."""

    def __init__(self, block: WanTransformerBlock, *, first: bool) -> None:
        super().__init__()
        dim = block.scale_shift_table.shape[-1]
        self.proj_in = nn.Linear(dim, dim) if first else None
        self.block = block
        self.proj_out = nn.Linear(dim, dim)
        for weight in self.proj_out.parameters():
            nn.init.zeros_(weight)

    def forward(
        self, state: Tensor, hidden: Tensor, text: Tensor, modulation: Tensor, rotary: Rotary
    ) -> tuple[Tensor, Tensor]:
        if self.proj_in is not None:
            state = self.proj_in(state) + hidden
        state = self.block(state, text, modulation, rotary)
        return self.proj_out(state), state


class DetailPath(nn.Module):
    """Convolutions at latent resolution, [B,c,T,h,w] -> [B,C,T,h,w]; the last one starts at zero."""

    def __init__(self, seen: int, hidden: int, channels: int, *, blocks: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(seen, hidden, 3, padding=1)
        self.blocks = nn.ModuleList(DetailBlock(hidden) for _ in range(blocks))
        self.leave = nn.Sequential(
            nn.SiLU(), nn.Conv2d(hidden, hidden, 3, padding=1), nn.SiLU(), nn.Conv2d(hidden, channels, 3, padding=1)
        )
        for weight in self.leave[-1].parameters():
            nn.init.zeros_(weight)

    def forward(self, seen: Tensor) -> Tensor:
        count = seen.shape[2]
        x = rearrange(seen, "b c t h w -> (b t) c h w")
        x = self.enter(x.contiguous(memory_format=torch.channels_last))  # on a CPU twice as quick
        for block in self.blocks:
            x = block(x, count)
        return rearrange(self.leave(x), "(b t) c h w -> b c t h w", t=count)


class DetailBlock(nn.Module):
    """A 3x3 convolution of each frame, then one over the frame before, itself and the one after; beside the identity,
    and at first nothing but it."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.space = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.time = nn.Conv2d(3 * hidden, hidden, 1)
        for weight in self.time.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Tensor, count: int) -> Tensor:
        """x [(B T),c,h,w], T = count."""
        y = rearrange(F.silu(self.space(F.silu(x))), "(b t) c h w -> b t h w c", t=count)
        padded = F.pad(y, (0, 0, 0, 0, 0, 0, 1, 1))
        around = torch.cat([padded[:, :-2], y, padded[:, 2:]], dim=-1)
        mixed = F.linear(around, self.time.weight[:, :, 0, 0], self.time.bias)  # a 1x1 convolution
        return x + rearrange(mixed, "b t h w c -> (b t) c h w")


def token_rotary(
    transformer: WanTransformer3DModel,
    counts: tuple[int, int, int],
    grid: tuple[int, int],
    device: torch.device,
    *,
    published: bool,
) -> Rotary:
    """Rotary of all tokens, for counts (R, T, P) of [reference | target | preceding] frames on a grid of tokens.

    ours        targets 0..T-1, preceding -P..-1 where they were, references -16-R..-17
    published   targets 0..T-1, preceding T..T+P-1 behind them, references -R..-1 and a picture's height further down
                (microsoft/LatentSpatialMemory, model_fn_wan_video)
    """
    r, t, p = counts
    if not published:
        references = torch.arange(-REFERENCE_GAP - r, -REFERENCE_GAP)
        return rotary_at(transformer, torch.cat([references, torch.arange(t), torch.arange(-p, 0)]), grid, device)
    references = rotary_at(transformer, torch.arange(-r, 0), grid, device, first_row=grid[0])
    others = rotary_at(transformer, torch.arange(t + p), grid, device)
    return torch.cat([references[0], others[0]], dim=1), torch.cat([references[1], others[1]], dim=1)


def rotary_at(
    transformer: WanTransformer3DModel,
    positions: Tensor,
    grid: tuple[int, int],
    device: torch.device,
    *,
    first_row: int = 0,
) -> Rotary:
    """Rotary cos and sin, each [1, T*h*w, 1, head_dim], of frames at integer positions [T] on a grid of tokens.

    Equal to the backbone's own table at positions 0..T-1; the table stops somewhere and knows no negative positions.
    """
    rope = transformer.rope
    t, (h, w) = len(positions), grid
    rows = torch.arange(first_row, first_row + h)
    axes = ((positions, rope.t_dim), (rows, rope.h_dim), (torch.arange(w), rope.w_dim))
    angles = []
    for where, dim in axes:
        frequency = 1.0 / ROTARY_BASE ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        angles.append(torch.outer(where.double(), frequency))

    def table(function: Any) -> Tensor:
        # float64 until here, as the backbone's table: float32 angles of far positions would lose digits
        ft, fh, fw = (repeat(function(a), "n d -> n (d two)", two=2).float().to(device) for a in angles)
        full = torch.cat(
            [
                repeat(ft, "t d -> t h w d", h=h, w=w),
                repeat(fh, "h d -> t h w d", t=t, w=w),
                repeat(fw, "w d -> t h w d", t=t, h=h),
            ],
            dim=-1,
        )
        return rearrange(full, "t h w d -> 1 (t h w) 1 d")

    return table(torch.cos), table(torch.sin)


def _run(owner: Any, block: nn.Module, *args: Any) -> Any:
    """block(*args), recomputed in the backward pass if its owner has gradient checkpointing switched on."""
    if torch.is_grad_enabled() and owner.gradient_checkpointing:
        return owner._gradient_checkpointing_func(block, *args)
    return block(*args)
