"""The memory alone, inside somebody else's diffusers loop: what is known is put back at the noise of each step (as
RePaint does for pictures), and the model invents the rest. The model here is a tiny random stand-in. CPU, seconds.

Run: python examples/02_memory_in_your_loop.py
"""

import torch

from mirage import LatentSpatialMemory
from mirage.geometry import Camera, DepthMap, pan
from mirage.models.tiny import tiny_world

theirs = tiny_world()  # your pipeline: its transformer and scheduler are stock classes of diffusers
memory = LatentSpatialMemory(channels=48)                                                            # memory: 1
views = pan(Camera.looking(horizontal_fov=65, aspect=12 / 8), 4, degrees=36)
for camera in views.split(1):
    known = memory.read(camera, (8, 12))                                                             # memory: 2
