"""What a session asks of a memory, whatever it is made of."""

from typing import Any, Protocol

from torch import Tensor

from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.memory.readout import Readout


class SpatialMemory(Protocol):
    """`LatentSpatialMemory` is one. A comparison of memories differs in this object and in nothing else."""

    def write(self, latents: Tensor, depth: DepthMap, camera: Camera, *, keep: Tensor | None = None) -> int: ...

    def read(self, camera: Camera, grid: tuple[int, int]) -> Readout:
        """Changes nothing."""
        ...

    def touch(self, readout: Readout) -> None:
        """A readout of this memory was used for a chunk, for memories that evict by use."""
        ...

    def snapshot(self) -> Any: ...

    def restore(self, snapshot: Any) -> None: ...

    def __len__(self) -> int: ...

    @property
    def nbytes(self) -> int: ...
