"""Procedural scenes: seeded, endless 3D scenes with exact colour, depth and pose, to train from and to measure with.

A name is imported when it is first used, so that what is only about kinds and seeds needs no torch.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mirage.scenes.clip import Clip as Clip
    from mirage.scenes.clip import sample_clip as sample_clip
    from mirage.scenes.kinds import EVERY_KIND as EVERY_KIND
    from mirage.scenes.kinds import HELD_OUT as HELD_OUT
    from mirage.scenes.kinds import KINDS as KINDS
    from mirage.scenes.kinds import training_seed as training_seed
    from mirage.scenes.render import View as View
    from mirage.scenes.scene import Scene as Scene
    from mirage.scenes.words import vocabulary as vocabulary

_HOMES = {
    "Clip": "clip",
    "EVERY_KIND": "kinds",
    "HELD_OUT": "kinds",
    "KINDS": "kinds",
    "Scene": "scene",
    "View": "render",
    "sample_clip": "clip",
    "training_seed": "kinds",
    "vocabulary": "words",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mirage.scenes' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mirage.scenes.{_HOMES[name]}"), name)
