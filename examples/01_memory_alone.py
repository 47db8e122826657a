"""The memory alone: write one view of a room, turn the head, read what is known from there. No model, two seconds.

The features are colours here, three channels, so that one can look at them; a world model stores latents in the same
way. What was never seen is a hole in the mask (grey in the picture), not a zero.

Run: python examples/01_memory_alone.py [PICTURE.png]
"""

import sys

import torch
from torch.nn.functional import avg_pool2d

from mirage import LatentSpatialMemory, Scene
from mirage.formats.image import save_image
from mirage.formats.picture import contact_sheet
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import dolly, pan

CELL = 4  # pixels per memory cell
SIZE, GRID = (192, 256), (48, 64)

room = Scene.sample(seed=5)
first = room.path("still_look", frames=1)[0]
views = Camera.concatenate([pan(first, 4, degrees=24), dolly(first, 3, distance=0.6)[1:]])

# Write: every cell of the first view becomes a point in the world, where its depth says.
truth = room.render(views, SIZE)
colours = avg_pool2d(truth.rgb, CELL)
memory = LatentSpatialMemory(channels=3)
added = memory.write(colours[:1], truth.depth[:1].resized(GRID), views[:1])
print(f"wrote {added} points: {memory}")

# Turn and read: the nearest point in each cell, and which cells are known at all.
readout = memory.read(views, GRID)
for view, known in enumerate(readout.mask.float().mean((1, 2)).tolist()):
    print(f"view {view}: {known:.0%} known")

# A second look from the same place adds nothing: it is all there already.
print(f"writing the same view again adds {memory.write(colours[:1], truth.depth[:1].resized(GRID), views[:1])} points")

shown = torch.where(readout.mask[:, None], readout.latents, torch.full_like(readout.latents, 0.5))
words = ["written", "turned 8°", "turned 16°", "turned 24°", "0.3 m ahead", "0.6 m ahead"]
sheet = contact_sheet(
    {"what is there": colours, "what the memory knows after one look": shown},
    columns=len(views),
    captions={label: words for label in ("what is there", "what the memory knows after one look")},
)
picture = sys.argv[1] if len(sys.argv) > 1 else "memory_alone.png"
save_image(picture, sheet)
print(f"see {picture}")
