"""A first world: one picture, a walk there and back, a video that remembers. Also in `mirage generate`, with more care.

Run: python examples/01_first_world.py [MODEL] [VIDEO.mp4]
"""

import sys

from mirage import Scene, Session, load_world_model
from mirage.formats.video import VideoWriter
from mirage.geometry.trajectory import PRESETS

model = load_world_model(sys.argv[1] if len(sys.argv) > 1 else "mini")
video = sys.argv[2] if len(sys.argv) > 2 else "first_world.mp4"

# Any picture [3,H,W] in [0, 1] will do (mirage.formats.image.load_image); this one is of a world no model has seen.
scene = Scene.sample(seed=3)
camera = scene.path("still_look", frames=1)
image = scene.render(camera, model.size).rgb[0]

session = Session(model, image, camera=camera[0], prompt=scene.caption, seed=0)
path = PRESETS["there_and_back"](session.camera, 1 + 3 * (model.chunk_frames - 1))
with VideoWriter(video) as writer:
    for chunk in session.follow(path):
        known = chunk.readout.mask.float().mean()
        print(
            f"chunk {chunk.index}: {known:.0%} of it was known before; the memory now has {chunk.memory_points} "
            f"points in {chunk.memory_bytes / 2**10:.0f} KiB"
        )
        writer.write(chunk.frames)
print(f"see {video}")
