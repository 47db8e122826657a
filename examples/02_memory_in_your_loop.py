"""The memory alone, inside somebody else's diffusers loop: what is known is put back at the noise of every step, as
RePaint does for pictures, and the model invents the rest (noise: it is a tiny random stand-in). CPU, seconds.

Run: python examples/02_memory_in_your_loop.py
"""

import torch

from mirage import LatentSpatialMemory
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.trajectory import pan
from mirage.models.tiny import tiny_world

theirs = tiny_world()  # your pipeline: its transformer and scheduler are stock classes of diffusers
words = torch.zeros(1, 16, 32)  # what your text encoder says
memory = LatentSpatialMemory(channels=48)  # memory: 1
for camera in pan(Camera.looking(horizontal_fov=65, aspect=12 / 8), 4, degrees=36)[:, None]:
    known = memory.read(camera, (8, 12))  # memory: 2
    latents = noise = torch.randn(1, 48, 1, 8, 12)
    theirs.scheduler.set_timesteps(4)
    for time, sigma in zip(theirs.scheduler.timesteps, theirs.scheduler.sigmas[1:], strict=True):
        with torch.no_grad():
            velocity = theirs.transformer(latents, time[None], words, return_dict=False)[0]
        latents = theirs.scheduler.step(velocity, time, latents, return_dict=False)[0]
        there = (1 - sigma) * known.latents[:, :, None] + sigma * noise
        latents = torch.where(known.mask[:, None, None], there, latents)  # memory: 3
    # your depth estimator; here what is known, and a wall three units away where nothing is
    depth = DepthMap(torch.where(known.mask, known.depth.z, 3.0))
    added = memory.write(latents[:, :, 0], depth, camera)  # memory: 4
    print(f"{known.mask.float().mean():.0%} of the view was known and is kept, {added} points are new")
