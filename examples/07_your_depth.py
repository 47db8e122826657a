"""A depth estimator of your own: a function of what a session has to show. It may look at latents, or ask for frames,
which are decoded only then. Its scale need not be right: the session fits it to what the memory knows.

Run: python examples/07_your_depth.py [MODEL]
"""

import sys

import torch
from torch.nn.functional import interpolate

from mirage import DepthMap, Scene, Session, load_world_model
from mirage.depth.protocol import Views
from mirage.geometry.trajectory import pan

model = load_world_model(sys.argv[1] if len(sys.argv) > 1 else "mini")
scene = Scene.sample(seed=3)


def other_scale(views: Views) -> DepthMap:
    """The scene's own depth [T,H',W'] of the asked views, on any grid; after the first view at half its scale."""
    depth = scene.render(views.camera, (48, 64)).depth
    return DepthMap(depth.z * (1.0 if views.first else 0.5), depth.valid)


def from_frames(views: Views) -> DepthMap:
    """A stand-in for a network that looks at frames [T,3,H,W] in [0, 1]: what is dark is far."""
    grey = interpolate(views.frames.mean(1, keepdim=True), size=views.grid, mode="area")[:, 0]
    return DepthMap(1 + 4 * (1 - grey))


def latent_head(views: Views) -> DepthMap:
    """The model's own, which needs no frame."""
    return model.depth(views.latents, views.camera, first=views.first)


camera = scene.path("still_look", frames=1)
image = scene.render(camera, model.size)
for estimator in (other_scale, from_frames, latent_head):
    session = Session(model, image.rgb[0], camera=camera[0], prompt=scene.caption, depth=estimator)
    (chunk,) = session.follow(pan(session.camera, model.chunk_frames, degrees=30))
    fit = chunk.alignment
    assert fit is not None
    truth = scene.render(chunk.latent_camera, (chunk.depth.z.shape[-2], chunk.depth.z.shape[-1])).depth
    ratio = torch.median(chunk.depth.z[truth.valid] / truth.z[truth.valid])
    fitted = f"multiplied by {fit.scale:.2f} to fit the memory"
    print(f"{estimator.__name__:>12}: {fitted}, then {ratio:.2f} times the true depth")
