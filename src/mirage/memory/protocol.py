"""What a session asks of a memory, whatever it is made of; and the memory that remembers nothing."""

from typing import Any, Protocol

import torch
from torch import Tensor

from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.memory.readout import Readout


class SpatialMemory(Protocol):
    """`LatentSpatialMemory` is one. A comparison of memories differs in this object and in nothing else."""

    def write(self, latents: Tensor, depth: DepthMap, camera: Camera, *, keep: Tensor | None = None) -> int: ...

    def read(self, camera: Camera, grid: tuple[int, int]) -> Readout: ...

    def snapshot(self) -> Any: ...

    def restore(self, snapshot: Any) -> None: ...

    def __len__(self) -> int: ...

    @property
    def nbytes(self) -> int: ...


class NoMemory:
    """The control: every view is a hole. `channels`: C of the latents."""

    nbytes = 0

    def __init__(self, channels: int) -> None:
        self.channels = channels

    def write(self, latents: Tensor, depth: DepthMap, camera: Camera, *, keep: Tensor | None = None) -> int:
        """Adds nothing."""
        return 0

    def read(self, camera: Camera, grid: tuple[int, int]) -> Readout:
        """All holes."""
        shape = (len(camera), *grid)
        nothing = torch.zeros(shape, dtype=torch.bool)
        return Readout(
            latents=torch.zeros(len(camera), self.channels, *grid),
            mask=nothing,
            depth=DepthMap(torch.ones(shape), nothing),
            index=torch.full(shape, -1),
            frame=torch.full(shape, -1, dtype=torch.int32),
            offset=torch.zeros(len(camera), 2, *grid),
        )

    def snapshot(self) -> None:
        """Nothing to keep."""

    def restore(self, snapshot: None) -> None:
        """Nothing to bring back."""

    def __len__(self) -> int:
        return 0
