"""The memory alone, inside somebody else's diffusers loop: re-noise what is known, let the model invent the rest.

The loop below is any text-to-image loop of diffusers; its model is a stand-in, tiny and random, so it invents noise.
What belongs to the memory are four lines, marked. At each step the known cells are put back, at the noise of the step,
so the model continues what is there (as RePaint does for pictures); a hole is left to it. CPU, seconds.

Run: python examples/02_memory_in_your_loop.py
"""

import torch

from mirage import LatentSpatialMemory
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.trajectory import pan
from mirage.models.tiny import tiny_world

GRID = (8, 12)
theirs = tiny_world()  # your pipeline: theirs.transformer and theirs.scheduler are stock classes of diffusers
transformer, scheduler = theirs.transformer, theirs.scheduler
words = torch.zeros(1, 16, 32)  # what your text encoder says
generator = torch.Generator().manual_seed(0)
memory = LatentSpatialMemory(channels=48)                                                            # memory: 1
views = pan(Camera.looking(horizontal_fov=65, aspect=GRID[1] / GRID[0]), 4, degrees=36)

change = 0.0  # of what was known, over all views
with torch.no_grad():
    for view in range(len(views)):
        camera = views[view:view + 1]
        known = memory.read(camera, GRID)                                                            # memory: 2
        noise = torch.randn(1, 48, 1, *GRID, generator=generator)
        latents, clean, mask = noise, known.latents[:, :, None], known.mask[:, None, None]
        scheduler.set_timesteps(4)
        for step, time in enumerate(scheduler.timesteps):
            velocity = transformer(latents, timestep=time[None], encoder_hidden_states=words, return_dict=False)[0]
            latents = scheduler.step(velocity, time, latents, return_dict=False)[0]
            sigma = scheduler.sigmas[step + 1]
            latents = torch.where(mask, (1 - sigma) * clean + sigma * noise, latents)                # memory: 3
        # your depth estimator; here what is known, and a wall three units away where nothing is
        depth = DepthMap(torch.where(known.mask, known.depth.z, 3.0))
        added = memory.write(latents[:, :, 0], depth, camera)                                        # memory: 4
        change = max(change, ((latents[:, :, 0] - known.latents) * known.mask[:, None]).abs().max().item())
        print(f"view {view}: {known.mask.float().mean():.0%} was known and was kept, {added} points are new")
