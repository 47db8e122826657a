"""The latent spatial memory: points that carry latents, and which of them a camera sees."""

from mirage.memory.memory import LatentSpatialMemory
from mirage.memory.points import Cloud, PointColumns
from mirage.memory.policy import MemoryPolicy
from mirage.memory.projection.hits import Hits
from mirage.memory.projection.zbuffer import zbuffer
from mirage.memory.readout import Readout
from mirage.memory.table import Snapshot

__all__ = ["Cloud", "Hits", "LatentSpatialMemory", "MemoryPolicy", "PointColumns", "Readout", "Snapshot", "zbuffer"]
