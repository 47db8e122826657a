"""Undo a step, and try another: a snapshot costs next to nothing, because the memory is not copied.

Run: python examples/04_undo_and_branch.py [MODEL]
"""

import sys

import torch

from mirage import Scene, Session, load_world_model
from mirage.formats.image import save_image
from mirage.formats.picture import contact_sheet
from mirage.geometry.trajectory import pan

model = load_world_model(sys.argv[1] if len(sys.argv) > 1 else "mini")
frames = model.chunk_frames

scene = Scene.sample(seed=3)
camera = scene.path("still_look", frames=1)
session = Session(model, scene.render(camera, model.size).rgb[0], camera=camera[0], prompt=scene.caption)

here = session.snapshot()
ends = {}
for name, degrees in (("left", -30), ("right", 30)):
    session.restore(here)
    (chunk,) = session.follow(pan(session.camera, frames, degrees=degrees))
    ends[name] = chunk.frames
    print(f"{name}: {chunk.points_added} points added, {chunk.memory_points} in all")

session.restore(here)
session.prompt = "a room with red walls"  # the same way with other words
(chunk,) = session.follow(pan(session.camera, frames, degrees=30))
ends["right, red"] = chunk.frames

session.restore(here)  # and back: the same step gives the same latents again
(again,) = session.follow(pan(session.camera, frames, degrees=-30))
print(f"the same branch again is the same: {torch.equal(again.frames, ends['left'])}")
save_image("branches.png", contact_sheet(ends, columns=5))
print("see branches.png")
