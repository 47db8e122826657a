"""The optimiser: Muon for matrices and convolution kernels, AdamW for everything else.

Muon (K. Jordan et al., 2024) replaces the momentum of a matrix by its nearest orthogonal matrix, found by a few
Newton-Schulz steps. A convolution kernel [O, I, *k] is the matrix [O, I * prod(k)]. With AdamW alone the small
autoencoder stalls some 8 dB below a linear code; this is what gets it moving.

State is plain tensors by parameter name, so that a checkpoint is a safetensors file.
"""

import re
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mirage.errors import InputError
from mirage.training.parallel import local, shared


class MuonAdamW:
    """`named`: parameters by name. `adamw` is a regular expression: matching names take AdamW whatever their shape
    (embeddings, output layers); vectors and scalars always do. `bf16`: work the nearest orthogonal matrices
    out in bfloat16.

    `step(scale)` takes one step with both learning rates times `scale` (the schedule). With several processes each
    orthogonalises its share of the matrices and the results are summed: same numbers, less work.
    """

    def __init__(
        self,
        named: Iterable[tuple[str, nn.Parameter]],
        *,
        muon_lr: float,
        adamw_lr: float,
        adamw: str = "(?!)",
        momentum: float = 0.95,
        bf16: bool = False,
        betas: tuple[float, float] = (0.9, 0.98),
        weight_decay: float = 0.0,
    ) -> None:
        parameters = {name: p for name, p in named if p.requires_grad}
        self.matrices = {n: p for n, p in parameters.items() if p.ndim >= 2 and not re.search(adamw, n)}
        self.others = {n: p for n, p in parameters.items() if n not in self.matrices}
        self.muon_lr, self.adamw_lr, self.momentum, self.betas = muon_lr, adamw_lr, momentum, betas
        self.weight_decay, self.bf16 = weight_decay, bf16
        self.steps = 0
        if any(isinstance(p, DTensor) for p in self.matrices.values()):
            raise InputError('weights that are shared out among processes take AdamW alone; expected adamw="."')
        self.first = {n: torch.zeros_like(local(p)) for n, p in parameters.items()}
        self.second = {n: torch.zeros_like(local(p)) for n, p in self.others.items()}

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        return {**self.matrices, **self.others}

    @torch.no_grad()
    def step(self, scale: float = 1.0) -> None:
        self.steps += 1
        for p, update in zip(self.matrices.values(), self._orthogonal_updates(), strict=True):
            p.mul_(1 - scale * self.muon_lr * self.weight_decay)
            p.add_(update, alpha=-scale * self.muon_lr)
        b1, b2 = self.betas
        for name, p in self.others.items():
            if p.grad is None:
                continue
            m, v = self.first[name], self.second[name]
            grad = local(p.grad)
            m.lerp_(grad, 1 - b1)
            v.lerp_(grad.square(), 1 - b2)
            denominator = (v / (1 - b2**self.steps)).sqrt_().add_(1e-8)
            local(p).addcdiv_(m, denominator, value=-scale * self.adamw_lr / (1 - b1**self.steps))

    def _orthogonal_updates(self) -> list[Tensor]:
        rank, model = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        updates = []
        for i, (name, p) in enumerate(self.matrices.items()):
            grad = torch.zeros_like(p) if p.grad is None else p.grad
            buffer = self.first[name]
            buffer.lerp_(grad, 1 - self.momentum)
            mine = i % model == rank and p.grad is not None
            towards = torch.lerp(grad, buffer, self.momentum)
            updates.append(orthogonalised(towards, bf16=self.bf16) if mine else torch.zeros_like(p))
        if model > 1 and updates:
            flat = torch.cat([u.flatten() for u in updates])
            dist.all_reduce(flat)
            updates = [
                part.view_as(u) for part, u in zip(flat.split([u.numel() for u in updates]), updates, strict=True)
            ]
        return updates

    def state(self) -> dict[str, Tensor]:
        """All that it remembers but the number of `steps`, by name: the very tensors, to be read or filled."""
        like = self.parameters
        return {
            **{f"first.{n}": shared(t, like[n]) for n, t in self.first.items()},
            **{f"second.{n}": shared(t, like[n]) for n, t in self.second.items()},
        }


def orthogonalised(update: Tensor, *, iterations: int = 5, bf16: bool = False) -> Tensor:
    """The nearest (semi-)orthogonal matrix to `update` [O, ...] seen as [O, rest], scaled so that every entry of a
    matrix of any shape moves by about the same amount. Quintic Newton-Schulz; singular values end within 0.7..1.2.
    `bf16`: computed in bfloat16, which is enough for it, on machines that have it."""
    matrix = update.flatten(1).to(torch.bfloat16 if bf16 else torch.float32)
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (torch.linalg.matrix_norm(x) + 1e-7)
    a, b, c = 3.4445, -4.7750, 2.0315
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    x = x.T if tall else x
    return (x * max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5).view_as(update).to(update.dtype)
