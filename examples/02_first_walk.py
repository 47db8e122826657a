"""A first walk: one picture, a path there and back, a video that remembers. Also in `mirage generate`, with more care.

Run: python examples/02_first_walk.py [MODEL [CHUNKS]]
"""

import sys

from mirage import Scene, Session, load_world_model
from mirage.formats.video import VideoWriter
from mirage.geometry.trajectory import PRESETS

model = load_world_model(sys.argv[1] if len(sys.argv) > 1 else "mini")
chunks = int(sys.argv[2]) if len(sys.argv) > 2 else 3

# Any picture [3,H,W] in [0, 1] will do (mirage.formats.image.load_image); this one is of a scene no model has seen.
scene = Scene.sample(seed=3)
camera = scene.path("still_look", frames=1)
image = scene.render(camera, model.size).rgb[0]

session = Session(model, image, camera=camera[0], prompt=scene.caption, seed=0)
path = PRESETS["there_and_back"](session.camera, 1 + chunks * (model.chunk_frames - 1))
with VideoWriter("first_walk.mp4") as writer:
    for chunk in session.follow(path):
        known = chunk.readout.mask.float().mean()
        print(
            f"chunk {chunk.index}: {known:.0%} was known, now {chunk.memory_points} points, {chunk.memory_bytes} bytes"
        )
        writer.write(chunk.frames)
print("see first_walk.mp4")
