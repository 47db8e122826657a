"""What a session asks of a memory, whatever it is made of; and the memory that remembers nothing."""

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

    def references(
        self, readout: Readout, camera: Camera, history: Camera, depth: DepthMap, *, count: int
    ) -> list[int]:
        """Up to `count` of the past frames `history` [J], with depth [J,h,w], that a denoiser should look at while it
        draws what `camera` [T] sees; `readout` is what this memory showed to them."""
        ...

    def snapshot(self) -> Any: ...

    def restore(self, snapshot: Any) -> None: ...

    def __len__(self) -> int: ...

    @property
    def nbytes(self) -> int: ...


class Holes:
    """Shows every view as a hole and keeps nothing: what memories without geometry share. `channels`: C of the latents.

    Who derives says in `references` which past frames are looked at.
    """

    nbytes = 0

    def __init__(self, channels: int) -> None:
        self.channels = channels

    def write(self, latents: Tensor, depth: DepthMap, camera: Camera, *, keep: Tensor | None = None) -> int:
        """Adds nothing."""
        return 0

    def read(self, camera: Camera, grid: tuple[int, int]) -> Readout:
        """All holes."""
        return Readout.holes(len(camera), self.channels, grid)

    def touch(self, readout: Readout) -> None:
        """Nothing to remember."""

    def snapshot(self) -> None:
        """Nothing to keep."""

    def restore(self, snapshot: None) -> None:
        """Nothing to bring back."""

    def __len__(self) -> int:
        return 0


class NoMemory(Holes):
    """The control."""

    def references(
        self, readout: Readout, camera: Camera, history: Camera, depth: DepthMap, *, count: int
    ) -> list[int]:
        """None."""
        return []
