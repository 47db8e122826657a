"""The baseline without geometry: every view is a hole, and past frames are looked at by what their views share.

`T` cameras, `J` past frames, `C` channels, `h w` latent grid. So do systems whose memory is a bank of frames: the
denoiser is shown some of them, and has to find out by itself where things went.
"""

from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.memory.baselines.nothing import NoMemory
from mirage.memory.readout import Readout
from mirage.memory.references import choose_by_overlap, pick_references


class FrameMemory(NoMemory):
    """A `SpatialMemory` of nothing but frames.

    It holds no bytes of its own: the frames are those that a session keeps beside any memory, and its references are
    chosen by the overlap of views.
    """


@pick_references.register
def _(
    memory: FrameMemory, readout: Readout, camera: Camera, history: Camera, depth: DepthMap, *, count: int
) -> list[int]:
    return choose_by_overlap(camera, history, depth, count=count)
