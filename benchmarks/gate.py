"""What the write gate costs the picture: latents read from a memory of other views of a place, decoded.

    python benchmarks/gate.py [scenes] [kinect] [stills]        # a table each; a minute of one core for each clip

The bundled autoencoder, 192x256 -> 24x32. Some latents are written, others read; cells that are known stand among the
true latents of the rest, and what is decoded is compared with the true latents decoded.

    scenes   held-out scenes 400, 401, 402, 65 frames, true depth: the clip's second chunk read from its first
    kinect   65 real frames with their own depth, beginning at each of the numbers below: the same
    stills   five real frames, each an image of its own, read from the four others: a sequence of 7-Scenes in steps of
             20 frames, and the pairs of slambook (its poses are rough)

warp: each known cell is looked up in the frame that its point came from, bilinearly, at the place where the cell's
centre projects to, if the depth there agrees; else it is as read.
around: each known cell is the mean of what was read in it and its eight neighbours on the same surface, weighted by how
near each point fell to the cell's centre (a tent of 1.5 cells): the offsets of the readout, used, and no frames kept.
Real frames: MIRAGE_DATA, else ../shared/data. 7-Scenes has every fourth frame of a 30 Hz video, so its clips move four
times as fast as those that the autoencoder knows.
"""

import os
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from mirage.chunks import TIME_STRIDE
from mirage.evaluation.metrics import psnr
from mirage.evaluation.scenes7 import View, load_view
from mirage.formats.cameras import load_cameras
from mirage.formats.depth import cut_depth, load_depth
from mirage.formats.image import fit_image, load_image
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.grid import cell_centers
from mirage.memory import LatentSpatialMemory, MemoryPolicy, Readout
from mirage.models.loading import load_world_model
from mirage.models.world import WorldModel
from mirage.scenes import Scene
from mirage.scenes.kinds import KINDS

