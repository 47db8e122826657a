"""Checkpoints in the published layouts at toy sizes, and their forward said again in plain torch, from their own names.

Written from what the published code does (microsoft/LatentSpatialMemory: model_fn_wan_video, VaceWanModel), sharing
nothing with src/: rotation by complex numbers, one timestep per token, hints added in place.

Letters: `R` references, `T` targets, `P` preceding frames, `h w` token grid, `d` width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

DIM, HEADS, FFN, LAYERS, TEXT, FREQ, PATCH, CHANNELS = 48, 2, 96, 4, 32, 256, 2, 48
State = dict[str, Tensor]


def _linear(state: State, name: str, outs: int, ins: int, g: torch.Generator) -> None:
    state[f"{name}.weight"] = torch.randn((outs, ins), generator=g) / ins**0.5
    state[f"{name}.bias"] = torch.randn(outs, generator=g) * 0.1


def _block(state: State, prefix: str, g: torch.Generator) -> None:
    for attention in ("self_attn", "cross_attn"):
        for part in "qkvo":
            _linear(state, f"{prefix}.{attention}.{part}", DIM, DIM, g)
        for part in ("norm_q", "norm_k"):
            state[f"{prefix}.{attention}.{part}.weight"] = 1 + torch.randn(DIM, generator=g) * 0.1
    state[f"{prefix}.norm3.weight"] = 1 + torch.randn(DIM, generator=g) * 0.1
    state[f"{prefix}.norm3.bias"] = torch.randn(DIM, generator=g) * 0.1
    _linear(state, f"{prefix}.ffn.0", FFN, DIM, g)
    _linear(state, f"{prefix}.ffn.2", DIM, FFN, g)
    state[f"{prefix}.modulation"] = torch.randn((1, 6, DIM), generator=g) / DIM**0.5


def dit_state(seed: int = 0) -> State:
    """Wan2.2-TI2V's transformer, as in diffusion_pytorch_model*.safetensors of the original release."""
    g, state = torch.Generator().manual_seed(seed), {}
    state["patch_embedding.weight"] = torch.randn((DIM, CHANNELS, 1, PATCH, PATCH), generator=g) * 0.05
    state["patch_embedding.bias"] = torch.randn(DIM, generator=g) * 0.1
    _linear(state, "text_embedding.0", DIM, TEXT, g)
    _linear(state, "text_embedding.2", DIM, DIM, g)
    _linear(state, "time_embedding.0", DIM, FREQ, g)
    _linear(state, "time_embedding.2", DIM, DIM, g)
    _linear(state, "time_projection.1", 6 * DIM, DIM, g)
    for index in range(LAYERS):
        _block(state, f"blocks.{index}", g)
    _linear(state, "head.head", CHANNELS * PATCH * PATCH, DIM, g)
    state["head.modulation"] = torch.randn((1, 2, DIM), generator=g) / DIM**0.5
    return state


def branch_state(seed: int = 1, seen: int = 96, blocks: int = 2) -> State:
    """A published side branch, trained: no projection is zero."""
    g, state = torch.Generator().manual_seed(seed), {}
    state["vace_patch_embedding.weight"] = torch.randn((DIM, seen, 1, PATCH, PATCH), generator=g) * 0.05
    state["vace_patch_embedding.bias"] = torch.randn(DIM, generator=g) * 0.1
    for index in range(blocks):
        _block(state, f"vace_blocks.{index}", g)
        _linear(state, f"vace_blocks.{index}.after_proj", DIM, DIM, g)
    _linear(state, "vace_blocks.0.before_proj", DIM, DIM, g)
    return state


def lora_state(seed: int = 2, rank: int = 4, *, targets: tuple[str, ...] = ("self_attn.q", "self_attn.o")) -> State:
    """A LoRA of the transformer as the published trainer exports it."""
    g, state = torch.Generator().manual_seed(seed), {}
    for index in range(LAYERS):
        for target in targets:
            name = f"pipe.dit.blocks.{index}.{target}"
            state[f"{name}.lora_A.weight"] = torch.randn((rank, DIM), generator=g) / DIM**0.5
            state[f"{name}.lora_B.weight"] = torch.randn((DIM, rank), generator=g)
    return state


def merged(dit: State, lora: State, scale: float) -> State:
    """The transformer with the LoRA in its weights."""
    out = dict(dit)
    for name in lora:
        if name.endswith(".lora_A.weight"):
            module = name.removeprefix("pipe.dit.").removesuffix(".lora_A.weight")
            up = lora[name.replace("lora_A", "lora_B")]
            out[f"{module}.weight"] = out[f"{module}.weight"] + scale * up @ lora[name]
    return out


