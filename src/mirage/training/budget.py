"""What training takes on each GPU when FSDP2 shares the weights out, worked out on the meta device beforehand.

    frozen          the backbone's weights, this GPU's share
    learning        what learns in float32: weights, gradients, averages and AdamW's two moments, this GPU's share
    gathered        weights that are whole for a while: what stands outside the blocks, and two blocks
    whole           networks that are not shared out: the text encoder; autoencoder and depth head
    activations     of a step with gradient checkpoints: what is kept of each block, and one block's own work

FSDP2 cuts a weight along its first axis into equal parts, the last ones smaller: the first GPU has the most of each.
`T` latent frames, `C` latent channels, `h w` latent grid.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mirage.chunks import latent_count
from mirage.models.condition import Condition
from mirage.models.fitting.budget import META, Live, world_of
from mirage.models.lora import attach_lora
from mirage.models.transformer import MemoryBranch, predict
from mirage.models.world import WorldModel
from mirage.training.objective import Network

COPIES = 5
"""Float32 numbers for each that learns: itself, its gradient, its average, two moments."""


def training_budget(
    model: str, *, gpus: int, lora_rank: int = 0, preceding: int = 2, references: int = 4
) -> dict[str, int]:
    """Bytes on the fullest GPU by kind, for a run as `recipes/wan.py` has them: the branch learns, and with a rank a
    LoRA of the backbone's self-attention; one sample at a time, in bfloat16."""
    world = world_of(model, torch.bfloat16)
    network, parts = learning(world, lora_rank)
    rest = outside(network)
    sizes = {name: 2 * sum(p.numel() for p in part) for name, part in (("rest", rest), *parts.items())}
    blocks = sorted((size for name, size in sizes.items() if name != "rest"), reverse=True)
    every = list(network.parameters())
    whole = (world.text_encoder, world.vae, world.depth_head)
    return {
        "frozen": sum(share(p, gpus) * p.element_size() for p in every if not p.requires_grad),
        "learning": sum(share(p, gpus) * 4 * COPIES for p in every if p.requires_grad),
        "gathered": (sizes["rest"] + sum(blocks[:2])) if gpus > 1 else 0,
        "whole": sum(p.numel() * p.element_size() for part in whole if part is not None for p in part.parameters()),
        "activations": _activations(world, network, preceding, references),
    }


def learning(world: WorldModel, lora_rank: int = 0) -> tuple[Network, dict[str, list[nn.Parameter]]]:
    """The network of a model on the meta device as training has it, and the weights of each block that is a unit."""
    for part in (world.transformer, world.text_encoder, world.vae, world.depth_head):
        if part is not None:
            part.requires_grad_(False)
    branch = world.memory_branch
    if branch is None:
        with META:
            branch = MemoryBranch.from_transformer(world.transformer)
        world.register_modules(memory_branch=branch)
    branch.float().requires_grad_(True)
    if lora_rank:
        with META:
            attach_lora(world.transformer, rank=lora_rank)
    network = Network(world, bf16=True)
    blocks: Any = [*world.transformer.blocks, *network.branch.blocks]
    return network, {f"block {number}": list(block.parameters()) for number, block in enumerate(blocks)}


def outside(network: Network) -> list[nn.Parameter]:
    """The weights of no block."""
    blocks: Iterable[Any] = [*network.transformer.blocks, *network.branch.blocks]
    inside = {id(p) for block in blocks for p in block.parameters()}
    return [p for p in network.parameters() if id(p) not in inside]


def share(tensor: Tensor, processes: int) -> int:
    """How many of its numbers the first of so many processes has."""
    first = -(-tensor.shape[0] // processes) if tensor.ndim else 1
    return first * (tensor.numel() // max(tensor.shape[0], 1) if tensor.ndim else 1)


def _activations(world: WorldModel, network: Network, preceding: int, references: int) -> int:
    """The most that a step's forward and backward pass hold at once, without weights and their gradients."""
    transformer: Any = world.transformer
    branch: Any = nn.Module.to(network.branch, torch.bfloat16)  # which is what FSDP2 hands out to compute with
    for each in (transformer, branch):
        each.enable_gradient_checkpointing()
        each.train()
    channels, (height, width) = world.channels, world.size
    grid, frames = (height // world.stride, width // world.stride), latent_count(world.chunk_frames)

    def part(of: int, count: int) -> Tensor:
        return torch.empty(1, of, count, *grid, device=META, dtype=torch.bfloat16)

    text = torch.empty(1, world.config["text_length"], world.text_encoder.config.d_model, device=META)
    given = Condition(part(channels, frames), part(1, frames), part(2, frames), part(6, frames), part(channels, 1),
                      part(channels, preceding), part(channels, references), text.bfloat16())  # fmt: skip
    known = {t.untyped_storage()._cdata for t in [*network.parameters(), *network.buffers()]}
    with _fused(), Live(known) as live:
        noisy, timestep = part(channels, frames), torch.empty(1, frames, device=META)
        predict(transformer, branch, noisy, timestep, given).float().square().mean().backward()
        gradients = sum(p.grad.numel() * p.grad.element_size() for p in network.parameters() if p.grad is not None)
    return live.most - gradients


@contextmanager
def _fused() -> Iterator[None]:
    """Attention without its matrix, as every real device has it. Put in by its name: what a backward pass computes once
    more does not see torch's function modes."""
    before = F.scaled_dot_product_attention

    def attention(query: Tensor, key: Tensor, value: Tensor, *others: Any, **choices: Any) -> Tensor:
        return _Fused.apply(query, key, value)  # pyright: ignore[reportReturnType]

    F.scaled_dot_product_attention = attention  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        F.scaled_dot_product_attention = before


class _Fused(torch.autograd.Function):
    """With what its backward pass needs."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = query.new_empty(*query.shape[:-1], value.shape[-1])
        ctx.save_for_backward(query, key, value, out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        query, key, value, _ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
