"""What a memory shows to a camera. `T` cameras, `C` channels, `h w` latent grid."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.tensors import Flags, Reals, Wholes
from mirage.kinds import check_fields, checked


@dataclass(frozen=True, eq=False)
class Readout:
    """The memory as seen by `T` cameras. The mask always travels with the latents: a hole is not a zero.

    latents: [T,C,h,w] float; 0 where nothing is known.
    mask: [T,h,w] bool; True where something is known.
    depth: of the point that won, where known.
    index: [T,h,w] i64, the point that won (a row of `memory.points`, until the next write); -1: none.
    frame: [T,h,w] i32, the written latent frame that it came from; -1: none.
    offset: [T,2,h,w] in cells, within [-1/2, 1/2]: where the winner fell from the cell's centre, right and down. A
        point that fills a neighbour's hole lies outside that cell: its offset is held at the edge. 0 where unknown.
    """

    latents: Reals
    mask: Flags
    depth: DepthMap
    index: Wholes
    frame: Wholes
    offset: Reals

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    @checked
    def holes(cls, cameras: int, channels: int, grid: tuple[int, int]) -> "Readout":
        """Nothing is known."""
        if not 0 <= cameras <= 2**20 or not 1 <= channels <= 2**16 or min(grid) < 1 or max(grid) > 2**15:
            raise InputError(f"a readout of {cameras} cameras, {channels} channels and {grid} cells cannot be")
        shape = (cameras, *grid)
        nothing = torch.zeros(shape, dtype=torch.bool)
        return cls(
            latents=torch.zeros(cameras, channels, *grid),
            mask=nothing,
            depth=DepthMap(torch.ones(shape), nothing),
            index=torch.full(shape, -1),
            frame=torch.full(shape, -1, dtype=torch.int32),
            offset=torch.zeros(cameras, 2, *grid),
        )

    @property
    def coverage(self) -> Tensor:
        """Share of cells [T] that are known."""
        return self.mask.float().mean((-1, -2))

    @checked
    def to(self, device: torch.device | str) -> "Readout":
        """The same on another device."""
        return Readout(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def __getitem__(self, views: slice | list[int]) -> "Readout":
        """What some of the cameras see."""
        return Readout(**{field.name: getattr(self, field.name)[views] for field in fields(self)})

    def __len__(self) -> int:
        return len(self.mask)

    def __repr__(self) -> str:
        share = f"{self.mask.float().mean():.0%}" if self.mask.numel() else "nothing"
        return f"Readout({list(self.latents.shape)}, {share} known, {self.latents.device})"
