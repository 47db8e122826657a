"""Mirage: video world models that remember.

    model = mirage.load_world_model("mini")
    session = mirage.Session(model, "photo.jpg", prompt="a red room")
    chunks = list(session.follow("orbit"))
    mirage.show.frames(chunks[0].frames)

The public nouns, each from the room that it lives in. A name is imported when it is first used, so that
`import mirage` itself costs nothing.
"""

from typing import TYPE_CHECKING

from mirage import importing as _importing
from mirage.version import __version__ as __version__

if TYPE_CHECKING:
    from mirage import show as show
    from mirage.depth.protocol import DepthEstimator as DepthEstimator
    from mirage.depth.protocol import Views as Views
    from mirage.errors import InputError as InputError
    from mirage.formats.cameras import load_cameras as load_cameras
    from mirage.formats.cameras import save_cameras as save_cameras
    from mirage.formats.image import load_image as load_image
    from mirage.formats.image import save_image as save_image
    from mirage.formats.trajectories import load_trajectory as load_trajectory
    from mirage.formats.video import load_video as load_video
    from mirage.formats.video import save_video as save_video
    from mirage.geometry.camera import Camera as Camera
    from mirage.geometry.depthmap import DepthMap as DepthMap
    from mirage.geometry.trajectory import dolly as dolly
    from mirage.geometry.trajectory import dolly_zoom as dolly_zoom
    from mirage.geometry.trajectory import figure_eight as figure_eight
    from mirage.geometry.trajectory import orbit as orbit
    from mirage.geometry.trajectory import pan as pan
    from mirage.geometry.trajectory import push_in as push_in
    from mirage.geometry.trajectory import spiral as spiral
    from mirage.memory.memory import LatentSpatialMemory as LatentSpatialMemory
    from mirage.memory.policy import MemoryPolicy as MemoryPolicy
    from mirage.memory.protocol import SpatialMemory as SpatialMemory
    from mirage.memory.readout import Readout as Readout
    from mirage.models.loading import load_world_model as load_world_model
    from mirage.models.world import WorldModel as WorldModel
    from mirage.pipeline import MiragePipeline as MiragePipeline
    from mirage.request import ModelRequest as ModelRequest
    from mirage.request import Request as Request
    from mirage.rollout.admission import Segmenter as Segmenter
    from mirage.rollout.chunk import Chunk as Chunk
    from mirage.rollout.session import Session as Session
    from mirage.rollout.settings import Settings as Settings
    from mirage.sampler import Sampler as Sampler
    from mirage.scenes.scene import Scene as Scene

_HOMES = {
    "Camera": "mirage.geometry.camera",
    "Chunk": "mirage.rollout.chunk",
    "DepthEstimator": "mirage.depth.protocol",
    "DepthMap": "mirage.geometry.depthmap",
    "InputError": "mirage.errors",
    "LatentSpatialMemory": "mirage.memory.memory",
    "MemoryPolicy": "mirage.memory.policy",
    "MiragePipeline": "mirage.pipeline",
    "ModelRequest": "mirage.request",
    "Readout": "mirage.memory.readout",
    "Request": "mirage.request",
    "Sampler": "mirage.sampler",
    "Scene": "mirage.scenes.scene",
    "Segmenter": "mirage.rollout.admission",
    "Session": "mirage.rollout.session",
    "Settings": "mirage.rollout.settings",
    "SpatialMemory": "mirage.memory.protocol",
    "Views": "mirage.depth.protocol",
    "WorldModel": "mirage.models.world",
    "dolly": "mirage.geometry.trajectory",
    "dolly_zoom": "mirage.geometry.trajectory",
    "figure_eight": "mirage.geometry.trajectory",
    "load_cameras": "mirage.formats.cameras",
    "load_image": "mirage.formats.image",
    "load_trajectory": "mirage.formats.trajectories",
    "load_video": "mirage.formats.video",
    "load_world_model": "mirage.models.loading",
    "orbit": "mirage.geometry.trajectory",
    "pan": "mirage.geometry.trajectory",
    "push_in": "mirage.geometry.trajectory",
    "save_cameras": "mirage.formats.cameras",
    "save_image": "mirage.formats.image",
    "save_video": "mirage.formats.video",
    "spiral": "mirage.geometry.trajectory",
}
__all__ = list(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll] -- test_architecture compares it with the imports


def __getattr__(name: str) -> object:
    if name == "show":  # a room of functions, each a noun
        return _importing.imported("mirage.show")
    if name not in _HOMES:
        raise AttributeError(f"module 'mirage' has no attribute {name!r}")
    return getattr(_importing.imported(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES, "show"])
