"""The baseline without geometry: every view is a hole, and past frames are looked at by what their views share.

`T` cameras, `J` past frames, `C` channels, `h w` latent grid. So do systems whose memory is a bank of frames: the
denoiser is shown some of them, and has to find out by itself where things went.
"""

from torch import Tensor

from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.memory.readout import Readout
from mirage.memory.references import choose_by_overlap


class FrameMemory:
    """A `SpatialMemory` of nothing but frames. `channels`: C of the latents.

    It holds no bytes of its own: the frames are those that a session keeps beside any memory.
    """

    nbytes = 0

    def __init__(self, channels: int) -> None:
        self.channels = channels

    def write(self, latents: Tensor, depth: DepthMap, camera: Camera, *, keep: Tensor | None = None) -> int:
        """Adds no point."""
        return 0

    def read(self, camera: Camera, grid: tuple[int, int]) -> Readout:
        """All holes."""
        return Readout.holes(len(camera), self.channels, grid)

    def references(self, readout: Readout, camera: Camera, history: Camera, depth: DepthMap, *,
                   count: int) -> list[int]:
        """By the overlap of views; see `choose_by_overlap`."""
        return choose_by_overlap(camera, history, depth, count=count)

    def snapshot(self) -> None:
        """Nothing to keep."""

    def restore(self, snapshot: None) -> None:
        """Nothing to bring back."""

    def __len__(self) -> int:
        return 0
