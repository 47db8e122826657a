"""Mirage: video world models that remember.

    >>> import mirage
    >>> model = mirage.load_world_model("mini")
    >>> session = mirage.Session(model, image, camera=camera)

The public nouns, each from the room that it lives in. A name is imported when it is first used, so that
`import mirage` itself costs nothing.
"""

import importlib
from typing import TYPE_CHECKING

from mirage.version import __version__ as __version__

if TYPE_CHECKING:
    from mirage.errors import InputError as InputError
    from mirage.formats.cameras import load_cameras as load_cameras
    from mirage.formats.cameras import save_cameras as save_cameras
    from mirage.geometry.camera import Camera as Camera
    from mirage.geometry.depthmap import DepthMap as DepthMap
    from mirage.memory.memory import LatentSpatialMemory as LatentSpatialMemory
    from mirage.memory.policy import MemoryPolicy as MemoryPolicy
    from mirage.memory.readout import Readout as Readout
    from mirage.models.loading import load_world_model as load_world_model
    from mirage.models.world import WorldModel as WorldModel
    from mirage.pipeline import MiragePipeline as MiragePipeline
    from mirage.request import ModelRequest as ModelRequest
    from mirage.request import Request as Request
    from mirage.rollout.chunk import Chunk as Chunk
    from mirage.rollout.session import Session as Session
    from mirage.rollout.settings import Settings as Settings
    from mirage.sampler import Sampler as Sampler
    from mirage.scenes.scene import Scene as Scene

_HOMES = {
    "Camera": "mirage.geometry.camera",
    "Chunk": "mirage.rollout.chunk",
    "DepthMap": "mirage.geometry.depthmap",
    "InputError": "mirage.errors",
    "LatentSpatialMemory": "mirage.memory.memory",
    "MemoryPolicy": "mirage.memory.policy",
    "MiragePipeline": "mirage.pipeline",
    "ModelRequest": "mirage.request",
    "Readout": "mirage.memory.readout",
    "Request": "mirage.request",
    "Sampler": "mirage.sampler",
    "Session": "mirage.rollout.session",
    "Settings": "mirage.rollout.settings",
    "Scene": "mirage.scenes.scene",
    "WorldModel": "mirage.models.world",
    "load_cameras": "mirage.formats.cameras",
    "load_world_model": "mirage.models.loading",
    "save_cameras": "mirage.formats.cameras",
}
__all__ = list(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll] -- test_architecture compares it with the imports


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mirage' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
