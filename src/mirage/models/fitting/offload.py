"""Where the networks of a model lie: all on the device, one stage at a time, or block by block.

    none     every network stays on the device
    model    text | transformer and branch | depth | autoencoder: the stage that runs is there, the others are in main
             memory. One transfer of weights per stage and chunk.
    group    the transformer, its branch and the text encoder in main memory, each block fetched just before it runs
             (on a GPU while the one before it computes); autoencoder and depth head stay on the device

A model that is offloaded may be shared by threads: its networks run one after the other.

Both are hooks on a network's forward, as diffusers and accelerate have them; `running` lets the hooks of a network know
that it runs where its parts are called one by one (`predict`, the streams of the codec).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import wraps
from typing import Any, Literal

import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from accelerate.utils import send_to_device
from diffusers.hooks.group_offloading import (
    GroupOffloadingHook,
    LazyPrefetchGroupOffloadingHook,
    apply_group_offloading,
)
from torch import nn

from mirage.errors import InputError

Offload = Literal["none", "model", "group"]
STAGES = (("text_encoder",), ("transformer", "memory_branch"), ("depth_head",), ("vae",))
"""Networks that run one after the other."""
GROUPED = ("transformer", "memory_branch", "text_encoder")
"""Networks that are many times larger than one of their blocks."""
_LOCK = "_mirage_offload_lock"
_INNER = {"text_encoder": ["encoder"]}  # where a network has its blocks, if not directly below it


def place(networks: dict[str, nn.Module], *, offload: Offload, device: torch.device | str) -> None:
    """Put the networks of a model, by component, where they belong."""
    device = torch.device(device)
    if offload == "none":
        for network in networks.values():
            network.to(device)
        return
    one = threading.RLock()
    if offload == "model":
        for stage in STAGES:
            others = [network for name, network in networks.items() if name not in stage]
            for name in stage:
                if name in networks:
                    add_hook_to_module(networks[name], StageHook(device, others))
                    _one_at_a_time(networks[name], one)
    else:
        for name, network in networks.items():
            if name in GROUPED:
                apply_group_offloading(network, onload_device=device, num_blocks_per_group=1,
                                       use_stream=device.type == "cuda", block_modules=_INNER.get(name))  # fmt: skip
                _one_at_a_time(network, one)
            else:
                network.to(device)


def check_offload(offload: Offload, *, device: torch.device | str) -> None:
    """`InputError` where there is nothing to take networks off from."""
    if offload not in ("none", "model", "group"):
        raise InputError(f"offload is {offload!r}; accepted: none, model, group")
    if offload != "none" and torch.device(device).type != "cuda":
        raise InputError(f"offload {offload} needs a CUDA device, this is {torch.device(device)}; accepted: none")


class StageHook(ModelHook):
    """Before its network runs, the networks of other stages leave the device and this one comes to it."""

    def __init__(self, device: torch.device, others: list[nn.Module]) -> None:
        super().__init__()
        self.execution_device, self.others = device, others

    def init_hook(self, module: nn.Module) -> nn.Module:
        return module.to("cpu")

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        for other in self.others:
            if _device(other) != torch.device("cpu"):
                other.to("cpu")
        if _device(module) != self.execution_device:
            module.to(self.execution_device)
        return send_to_device(args, self.execution_device), send_to_device(kwargs, self.execution_device)


@contextmanager
def running(network: nn.Module) -> Iterator[None]:
    """Its parts are about to run one by one: the hooks of its whole forward are called before, and after."""
    staged: Any = getattr(network, "_hf_hook", None)  # accelerate's place for a hook
    registry: Any = getattr(network, "_diffusers_hook", None)
    kinds = (GroupOffloadingHook, LazyPrefetchGroupOffloadingHook)  # others, of step caches, are no business of ours
    hooks = [hook for hook in registry.hooks.values() if isinstance(hook, kinds)] if registry is not None else []
    with _lock(network):
        if staged is not None:
            staged.pre_forward(network)
        with ExitStack() as after:
            for hook in hooks:
                hook.pre_forward(network)
                after.callback(hook.post_forward, network, None)
            yield


def _one_at_a_time(network: nn.Module, one: AbstractContextManager[Any]) -> None:
    """While a network runs in one thread, another thread that wants to run one of the same model waits: it would move
    the first one off the device."""
    forward = network.forward

    @wraps(forward)
    def alone(*args: Any, **kwargs: Any) -> Any:
        with one:
            return forward(*args, **kwargs)

    network.forward = alone
    object.__setattr__(network, _LOCK, one)


def _lock(network: nn.Module) -> AbstractContextManager[Any]:
    return getattr(network, _LOCK, None) or nullcontext()


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
