"""Wan2.2 without training: the memory enters through the sampler. Here with a tiny random model in Wan2.2-TI2V-5B's
layout, which draws noise, but shows the one thing that matters: where the memory knows something, it comes back.

With the real weights (a GPU, see `mirage plan`):
    python examples/08_wan_guidance.py Wan-AI/Wan2.2-TI2V-5B-Diffusers
"""

import sys

from mirage import Sampler, Scene, Session, Settings, load_world_model
from mirage.geometry.trajectory import PRESETS
from mirage.memory.baselines.nothing import NoMemory
from mirage.models.tiny import tiny_world

if len(sys.argv) > 1:
    model = load_world_model(sys.argv[1])
else:
    model = tiny_world()
    model.register_modules(memory_branch=None, depth_head=None)  # a stock release has neither

real = len(sys.argv) > 1
settings = Settings(
    conditioning="guidance",
    sampler=Sampler(steps=40 if real else 4, shift=5.0, guidance=5.0 if real else 1.0),
    negative_prompt="blurred, static" if real else "",
)
scene = Scene.sample(seed=3)
start = scene.path("still_look", frames=1)[0]
path = PRESETS["pan_and_return"](start, 1 + 2 * (model.chunk_frames - 1))
image = scene.render(path[:1], model.size).rgb[0]
first = model.encode(image[None])


def depth(views):
    """A stock model has no depth head: here the scene's own depth; else an estimator, as in example 7."""
    return scene.render(views.camera, views.grid).depth


for name, memory in (("with memory", None), ("without", NoMemory(model.channels))):
    session = Session(model, image, camera=start, prompt=scene.caption, depth=depth, memory=memory, settings=settings)
    *_, last = session.follow(path)
    off = (last.latents[-1] - first[0]).norm() / first[0].norm()
    print(f"{name:>11}: on revisit the latents are off by {off:.2f} of the first frame's")
