"""What people are shown of frames, depth, readouts and memories, in a notebook or as a file."""

from mirage.show.views import animation, cloud, coverage, depth, frames, map, mask, readout

__all__ = ["animation", "cloud", "coverage", "depth", "frames", "map", "mask", "readout"]
