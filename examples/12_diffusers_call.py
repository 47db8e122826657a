"""The call that users of diffusers know: pictures in, pictures out, with their names for the arguments.

Run: python examples/12_diffusers_call.py [MODEL] [STEPS]
"""

import sys

import numpy as np
import torch
from PIL import Image

from mirage import MemoryPolicy, MiragePipeline, Scene, load_world_model, save_video

name = sys.argv[1] if len(sys.argv) > 1 else "mini"
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 4
scene = Scene.sample(seed=3)
pixels = scene.render(scene.path("still_look", frames=1), (240, 320)).rgb[0]
photo = Image.fromarray((pixels.permute(1, 2, 0).numpy() * 255).astype("uint8"))

# by name, from a folder, or from the hub; frames[0] is the one video
pipe = MiragePipeline.from_pretrained(name)
out = pipe(photo, "pan_and_return", scene.caption, num_frames=17, num_inference_steps=steps, output_type="pil")
print(f"{len(out.frames[0])} pictures of {out.frames[0][0].size}; {out.session}")
save_video("diffusers_call.mp4", np.stack([np.asarray(picture) for picture in out.frames[0]]))


def report(pipe, step, timestep, tensors):
    """After each denoising step: it may change the latents, or end the call by `pipe._interrupt = True`."""
    print(f"  step {step} at {timestep}: {tuple(tensors['latents'].shape)}")
    return tensors


# from a model that is loaded already, nothing copied; everything else that a session takes goes through as well
pipe = MiragePipeline.from_pipe(load_world_model(name))
again = pipe(
    photo,
    "orbit",
    num_frames=9,
    num_inference_steps=steps,
    generator=torch.Generator().manual_seed(4),
    policy=MemoryPolicy(max_bytes=2**20),
    callback_on_step_end=report,
)
chunk = again.session.step(again.session.camera.moved(torch.eye(4))[None][[0] * 4])  # and the walk may go on
print(chunk)