DATA = Path(os.environ.get("MIRAGE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
GRID, SIZE, WRITTEN, FRAMES = (24, 32), (192, 256), 9, 65
POLICIES = {
    "spacing=1": MemoryPolicy(spacing=1.0),
    "spacing=0.5 (default)": MemoryPolicy(),
    "spacing=0.3": MemoryPolicy(spacing=0.3),
    'admit="all"': MemoryPolicy(admit="all"),
}
Scores = tuple[float, float, float, float]
"""Points in frames' worth; share of cells known; relative error of the latents there; decoded, dB."""


@dataclass(frozen=True, eq=False)
class Case:
    """Latents [T,C,h,w], their depth [T,h,w] and cameras [T]: the first `written` are remembered, the others read.
    As a `video` they are decoded in one go, else each is an image of its own."""

    latents: Tensor
    depth: DepthMap
    camera: Camera
    written: int
    video: bool


@torch.no_grad()
def scores(model: WorldModel, case: Case) -> dict[tuple[str, str], Scores]:
    """By (gate, how it is read)."""
    past, new = slice(0, case.written), slice(case.written, None)
    there, true = case.latents[new], decoded(model, case, case.latents[new])
    found = {}
    for gate, policy in POLICIES.items():
        memory = LatentSpatialMemory(model.channels, policy=policy)
        memory.write(case.latents[past], case.depth[past], case.camera[past])
        readout = memory.read(case.camera[new], GRID)
        known = readout.mask[:, None]
        for how, read in (("nearest", readout.latents), ("around", around(readout)), ("warp", warped(readout, case))):
            mixed = torch.where(known, read, there)
            error = (mixed - there).square().sum() / (known * there).square().sum()
            found[gate, how] = (
                len(memory) / (GRID[0] * GRID[1]),
                known.float().mean().item(),
                error.sqrt().item(),
                psnr(decoded(model, case, mixed), true).mean().item(),
            )
    return found


def decoded(model: WorldModel, case: Case, new: Tensor) -> Tensor:
    """Frames [F,3,H,W] of latents [N,C,h,w] that follow the written ones."""
    if case.video:
        return model.decode(torch.cat([case.latents[: case.written], new]))[-TIME_STRIDE * len(new) :]
    return torch.cat([model.decode(one[None]) for one in new])


def around(readout: Readout) -> Tensor:
    """What is known of `readout`, resampled at the centres of its cells: [N,C,h,w]."""
    h, w = GRID
    latents, offset, z, mask = (
        pad(x.float(), (1, 1, 1, 1), value=1.0)
        for x in (readout.latents, readout.offset, readout.depth.z, readout.mask)
    )
    mask[:, [0, -1]], mask[:, :, [0, -1]] = 0, 0
    total, summed = 1e-9, torch.zeros_like(readout.latents)
    for i in range(3):
        for j in range(3):
            there = (..., slice(i, i + h), slice(j, j + w))
            right, down = offset[:, 0][there] + j - 1, offset[:, 1][there] + i - 1
            near = (1 - right.abs() / 1.5).clamp_min(0) * (1 - down.abs() / 1.5).clamp_min(0)
            weight = near * mask[there] * ((z[there] / readout.depth.z).log().abs() < 0.05)
            summed, total = summed + weight[:, None] * latents[there], total + weight[:, None]
    return summed / total


def warped(readout: Readout, case: Case) -> Tensor:
    """What is known of `readout`, looked up in the latents of the frames it came from: [N,C,h,w]."""
    result = readout.latents.clone()
    camera = case.camera[case.written :]
    centers = cell_centers(GRID).expand(len(camera), *GRID, 2)
    points = camera.unproject(centers, readout.depth.z)
    z_or_none = case.depth.z.masked_fill(~case.depth.valid, torch.inf)  # beside a hole nothing agrees
    for j in range(case.written):
        t, row, column = (readout.frame == j).nonzero().unbind(-1)
        uv, z = case.camera[j].project(points[t, row, column])
        at = (2 * uv - 1)[None, :, None]
        there = rearrange(
            grid_sample(case.latents[j][None], at, align_corners=False, padding_mode="border"), "1 c k 1 -> k c"
        )
        seen = grid_sample(z_or_none[j][None, None], at, align_corners=False, padding_mode="border").flatten()
        agrees = ((z / seen - 1).abs() < 0.05) & ((uv >= 0) & (uv <= 1)).all(-1)
        result[t[agrees], :, row[agrees], column[agrees]] = there[agrees]
    return result


# -- what is read ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def scenes(model: WorldModel) -> Iterator[Case]:
    for seed in (400, 401, 402):
        scene = Scene.sample(seed)
        path = scene.path(KINDS[seed % len(KINDS)], FRAMES, seed=seed)
        latents = model.encode(scene.render(path, SIZE).rgb).float()
        yield Case(latents, scene.render(path[::TIME_STRIDE], GRID).depth, path[::TIME_STRIDE], WRITTEN, video=True)


@torch.no_grad()
def kinect(model: WorldModel) -> Iterator[Case]:
    for first in (0, 120, 240):
        views = [scene(number) for number in range(first, first + TIME_STRIDE * FRAMES, TIME_STRIDE)]
        latents = model.encode(torch.stack([view.image for view in views])).float()
        yield Case(latents, *shot(views[::TIME_STRIDE]), WRITTEN, video=True)


@torch.no_grad()
def stills(model: WorldModel) -> Iterator[Case]:
    for views in (*([scene(first + 20 * i) for i in range(5)] for first in (0, 100, 200, 300, 400)), slambook()):
        latents = torch.cat([model.encode(view.image[None]).float() for view in views])
        every = Case(latents, *shot(views), len(views) - 1, video=False)
        for last in range(len(views)):
            order = [i for i in range(len(views)) if i != last] + [last]
            yield replace(every, latents=latents[order], depth=every.depth[order], camera=every.camera[order])


def scene(number: int) -> View:
    """A frame of 7-Scenes."""
    folder = DATA / "rgbd_7scenes"
    return load_view(folder, number, load_cameras(folder)[number // TIME_STRIDE], SIZE)


def slambook() -> list[View]:
    """The five pairs of slambook's chapter 5."""
    folder = DATA / "rgbd_slambook" / "ch5"
    K = torch.tensor([[518.0, 0, 325.5], [0, 519.0, 253.5], [0, 0, 1]])
    lens = Camera.from_pixels(torch.eye(4), K, (480, 640), pixel_centers="integer").intrinsics
    cameras, views = load_cameras(folder / "pose.txt", intrinsics=lens), []
    for i in range(1, 6):
        image, camera = fit_image(load_image(folder / f"color/{i}.png"), cameras[i - 1], SIZE)
        views.append(View(image, cut_depth(load_depth(folder / f"depth/{i}.pgm"), SIZE).resized(SIZE), camera))
    return views


def shot(views: list[View]) -> tuple[DepthMap, Camera]:
    """Depth [T,h,w] on the grid and cameras [T] of views."""
    depth = DepthMap(torch.stack([view.depth.z for view in views]), torch.stack([view.depth.valid for view in views]))
    return depth.resized(GRID), Camera.concatenate([view.camera[None] for view in views])


if __name__ == "__main__":
    torch.set_num_threads(1)
    model = load_world_model("mini")
    sources: dict[str, Callable[[WorldModel], Iterator[Case]]] = {"scenes": scenes, "kinect": kinect, "stills": stills}
    for name in sys.argv[1:] or sources:
        rows = [*map(partial(scores, model), sources[name](model))]
        print(f"{name}: {len(rows)}\n{'gate':<24}{'read':<10}{'frames':>8}{'known':>8}{'error':>8}{'dB':>8}{'+-':>7}")
        for gate, how in rows[0]:
            means = map(statistics.mean, zip(*(row[gate, how] for row in rows), strict=True))
            spread = statistics.stdev(row[gate, how][-1] for row in rows)
            print(
                f"{gate:<24}{how:<10}" + "{:>8.1f}{:>8.1%}{:>8.3f}{:>8.2f}".format(*means) + f"{spread:>7.2f}",
                flush=True,
            )
