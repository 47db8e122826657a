"""What a denoiser sees: `Condition`. It knows latents and masks; it knows nothing of memories, cameras or prompts.

Letters: `B` batch, `T` target latent frames, `P` preceding and `R` reference latent frames, `C` latent channels, `h w`
latent grid, `L` text tokens of width `D`. Every latent here is normalised (the VAE's mean and deviation removed).

    time ->   references ...   | preceding [P] | first | other targets, to be generated [T-1] |
                                                 memory, mask, offset, motion, rays: one per target [T]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.kinds import Brief


@dataclass(frozen=True, repr=False)
class Condition(Brief):
    """One chunk's worth of what is known. Shapes are checked at construction; `InputError` names the field that is off.

    memory      [B,C,T,h,w]  readout latents, 0 where unknown
    mask        [B,1,T,h,w]  1: known, 0: unknown (a hole is never a zero in disguise)
    offset      [B,2,T,h,w]  where in its cell the winning point fell (x, y), in cells, [-.5, .5], 0 where unknown
    rays        [B,6,T,h,w]  Plucker coordinates of each cell relative to the camera of the first target frame
    first       [B,C,1,h,w]  clean latent of the first target frame
    preceding   [B,C,P,h,w]  clean latents just before `first`, oldest first; P may be 0
    references  [B,C,R,h,w]  clean latents of earlier views that overlap with the targets, oldest first; R may be 0
    text        [B,L,D]      encoded prompt, zero beyond its length
    motion      [B,6,T,h,w]  where what a cell shows was in the three video frames before its latent's own (x, y each,
                             the earliest first), from the cell, in cells; 0 where unknown. None: not known at all

    Only for branches in the published layout, whose side blocks see the preceding frames too:
    preceding_memory  [B,C,P,h,w]    readout latents from where the preceding frames were seen, 0 where unknown
    constant          [B,C,T+P,h,w]  latents of the encoded constant video
    """

    memory: Tensor
    mask: Tensor
    offset: Tensor
    rays: Tensor
    first: Tensor
    preceding: Tensor
    references: Tensor
    text: Tensor
    motion: Tensor | None = None
    preceding_memory: Tensor | None = None
    constant: Tensor | None = None

    def __post_init__(self) -> None:
        if self.memory.ndim != 5:
            raise InputError(f"condition: memory has shape {list(self.memory.shape)}; accepted: [B,C,T,h,w]")
        b, c, t, h, w = self.memory.shape
        wanted: dict[str, tuple[int | None, ...]] = {
            "mask": (b, 1, t, h, w),
            "offset": (b, 2, t, h, w),
            "rays": (b, 6, t, h, w),
            "first": (b, c, 1, h, w),
            "preceding": (b, c, None, h, w),
            "references": (b, c, None, h, w),
            "text": (b, None, None),
            "motion": (b, 6, t, h, w),
            "preceding_memory": (b, c, self.preceding.shape[2], h, w) if self.preceding.ndim == 5 else (),
            "constant": (b, c, t + self.preceding.shape[2], h, w) if self.preceding.ndim == 5 else (),
        }
        for name, shape in wanted.items():
            value: Tensor | None = getattr(self, name)
            if value is None and name in ("motion", "preceding_memory", "constant"):
                continue
            assert value is not None, name
            if value.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, value.shape, strict=True)):
                accepted = ",".join("*" if n is None else str(n) for n in shape)
                raise InputError(
                    f"condition: {name} has shape {list(value.shape)}; accepted: [{accepted}] "
                    f"beside memory {list(self.memory.shape)}"
                )

    @property
    def frames(self) -> int:
        """T, the number of target latent frames, the clean first one included."""
        return self.memory.shape[2]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Condition:
        """The same condition elsewhere. None keeps the device or dtype as it is."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {name: v.to(device=device, dtype=dtype) for name, v in values.items() if v is not None}
        return Condition(**moved)

    def without_memory(self) -> Condition:
        """Nothing remembered: mask, memory, offset and motion 0. Rays stay, for the camera moves all the same."""
        zeros = torch.zeros_like
        before = None if self.preceding_memory is None else zeros(self.preceding_memory)
        return replace(
            self,
            memory=zeros(self.memory),
            mask=zeros(self.mask),
            offset=zeros(self.offset),
            motion=None if self.motion is None else zeros(self.motion),
            preceding_memory=before,
        )

    def without_text(self, empty_text: Tensor) -> Condition:
        """The encoded empty prompt, [1 or B,L,D], in place of the text."""
        empty = empty_text.to(self.text).expand(self.text.shape[0], -1, -1)
        return replace(self, text=empty)


def stacked(conditions: Sequence[Condition]) -> Condition:
    """Conditions of equal shapes as the rows of one; a single one is itself."""
    if len(conditions) == 1:
        return conditions[0]
    rows = [{name: value for name, value in vars(one).items() if value is not None} for one in conditions]
    return Condition(**{name: torch.cat([row[name] for row in rows]) for name in rows[0]})
