"""Depth with its own honesty: z-depth and where it is known. `*`: leading axes, `H W`: any grid.

Missing depth is a mask, never 0, NaN or 100. A resize never blends across a silhouette nor with an invalid cell,
because a depth between two surfaces is a point in empty air.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from mirage.errors import InputError, short
from mirage.geometry.tensors import Flags, Reals
from mirage.kinds import checked, fit


@dataclass(frozen=True, eq=False)
class DepthMap:
    """`z` [*,H,W] z-depth in world units; `valid` bool [*,H,W]. Without `valid`: where finite and > 0.

    After construction `valid` is always a tensor, and `z` is 1 wherever it is invalid: a finite filler that no code
    may read, so that arithmetic on the whole map stays finite.
    """

    z: Tensor
    valid: Tensor = None  # pyright: ignore[reportAssignmentType] -- always a tensor after __post_init__

    def __post_init__(self) -> None:
        object.__setattr__(self, "z", fit(Reals, self.z, "DepthMap: z"))
        object.__setattr__(self, "valid", fit(Flags | None, self.valid, "DepthMap: valid"))
        if self.z.ndim < 2:
            raise InputError(f"depth is [*,H,W], got {list(self.z.shape)}")
        sane = torch.isfinite(self.z) & (self.z > 0)
        if self.valid is not None and self.valid.shape != self.z.shape:
            raise InputError(f"depth {list(self.z.shape)} and its mask {list(self.valid.shape)} differ in shape")
        valid = sane if self.valid is None else self.valid & sane
        object.__setattr__(self, "valid", valid)
        object.__setattr__(self, "z", torch.where(valid, self.z, torch.ones_like(self.z)))

    @classmethod
    def of(cls, depth: "DepthLike", *, what: str = "the depth") -> "DepthMap":
        """Depth as people have it at hand: a `DepthMap`, or a tensor or array [*,H,W] of z-depth, known where it is
        finite and above 0; whole numbers too (millimetres must be made metres before)."""
        if isinstance(depth, DepthMap):
            return depth
        return cls(fit(Reals | DepthMap, depth, what))

    @classmethod
    @checked
    def concatenate(cls, maps: Sequence["DepthMap"]) -> Self:
        """Join maps [n,H,W] of one grid along their first axis."""
        if not maps or any(one.z.ndim != 3 or one.shape[1:] != maps[0].shape[1:] for one in maps):
            raise InputError(f"maps [n,H,W] of one grid are joined, got {[list(one.shape) for one in maps]}")
        return cls(torch.cat([depth.z for depth in maps]), torch.cat([depth.valid for depth in maps]))

    @checked
    def resized(self, size: tuple[int, int]) -> "DepthMap":
        """At `size` (h, w). Smaller: each cell takes the lower median of the valid depths around its centre, one that
        was really measured. Larger: nearest. A cell is valid if at least half of what it looked at is.

        The lower median is an order statistic: across a silhouette it gives one surface or the other, never a mean.
        """
        height, width = self.z.shape[-2:]
        h, w = size
        if min(h, w, height, width) < 1:
            raise InputError(f"depth {list(self.shape)} cannot be resized to {h} x {w}; accepted: 1 or more each")
        if (h, w) == (height, width):
            return self
        if h > height or w > width or height % h or width % w:
            return self._sampled(size)
        block = rearrange(self.z, "... (h a) (w b) -> ... h w (a b)", h=h, w=w)
        known = rearrange(self.valid, "... (h a) (w b) -> ... h w (a b)", h=h, w=w)
        central = _central(height // h, width // w, device=self.z.device)
        block, known = block[..., central], known[..., central]
        count = known.sum(-1)
        ordered = torch.where(known, block, torch.inf).sort(dim=-1).values
        median = ordered.gather(-1, ((count - 1).clamp_min(0) // 2)[..., None])[..., 0]
        return DepthMap(median, (count > 0) & (2 * count >= len(central)))

    def _sampled(self, size: tuple[int, int]) -> "DepthMap":
        height, width = self.z.shape[-2:]
        rows = ((torch.arange(size[0], device=self.z.device) + 0.5) * height / size[0]).long()
        columns = ((torch.arange(size[1], device=self.z.device) + 0.5) * width / size[1]).long()
        return DepthMap(self.z[..., rows[:, None], columns], self.valid[..., rows[:, None], columns])

    @checked
    def scaled(self, scale: float | Reals, shift: float | Reals = 0.0) -> "DepthMap":
        """scale * z + shift, numbers or tensors that spread over z; what falls to 0 or below becomes invalid."""
        for value in (scale, shift):
            if isinstance(value, Tensor) and not _spreads(value.shape, self.shape):
                raise InputError(f"depth {list(self.shape)} is scaled by numbers, got {short(value)}")
        return DepthMap(self.z * scale + shift, self.valid)

    @checked
    def masked(self, keep: Flags) -> "DepthMap":
        """Valid only where `keep` [*,H,W] too."""
        if keep.shape != self.shape:
            raise InputError(f"depth {list(self.shape)} is masked by as many bools, got {short(keep)}")
        return DepthMap(self.z, self.valid & keep)

    def __getitem__(self, index) -> "DepthMap":
        index = index if isinstance(index, tuple) else (index,)
        return DepthMap(
            self.z[(*index, ..., slice(None), slice(None))], self.valid[(*index, ..., slice(None), slice(None))]
        )

    def __len__(self) -> int:
        return self.z.shape[0]

    @property
    def shape(self) -> torch.Size:
        """[*,H,W]."""
        return self.z.shape

    @checked
    def to(self, device: torch.device | str) -> "DepthMap":
        return DepthMap(self.z.to(device), self.valid.to(device))

    def __repr__(self) -> str:
        known = self.z[self.valid].detach()
        span = f", {known.amin():.3g} to {known.amax():.3g}" if len(known) else ""
        share = f"{self.valid.float().mean():.0%}" if self.valid.numel() else "nothing"
        return f"DepthMap({list(self.shape)}, {share} known{span})"


DepthLike = DepthMap | Tensor | np.ndarray
"""What `DepthMap.of` takes."""


def _spreads(shape: Sequence[int], over: Sequence[int]) -> bool:
    """Whether it broadcasts to `over`."""
    return len(shape) <= len(over) and all(n in (1, m) for n, m in zip(shape[::-1], over[::-1], strict=False))


def _central(height: int, width: int, *, device: torch.device) -> Tensor:
    """Flat indices of the middle of a block: up to 4 x 4 pixels around its centre, where the cell's ray passes."""

    def middle(n: int) -> Tensor:
        reach = min(n, 4 - n % 2)
        return torch.arange(reach, device=device) + (n - reach) // 2

    return (middle(height)[:, None] * width + middle(width)).flatten()
