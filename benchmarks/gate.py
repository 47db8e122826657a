"""What the write gate costs the picture: a clip's second chunk, read from a memory of its first, decoded.

    python benchmarks/gate.py [CLIPS]                # a table; a minute of one core for each of 3 clips

Held-out worlds 400, 401, ..., 65 frames, true depth, the bundled autoencoder (192x256 -> 24x32): 9 latents are written,
the next 8 read. Cells that are known stand among the true latents of the rest; the decoded clip is compared with the
decoded true latents. warp: each known cell is looked up in the frame that its point came from, bilinearly, at the
place where the cell's centre projects to, if the depth there agrees; else it is as read.
"""

import statistics
import sys

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import grid_sample

from mirage.evaluation.metrics import psnr
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.grid import cell_centers
from mirage.memory import LatentSpatialMemory, MemoryPolicy, Readout
from mirage.models.world import WorldModel, load_world_model
from mirage.worlds import World
from mirage.worlds.path import KINDS

GRID, SIZE, WRITTEN, FRAMES = (24, 32), (192, 256), 9, 65
POLICIES = {"spacing=1": MemoryPolicy(spacing=1.0), "spacing=0.5 (default)": MemoryPolicy(),
            "spacing=0.3": MemoryPolicy(spacing=0.3), 'admit="all"': MemoryPolicy(admit="all")}
Scores = tuple[float, float, float]
"""Points in frames' worth; relative error of the latents that are known; decoded, dB."""


@torch.no_grad()
def clip(model: WorldModel, seed: int) -> dict[tuple[str, str], Scores]:
    """Scores by (gate, how it is read)."""
    world = World.sample(seed)
    path = world.path(KINDS[seed % len(KINDS)], FRAMES, seed=seed)
    latents = model.encode(world.render(path, SIZE).rgb).float()
    camera, depth = path[::4], world.render(path[::4], GRID).depth
    past, new = slice(0, WRITTEN), slice(WRITTEN, None)
    true = model.decode(latents)[1 + 4 * (WRITTEN - 1):]
    found = {}
    for gate, policy in POLICIES.items():
        memory = LatentSpatialMemory(model.channels, policy=policy)
        memory.write(latents[past], depth[past], camera[past])
        readout = memory.read(camera[new], GRID)
        known = readout.mask[:, None]
        read = {"nearest": readout.latents,
                "warp": warped(readout, camera[new], latents[past], depth[past], camera[past])}
        for how, there in read.items():
            mixed = torch.where(known, there, latents[new])
            decoded = model.decode(torch.cat([latents[past], mixed]))[-len(true):]
            error = (mixed - latents[new]).square().sum() / (known * latents[new]).square().sum()
            found[gate, how] = (len(memory) / (GRID[0] * GRID[1]), error.sqrt().item(),
                                psnr(decoded, true).mean().item())
    return found


def warped(readout: Readout, camera: Camera, latents: Tensor, depth: DepthMap, source: Camera) -> Tensor:
    """What is known of `readout`, looked up in `latents` [J,C,h,w] of the frames it came from."""
    result = readout.latents.clone()
    centers = cell_centers(GRID).expand(len(camera), *GRID, 2)
    points = camera.unproject(centers, readout.depth.z.masked_fill(~readout.mask, 1.0))
    for j in range(len(latents)):
        t, row, column = (readout.frame == j).nonzero().unbind(-1)
        uv, z = source[j].project(points[t, row, column])
        at = (2 * uv - 1)[None, :, None]
        there = rearrange(grid_sample(latents[j][None], at, align_corners=False, padding_mode="border"),
                          "1 c k 1 -> k c")
        seen = grid_sample(depth.z[j][None, None], at, align_corners=False, padding_mode="border").flatten()
        agrees = ((z / seen - 1).abs() < 0.05) & ((uv >= 0) & (uv <= 1)).all(-1)
        result[t[agrees], :, row[agrees], column[agrees]] = there[agrees]
    return result


if __name__ == "__main__":
    torch.set_num_threads(1)
    model = load_world_model("mini")
    clips = [clip(model, 400 + i) for i in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3)]
    print(f"{'gate':<24}{'read':<10}{'frames':>8}{'error':>8}{'dB':>8}")
    for (gate, how) in clips[0]:
        scores = map(statistics.mean, zip(*(one[gate, how] for one in clips), strict=True))
        print(f"{gate:<24}{how:<10}" + "{:>8.1f}{:>8.3f}{:>8.1f}".format(*scores), flush=True)
