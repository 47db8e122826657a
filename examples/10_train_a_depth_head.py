"""Train a depth head: latents in, depth out, so that writing to the memory decodes nothing. A few seconds' worth of the
recipe that made the bundled one, in a loop that is all here; `mirage train` does it properly, and on clips of your own.

Run: python examples/10_train_a_depth_head.py [MODEL [STEPS]]
"""

import sys

import torch

from mirage import Camera, Scene, load_world_model
from mirage.geometry.depthmap import DepthMap
from mirage.models.depth_head import LatentDepthHead, cell_slopes

model = load_world_model(sys.argv[1] if len(sys.argv) > 1 else "mini")
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 80
grid = (model.size[0] // model.stride, model.size[1] // model.stride)


def views(seeds: range) -> tuple[torch.Tensor, Camera, DepthMap]:
    """One view of each scene: latents [N,C,h,w], camera [N], depth [N,h,w]."""
    cameras, latents, depths = [], [], []
    for seed in seeds:
        scene = Scene.sample(seed)
        camera = scene.path("still_look", frames=1, seed=seed)
        rendered = scene.render(camera, model.size)
        latents.append(model.encode(rendered.rgb))
        depths.append(rendered.depth.resized(grid))
        cameras.append(camera)
    z, valid = torch.cat([depth.z for depth in depths]), torch.cat([depth.valid for depth in depths])
    return torch.cat(latents), Camera.concatenate(cameras), DepthMap(z, valid)


train, test = views(range(1_000_000, 1_000_024)), views(range(8))  # training seeds begin at 1,000,000
torch.manual_seed(0)
head = LatentDepthHead(model.channels, hidden=32)
optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3)


def log_error(latents: torch.Tensor, camera: Camera, depth: DepthMap) -> torch.Tensor:
    """Mean absolute error of log depth where there is a surface."""
    single = torch.ones(len(latents), dtype=torch.bool)  # each latent stands for one frame
    log_depth, _ = head(latents, cell_slopes(camera, grid), single)
    return (log_depth - depth.z.log())[depth.valid].abs().mean()


with torch.no_grad():
    before = log_error(*test)
for step in range(steps):
    loss = log_error(*train)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step}: {loss.item():.3f}")
with torch.no_grad():
    after = log_error(*test)
print(f"error of log depth in held-out scenes: {before:.3f} before, {after:.3f} after")
head.save_pretrained("depth_head")  # put it into a model's folder, or model.register_modules(depth_head=head)
