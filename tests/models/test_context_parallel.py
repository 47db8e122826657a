"""One network on two processes, each with half of the tokens: what torch's collectives do over gloo.

Ring attention (`context_parallel`) is right for attention alone. Of our whole network the tokens are split within
every block and whole between blocks, and attention among them goes by heads (Ulysses): each process gets all tokens of
half of the heads, and gives back all heads of its tokens. Text is whole in both.
"""

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.experimental import context_parallel
from torch.distributed.tensor.experimental._attention import _cp_options

from mirage.models.condition import Condition
from mirage.models.tiny import tiny_world
from mirage.models.transformer import predict
from mirage.training import parallel

pytestmark = pytest.mark.slow
Rotary = tuple[Tensor, Tensor]


def by_heads(query: Tensor, key: Tensor, value: Tensor, **choices: Any) -> Tensor:
    """Attention [B,heads,n,d] of tokens that are split; of text, which is not, as ever."""

    def swapped(tensor: Tensor, cut: int, join: int) -> Tensor:
        parts = torch.stack([part.contiguous() for part in tensor.chunk(dist.get_world_size(), cut)])
        got = torch.empty_like(parts)
        dist.all_to_all_single(got, parts)
        return torch.cat(list(got.unbind(0)), join)

    if key.shape[2] != query.shape[2]:
        return ATTENTION(query, key, value, **choices)
    return swapped(ATTENTION(swapped(query, 1, 2), swapped(key, 1, 2), swapped(value, 1, 2), **choices), 2, 1)


ATTENTION = F.scaled_dot_product_attention


def split(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A block's forward, of which each process does a part of the tokens."""

    def parted(hidden: Tensor, text: Tensor, modulation: Tensor, rotary: Rotary) -> Tensor:
        each = hidden.shape[1] // dist.get_world_size()
        mine = slice(dist.get_rank() * each, (dist.get_rank() + 1) * each)
        some = forward(hidden[:, mine], text, modulation[:, mine], (rotary[0][:, mine], rotary[1][:, mine]))
        every = [torch.empty_like(some) for _ in range(dist.get_world_size())]
        dist.all_gather(every, some.contiguous())
        return torch.cat(every, dim=1)

    return parted


def _ring(file) -> None:
    """Attention of one process and of two; tokens in their own order."""
    _cp_options.enable_load_balance = False  # which would want them in another
    g = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 4, 16, 8, generator=g) for _ in range(3))
    alone = F.scaled_dot_product_attention(query, key, value)
    with context_parallel(init_device_mesh("cpu", (2,)), buffers=[query, key, value], buffer_seq_dims=[2, 2, 2]):
        mine = F.scaled_dot_product_attention(query, key, value)
    if parallel.rank() == 0:
        torch.save((alone[:, :, :8], mine), file)


def test_torchs_ring_attention_is_right_over_gloo(tmp_path):
    parallel.launch(_ring, tmp_path / "ring.pt", processes=2)
    alone, mine = torch.load(tmp_path / "ring.pt")
    torch.testing.assert_close(mine, alone, atol=1e-6, rtol=1e-5)


def _both(file) -> None:
    """The output of one process and that of two, for the same condition; what the first block saw in each."""
    world, g = tiny_world(), torch.Generator().manual_seed(0)
    assert world.memory_branch is not None
    for block in world.memory_branch.blocks:  # a fresh branch says nothing
        torch.nn.init.normal_(block.proj_out.weight, std=0.1, generator=g)  # pyright: ignore

    def part(channels: int, frames: int) -> Tensor:
        return torch.randn(1, channels, frames, 4, 6, generator=g)

    given = Condition(part(48, 3), torch.ones(1, 1, 3, 4, 6), part(2, 3), part(6, 3), part(48, 1), part(48, 1),
                      part(48, 2), torch.randn(1, 16, 32, generator=g))  # fmt: skip
    asked = world.transformer, world.memory_branch, part(48, 3), torch.full((1, 3), 500.0), given
    seen: list[int] = []
    with torch.no_grad():
        alone = predict(*asked)
        its: list[Any] = [*world.transformer.blocks, *(one.block for one in world.memory_branch.blocks)]  # pyright: ignore
        its[0].attn1.to_q.register_forward_hook(lambda module, given, out: seen.append(out.shape[1]))
        for block in its:
            block.forward = split(block.forward)
        with mock.patch.object(F, "scaled_dot_product_attention", by_heads):
            together = predict(*asked)
    if parallel.rank() == 0:
        torch.save((alone, together, seen), file)


def test_half_of_the_tokens_each_is_all_of_them(tmp_path):
    parallel.launch(_both, tmp_path / "both.pt", processes=2)
    alone, together, seen = torch.load(tmp_path / "both.pt")
    assert seen == [(3 + 1 + 2) * 2 * 3 // 2]
    assert alone.std() > 0.1
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
