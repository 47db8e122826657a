"""Training the denoiser, its memory branch and the text encoder, or some of them: flow matching with a memory.

`Exerciser` makes what a step sees from files, wherever and whenever it is asked to (exercises.py); `FlowMatching` is
what is asked of it (objective.py); `DenoiserTask` has what learns: the network, the words, and the chunks that it
relives. Letters: B batch, T latent frames of a chunk, C latent channels, h w latent grid.

    relived        0 1 ... | s-8 ... s | s+1 ...      memory: the chunk that ends with s is the model's own work
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from mirage.conditioning import build_condition
from mirage.errors import InputError
from mirage.memory import LatentSpatialMemory
from mirage.models.condition import Condition
from mirage.models.lora import attach_lora
from mirage.models.world import WorldModel
from mirage.training import parallel
from mirage.training.clips import sample_paths, split
from mirage.training.exercises import Exerciser, Exercises, Mix, Relived
from mirage.training.objective import FlowMatching, Network, Objective, pixel_weights
from mirage.training.past import AS_IT_IS, NO_TEXT, Past, Seen, begun

PARTS = ("transformer", "memory_branch", "text_encoder")
"""What may learn, and "detail": of the memory branch its detail path alone."""


@dataclass(frozen=True)
class DenoiserConfig:
    """An objective and the exercises that it is asked in.

    train        the parts that learn, of `PARTS` and "detail"; the others are frozen
    lora_rank    > 0: of the transformer only a LoRA on its self-attention learns, of this rank
    bf16         run the network in bfloat16; what learns is kept in float32
    checkpoint   compute activations again in the backward pass instead of keeping them
    """

    exercises: Exercises
    objective: Objective = field(default_factory=Objective)
    train: tuple[str, ...] = PARTS
    lora_rank: int = 0
    bf16: bool = False
    checkpoint: bool = False

    def __post_init__(self) -> None:
        for name in self.train:
            if name not in (*PARTS, "detail"):
                raise InputError(f"train names {name!r}; accepted: {', '.join(PARTS)}, detail")


class DenoiserTask:
    """See the module's docstring. The network's output is read as `model.prediction` says."""

    def __init__(self, model: WorldModel, config: DenoiserConfig) -> None:
        self.model, self.config = model, config
        for part in (*self.modules(model).values(), model.vae):
            part.requires_grad_(False)
        self.module: nn.Module = self.modules(model, config.train).requires_grad_(True)
        if config.lora_rank:
            attach_lora(model.transformer, rank=config.lora_rank)
        self.network = Network(model, bf16=config.bf16)
        if config.checkpoint:
            for part in (model.transformer, self.network.branch):
                part.enable_gradient_checkpointing()
        self._tokens = lru_cache(maxsize=None)(model.tokenize)
        exercises, objective = config.exercises, config.objective
        train, self.test = split(sample_paths(exercises.clips), exercises.held_out)
        self.maker = Exerciser(exercises, objective, train, model.channels, _codec(model, exercises))
        plain = replace(exercises, mix=Mix(), augment=AS_IT_IS)
        self.plain = Exerciser(plain, objective, self.test, model.channels)
        weights = torch.ones((), device=model.transformer.device)
        if objective.pixel_weighted:
            weights = pixel_weights(model, self.maker.clip(train[0]).latents)
        self.flow = FlowMatching(objective, model, self.network, weights)

    @staticmethod
    def modules(model: WorldModel, names: Sequence[str] = PARTS) -> nn.ModuleDict:
        """What is trained, by the names that a checkpoint has."""
        return nn.ModuleDict(
            {name: getattr(model.memory_branch if name == "detail" else model, name) for name in names}
        )

    def shard(self) -> None:
        """Share the network out among the processes; before the first step."""
        blocks: Any = [*self.model.transformer.blocks, *self.network.branch.blocks]
        parallel.shard(self.network, blocks, bf16=self.config.bf16)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Within the block `model.denoise` works too, which calls the network's parts and not the network."""
        network: nn.Module = self.network
        if not isinstance(network, FSDPModule):
            yield
            return
        network.unshard()
        try:
            yield
        finally:
            network.reshard()

    def loss(self, batch: Seen | Relived, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        if isinstance(batch, Relived):
            pasts = [replace(past, known=self._relived(past, batch.steps, generator)) for past in batch.pasts]
            observer = self.maker.observer
            batch = Seen.of([observer.seen(past, batch.preceding, batch.references, generator) for past in pasts])
        condition = self._worded(batch)
        if batch.steps:
            sampler = self.flow.sampler(batch.steps, draft=batch.draft)
            error = self.flow.last_step_loss(condition, batch.target, sampler, generator, draft=batch.draft)
            return error, {"last_step": float(error.detach())}
        error = self.flow.loss(condition, batch.target, generator, shift=batch.shift)
        return error, {"loss": float(error.detach())}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """The loss on held-out clips, at the same noise, with the memory and without."""
        sums = {"loss_memory": 0.0, "loss_none": 0.0}
        for i, path in enumerate(self.test):
            sample = self.plain.chunk(path, 1, 1, torch.Generator().manual_seed(i))
            condition = self._worded(sample)
            for name, seen in (("loss_memory", condition), ("loss_none", condition.without_memory())):
                noise = torch.Generator().manual_seed(i)
                sums[name] += float(self.flow.errors(seen, sample.target, noise).mean()) / len(self.test)
        network: nn.Module = self.network
        if isinstance(network, FSDPModule):  # FSDP2 leaves its root whole for a backward pass, which does not come here
            network.reshard()
        return sums

    @torch.no_grad()
    def _relived(self, past: Past, steps: int, generator: torch.Generator) -> Tensor:
        """Its `known` [n,C,h,w] with the last chunk as the model itself makes it, from a memory of what was before."""
        known, keep = past.known, past.keep
        begin = max(len(known) - self.config.exercises.frames, 0)
        before = slice(0, begin + 1)
        memory = LatentSpatialMemory(known.shape[1])
        memory.write(known[before], past.depth[before], past.camera[before], keep=keep[before])
        chunk = past.camera[begin:]
        readout = memory.read(chunk, (known.shape[-2], known.shape[-1]))
        condition = build_condition(
            readout,
            chunk,
            history=known[begin : begin + 1],
            references=known[:0],
            text=NO_TEXT,
            between=begun(chunk, past.between[0][begin:]),
        )
        worded = self._worded(Seen(condition, (past.caption,), past.target[None]))
        made, _ = self.flow.sampled(worded, self.flow.sampler(steps), generator)
        return torch.cat([known[before], made[0, :, 1:].transpose(0, 1).to(known)])

    def _worded(self, sample: Seen) -> Condition:
        """The condition with its text, where the network is; `WorldModel.encode_prompt` for a batch, with gradients if
        the text encoder learns."""
        tokens = [self._tokens(prompt) for prompt in sample.prompts]
        ids, known = (torch.cat(parts) for parts in zip(*tokens, strict=True))
        with torch.set_grad_enabled(torch.is_grad_enabled() and "text_encoder" in self.config.train):
            text = self.model.text_encoder(ids, known).last_hidden_state
            text = text.masked_fill(known[..., None] == 0, 0)
        condition = replace(sample.condition.to(self.model.transformer.device), text=text)
        return self._as_published(condition) if self.model.published else condition

    def _as_published(self, condition: Condition) -> Condition:
        """With what a branch in the published layout sees beside: the memory from the preceding frames, nothing where
        that is not known, and the constant video."""
        before, rows = condition.preceding_memory, len(condition.memory)
        grid = (condition.memory.shape[-2], condition.memory.shape[-1])
        constant = self.model.constant(condition.frames + condition.preceding.shape[2], grid)
        if constant is not None:
            constant = rearrange(constant, "t c h w -> 1 c t h w").expand(rows, -1, -1, -1, -1).to(condition.memory)
        return replace(
            condition,
            preceding_memory=torch.zeros_like(condition.preceding) if before is None else before,
            constant=constant,
        )


def _codec(model: WorldModel, exercises: Exercises) -> WorldModel | None:
    """The parts of a model that samples ask for, by themselves and on the CPU; None where none do."""
    if not (exercises.augment.predicted_depth or exercises.augment.pixel_memory):
        return None
    codec = copy.copy(model)
    parts = {name: copy.deepcopy(getattr(model, name)).cpu().requires_grad_(False) for name in ("vae", "depth_head")}
    codec.register_modules(transformer=None, memory_branch=None, text_encoder=None, tokenizer=None, **parts)
    return codec
