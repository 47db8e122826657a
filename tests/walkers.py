"""What the walkers of these tests yield."""

from dataclasses import dataclass

from torch import Tensor

from mirage.geometry.depthmap import DepthMap
from mirage.memory import Readout


@dataclass(frozen=True)
class Piece:
    """An `evaluation.synthetic.Step` of given values."""

    frames: Tensor
    readout: Readout
    depth: DepthMap
    memory_bytes: int = 0
