"""Procedural worlds: seeded, endless 3D scenes with exact colour, depth and pose, to train from and to measure with."""

from mirage.worlds.clip import Clip, sample_clip
from mirage.worlds.path import EVERY_KIND, KINDS
from mirage.worlds.render import View
from mirage.worlds.words import vocabulary
from mirage.worlds.world import HELD_OUT, World, training_seed

__all__ = ["EVERY_KIND", "HELD_OUT", "KINDS", "Clip", "View", "World", "sample_clip", "training_seed", "vocabulary"]
