"""Procedural scenes: seeded, endless 3D worlds with exact colour, depth and pose, to train from and to measure with."""

from mirage.scenes.clip import Clip, sample_clip
from mirage.scenes.path import EVERY_KIND, KINDS
from mirage.scenes.render import View
from mirage.scenes.scene import HELD_OUT, Scene, training_seed
from mirage.scenes.words import vocabulary

__all__ = ["EVERY_KIND", "HELD_OUT", "KINDS", "Clip", "Scene", "View", "sample_clip", "training_seed", "vocabulary"]
