"""Your own diffusers loop, with a memory: what is known is put back at the noise of every step, as RePaint does for
pictures, and the model invents the rest (noise: it is a tiny random stand-in). First the memory alone, then with a
session, which plans a chunk, takes your latents, and does the rest: depth, scale, what may enter the memory, the video.

Run: python examples/05_your_diffusers_loop.py
"""

import torch

from mirage import Camera, DepthMap, LatentSpatialMemory, Session
from mirage.geometry.trajectory import pan
from mirage.models.tiny import tiny_world

theirs = tiny_world()  # your pipeline: its transformer and scheduler are stock classes of diffusers
words = torch.zeros(1, 16, 32)  # what your text encoder says


@torch.no_grad()
def loop(known: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Latents [T,C,h,w] that are `known` [T,C,h,w] where `mask` [T,h,w] says so. Nothing of Mirage is in here."""
    known, mask = known.transpose(0, 1)[None], mask[None, None]  # [1,C,T,h,w]
    latents = noise = torch.randn(known.shape)
    theirs.scheduler.set_timesteps(4)
    for time, sigma in zip(theirs.scheduler.timesteps, theirs.scheduler.sigmas[1:], strict=True):
        velocity = theirs.transformer(latents, time[None], words, return_dict=False)[0]
        latents = theirs.scheduler.step(velocity, time, latents, return_dict=False)[0]
        latents = torch.where(mask, (1 - sigma) * known + sigma * noise, latents)
    return latents[0].transpose(0, 1)


# The memory alone.
memory = LatentSpatialMemory(channels=48)
for camera in pan(Camera.looking(horizontal_fov=65, aspect=12 / 8), 4, degrees=36)[:, None]:
    known = memory.read(camera, (8, 12))
    latents = loop(known.latents, known.mask)
    depth = DepthMap(torch.where(known.mask, known.depth.z, 3.0))  # your estimator; here a wall where nothing is known
    added = memory.write(latents, depth, camera)
    print(f"{known.mask.float().mean():.0%} of the view was known and is kept, {added} points are new")

# With a session. A plan is pure: make as many as you like; only `accept` changes the session.
session = Session(
    theirs, torch.rand(3, 64, 96), camera=Camera.looking(aspect=3 / 2), depth=DepthMap(torch.full((8, 12), 3.0))
)
plan = session.plan(pan(session.camera, 9, degrees=10)[1:])
drawn = loop(plan.readout.latents, plan.readout.mask)
chunk = session.accept(plan, drawn[1:])  # the first latent is the last one of the chunk before
print(f"a chunk of {len(chunk.frames)} frames, {chunk.points_added} new points")
