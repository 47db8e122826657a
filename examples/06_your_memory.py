"""A memory of your own: whatever reads and writes can be given to a session. This one keeps whole frames and shows the
one whose camera was nearest, unmoved: a poor memory, in twenty lines, to compare with.

Run: python examples/06_your_memory.py [MODEL]
"""

import sys

import torch

from mirage import Camera, DepthMap, LatentSpatialMemory, Readout, Scene, Session, load_world_model
from mirage.geometry.trajectory import PRESETS
from mirage.memory.baselines.nothing import NoMemory


class NearestFrame(NoMemory):
    """Keeps latents with their depth and camera. `NoMemory` has those parts of the protocol that do nothing here."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.frames: list[tuple[torch.Tensor, DepthMap, Camera]] = []

    def write(self, latents, depth, camera, *, keep=None):
        self.frames = [*self.frames, *((latents[t], depth[t], camera[t]) for t in range(len(latents)))]
        return latents[:, 0].numel()

    def read(self, camera, grid):
        holes = Readout.holes(len(camera), self.channels, grid)
        if not self.frames:
            return holes
        near = [min(self.frames, key=lambda kept: float((kept[2].center - one.center).norm())) for one in camera]
        z = torch.stack([depth.z for _, depth, _ in near])
        known = torch.stack([depth.valid for _, depth, _ in near])
        return Readout(
            latents=torch.stack([latents for latents, _, _ in near]) * known[:, None],
            mask=known,
            depth=DepthMap(z, known),
            index=torch.where(known, 0, -1),
            frame=holes.frame,
            offset=holes.offset,
        )

    def snapshot(self):
        return self.frames

    def restore(self, snapshot):
        self.frames = snapshot

    def __len__(self):
        return sum(latents[0].numel() for latents, _, _ in self.frames)


model = load_world_model(sys.argv[1] if len(sys.argv) > 1 else "mini")
scene = Scene.sample(seed=3)
start = scene.path("still_look", frames=1)[0]
path = PRESETS["pan_and_return"](start, 1 + 2 * (model.chunk_frames - 1))
truth = scene.render(path, model.size).rgb
for name, memory in (("nearest frame", NearestFrame(model.channels)), ("latent", LatentSpatialMemory(model.channels))):
    session = Session(model, truth[0], camera=path[0], prompt=scene.caption, memory=memory)
    video = torch.cat([chunk.frames for chunk in session.follow(path)])
    error = (video - truth).square().mean((1, 2, 3))
    psnr = -10 * torch.log10(error)
    print(f"{name:>13}: {psnr[len(psnr) // 2]:.1f} dB half-way, {psnr[-4:].mean():.1f} dB on revisit")