def forward(
    dit: State,
    branch: State | None,
    references: Tensor,
    targets: Tensor,
    preceding: Tensor,
    timestep: Tensor,
    text: Tensor,
    scene: Tensor | None = None,
) -> Tensor:
    """Velocity of the targets [48,T,H,W] alone, one clip.

    references [48,R,H,W], targets, preceding [48,P,H,W]; timestep [T]; text [L,TEXT]; scene [96 or 49,T+P,H,W]: what
    the branch is shown.
    """
    r, t, p = references.shape[1], targets.shape[1], preceding.shape[1]
    latents = torch.cat([references, targets, preceding], dim=1)
    x = _patches(latents, dit["patch_embedding.weight"], dit["patch_embedding.bias"])
    h, w = latents.shape[2] // PATCH, latents.shape[3] // PATCH
    cells = h * w

    every = torch.cat([torch.zeros(r), timestep, torch.zeros(p)]).repeat_interleave(cells)
    angles = every[:, None].double() * 10000 ** (-torch.arange(FREQ // 2).double() / (FREQ // 2))
    wave = torch.cat([angles.cos(), angles.sin()], dim=1).float()
    time = _apply(dit, "time_embedding.2", F.silu(_apply(dit, "time_embedding.0", wave)))
    modulation = _apply(dit, "time_projection.1", F.silu(time)).view(-1, 6, DIM)
    context = _apply(dit, "text_embedding.2", F.gelu(_apply(dit, "text_embedding.0", text), approximate="tanh"))

    turns = torch.cat([_turns(range(-r, 0), range(h, 2 * h), w), _turns(range(t + p), range(h), w)])
    first = r * cells
    hints = {}
    if branch is not None and scene is not None:
        c = _patches(scene, branch["vace_patch_embedding.weight"], branch["vace_patch_embedding.bias"])
        c = _apply(branch, "vace_blocks.0.before_proj", c) + x[first:]
        count = sum(name.endswith(".after_proj.bias") for name in branch)
        for index in range(count):
            prefix = f"vace_blocks.{index}"
            c = _run(branch, prefix, c, context, modulation[first:], turns[first:])
            hints[2 * index] = _apply(branch, f"{prefix}.after_proj", c)

    for index in range(LAYERS):
        x = _run(dit, f"blocks.{index}", x, context, modulation, turns)
        if index in hints:
            x[first:] += hints[index]

    shift, scale = (dit["head.modulation"] + time[:, None]).unbind(1)
    x = _apply(dit, "head.head", F.layer_norm(x, (DIM,), eps=1e-6) * (1 + scale) + shift)
    x = x.view(r + t + p, h, w, PATCH, PATCH, CHANNELS).permute(5, 0, 1, 3, 2, 4)
    return x.reshape(CHANNELS, r + t + p, h * PATCH, w * PATCH)[:, r : r + t]


def _apply(state: State, name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def _patches(video: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv3d(video[None], weight, bias, stride=(1, PATCH, PATCH))[0].flatten(1).T


def _turns(frames: range, rows: range, w: int) -> Tensor:
    """Unit complex numbers [frames*rows*w, 1, head_dim/2]: some turn with time, some with the row, some the column."""
    head = DIM // HEADS
    parts = []
    for axis, dim in enumerate((head - 2 * (head // 3), head // 3, head // 3)):
        speed = 1.0 / 10000 ** (torch.arange(0, dim, 2).double() / dim)
        everywhere = torch.cartesian_prod(*(torch.tensor([*places]).long() for places in (frames, rows, range(w))))
        where = everywhere[:, axis]
        angle = where.double()[:, None] * speed
        parts.append(torch.polar(torch.ones_like(angle), angle))
    return torch.cat(parts, dim=1)[:, None]


def _attend(state: State, name: str, x: Tensor, y: Tensor, turns: Tensor | None) -> Tensor:
    def normed(part: str, value: Tensor) -> Tensor:
        value = _apply(state, f"{name}.{part}", value)
        value = value * torch.rsqrt(value.square().mean(-1, keepdim=True) + 1e-6) * state[f"{name}.norm_{part}.weight"]
        value = value.view(len(value), HEADS, -1)
        if turns is not None:
            value = torch.view_as_real(torch.view_as_complex(value.double().unflatten(-1, (-1, 2))) * turns).flatten(-2)
        return value.float()

    q, k, v = normed("q", x), normed("k", y), _apply(state, f"{name}.v", y).view(len(y), HEADS, -1)
    weights = torch.einsum("inc,jnc->nij", q, k) / (DIM // HEADS) ** 0.5
    return _apply(state, f"{name}.o", torch.einsum("nij,jnc->inc", weights.softmax(-1), v).flatten(1))


def _run(state: State, name: str, x: Tensor, context: Tensor, modulation: Tensor, turns: Tensor) -> Tensor:
    shift1, scale1, gate1, shift2, scale2, gate2 = (state[f"{name}.modulation"] + modulation).unbind(1)
    y = F.layer_norm(x, (DIM,), eps=1e-6) * (1 + scale1) + shift1
    x = x + gate1 * _attend(state, f"{name}.self_attn", y, y, turns)
    y = F.layer_norm(x, (DIM,), state[f"{name}.norm3.weight"], state[f"{name}.norm3.bias"], eps=1e-6)
    x = x + _attend(state, f"{name}.cross_attn", y, context, None)
    y = F.layer_norm(x, (DIM,), eps=1e-6) * (1 + scale2) + shift2
    y = _apply(state, f"{name}.ffn.2", F.gelu(_apply(state, f"{name}.ffn.0", y), approximate="tanh"))
    return x + gate2 * y
