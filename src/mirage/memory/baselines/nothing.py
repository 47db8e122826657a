"""The control: a memory that remembers nothing. Every view is a hole, and no past frame is shown to the denoiser."""

from typing import Any

from torch import Tensor

from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.memory.readout import Readout
from mirage.memory.references import pick_references


class NoMemory:
    """A `SpatialMemory` without points. `channels`: C of the latents."""

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

    def snapshot(self) -> Any:
        """Nothing to keep."""

    def restore(self, snapshot: Any) -> None:
        """Nothing to bring back."""

    def __len__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channels} channels)"


@pick_references.register
def _(memory: NoMemory, readout: Readout, camera: Camera, history: Camera, depth: DepthMap, *, count: int) -> list[int]:
    return []
