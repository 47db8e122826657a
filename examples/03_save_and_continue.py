"""Save a world, and go on another day: the memory, the last frames and where the walk stands are one file.

Run: python examples/03_save_and_continue.py [MODEL]
"""

import sys

import torch

from mirage import Scene, Session, load_world_model
from mirage.geometry.trajectory import pan

model = load_world_model(sys.argv[1] if len(sys.argv) > 1 else "mini")
frames = model.chunk_frames

scene = Scene.sample(seed=3)
camera = scene.path("still_look", frames=1)
session = Session(model, scene.render(camera, model.size).rgb[0], camera=camera[0], prompt=scene.caption)
for chunk in session.follow(pan(session.camera, frames, degrees=20)):
    print(f"first day: {len(chunk.frames)} frames, {chunk.memory_points} points")
session.save("here.safetensors")

# Another day, another process: only the file and the model are needed.
later = Session.load("here.safetensors", model)
print(f"it stands where it stood: {torch.allclose(later.camera.c2w, session.camera.c2w.float())}")
way_on = pan(later.camera, frames, degrees=-20)
(on,) = later.follow(way_on)
print(f"second day: {len(on.frames)} more frames, {on.memory_points} points")

# Nothing was lost: the walk that was never interrupted goes on alike, to rounding.
(same,) = session.follow(way_on)
print(f"as if it had not been interrupted: {torch.allclose(on.latents, same.latents, atol=1e-3)}")
