"""How fast is the memory, and against what: the figures behind `mirage bench memory` and benchmarks/memory.py.

`N` points, 9 cameras (one chunk), 44 x 80 cells, 48 channels, features of unit variance, in a 10 x 8 x 3 m room with 14
boxes that a camera wanders and revisits. One thread; the contenders take turns, and ratios are of one turn each, since
the machine may have other work; for the same reason milliseconds are of processor time. The published algorithm is
restated in published.py.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

from mirage.depth.freespace import seen_through
from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.pose import exp_rotation, look_at, make_pose, rotation_about
from mirage.geometry.trajectory import dolly
from mirage.memory.baselines.published import PublishedCloud
from mirage.memory.memory import LatentSpatialMemory
from mirage.memory.points import PAGE
from mirage.memory.policy import PUBLISHED, MemoryPolicy
from mirage.memory.projection.zbuffer import NEAR, Backend, projection, twin, visible_pages

GRID, CHANNELS, CHUNK = (44, 80), 48, 9
POINTS = (31_680, 316_800, 3_168_000)
LENS = torch.tensor([62.5 / GRID[1], 62.5 / GRID[0], 0.5, 0.5])
PAPER = MemoryPolicy(admit="all", splat="cell", front=0.0)
"""What the published memory does, by our code: like for like."""


SETTINGS = {"published settings": replace(PUBLISHED, lift="center"), "default policy": MemoryPolicy()}
"""The same points under both: what the published memory does, and ours with footprints and the write gate. Half a cell
aside, as published, takes no time, but then the two would know different places."""


def run(
    points: tuple[int, ...] = POINTS, *, repeats: int = 7, backends: tuple[Backend, ...] = ("numba", "torch")
) -> dict[str, Any]:
    """Everything, as plain numbers. `points` are numbers of points, rounded up to whole chunks of 31,680.

    read: of one chunk, by settings and backend, against the published read. With it: how many points are asked per
    second, the bytes of positions, features and output really touched per second, and how many times as long it takes
    as one streaming read of all positions. write: one chunk into N points, at a place that the memory knows, against
    the published write; with the default policy it is gated. seen_through: what earlier frames looked through, of one
    chunk. hole_share_2x: share of the cells of seen surface that stay holes when the camera moves twice as close.
    """
    if not points or min(points) < 1 or repeats < 1:
        raise InputError(f"numbers of points and of repeats are above 0, got {list(points)} and {repeats}")
    for backend in backends:
        twin(backend)  # a package that is missing is said before the points are made
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        reads, writes = [], []
        for n in points:
            memory, published = filled(n, policy=SETTINGS["published settings"])
            memories = {name: _under(policy, memory) for name, policy in SETTINGS.items()}
            reads += _reads(memories, published, repeats, backends)
            writes += _writes(memories, published, repeats)
        return {
            "read": reads,
            "write": writes,
            "seen_through": [_seen_through(frames, repeats) for frames in (CHUNK, 96)],
            "hole_share_2x": hole_shares(),
            "environment": environment(),
        }
    finally:
        torch.set_num_threads(threads)


def _reads(
    memories: dict[str, LatentSpatialMemory], published: PublishedCloud, repeats: int, backends: tuple[Backend, ...]
) -> list[dict[str, Any]]:
    camera = wander(CHUNK + 4)[4:]
    position = published.position.T.contiguous()
    asked: list[tuple[str, Backend]] = [(settings, backend) for backend in backends for settings in memories]
    contenders: dict[Any, Callable[[], object]] = {
        (settings, backend): partial(memories[settings].read, camera, GRID, backend=backend)
        for settings, backend in asked
    }
    contenders |= {"published": lambda: published.read(camera, GRID), "stream": position.sum}
    times = turns(contenders, repeats)
    rows = []
    for settings, backend in asked:
        memory, ms = memories[settings], times[settings, backend]
        known = int(memory.read(camera, GRID).mask.sum())
        seen = int(visible_pages(memory.cloud, projection(camera, GRID), GRID, NEAR).sum()) * PAGE
        feature = memory.state()[0]["feature"].element_size()
        touched = 12 * seen + feature * CHANNELS * known + 4 * CHANNELS * camera.shape.numel() * GRID[0] * GRID[1]
        middle = statistics.median(ms)
        rows.append(
            {
                "points": len(memory),
                "settings": settings,
                "backend": backend,
                **against(ms, times["published"]),
                "points_per_s": 1e3 * len(memory) * CHUNK / middle,
                "bytes_per_s": 1e3 * touched / middle,
                "times_stream": middle / statistics.median(times["stream"]),
            }
        )
    return rows


def _writes(memories: dict[str, LatentSpatialMemory], published: PublishedCloud, repeats: int) -> list[dict[str, Any]]:
    """All start each turn from the same N points; taking a chunk back is not timed."""
    camera = wander(CHUNK + 4)[4:]
    latents, depth, points = torch.randn(CHUNK, CHANNELS, *GRID), room_depth(camera), len(published.position)
    stores = {**memories, "published": published}
    for memory in memories.values():  # room for one more chunk: doubling happens once in N writes
        take_back = _before(memory)
        memory.write(latents, depth, camera)
        take_back()
    times: dict[str, list[float]] = {name: [] for name in stores}
    for turn in range(repeats + 1):
        for name, store in stores.items():
            take_back = _before(store)
            start = time.process_time()
            store.write(latents, depth, camera)
            taken = 1e3 * (time.process_time() - start)
            take_back()
            if turn:
                times[name].append(taken)
    return [{"points": points, "settings": name, **against(times[name], times["published"])} for name in memories]


def _seen_through(frames: int, repeats: int) -> dict[str, Any]:
    """A chunk in the middle of a walk, of which `frames` earlier frames are asked."""
    path = there_and_back(11 * CHUNK + 2 * frames)
    past, now = path[: frames + CHUNK][-frames - CHUNK : -CHUNK], path[frames : frames + CHUNK]
    depth, before = room_depth(now), (room_depth(past), past)
    ms = turns({"": lambda: seen_through(depth, now, past=before)}, repeats)[""]
    return {"frames": frames, "cells": depth.z.numel(), "ms": statistics.median(ms), "least": min(ms), "most": max(ms)}


def against(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Milliseconds of both, medians, and how many times faster ours is: median, least and most of one turn each."""
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return {
        "ms": statistics.median(ours),
        "published_ms": statistics.median(theirs),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
    }


def _before(store: LatentSpatialMemory | PublishedCloud) -> Callable[[], None]:
    """What takes a write back."""
    if isinstance(store, LatentSpatialMemory):
        return partial(store.restore, store.snapshot())
    position, feature = store.position, store.feature

    def take_back() -> None:
        store.position, store.feature = position, feature

    return take_back


def _under(policy: MemoryPolicy, memory: LatentSpatialMemory) -> LatentSpatialMemory:
    """The same points under another policy."""
    return LatentSpatialMemory.from_state(memory.state()[0], {"channels": CHANNELS, "policy": asdict(policy)})


def hole_shares() -> dict[str, float]:
    """One frame of a wall, seen from half as far: share of cells that stay holes, per splat."""
    start = Camera.looking(horizontal_fov=65, aspect=GRID[1] / GRID[0])
    near = dolly(start, 2, distance=1.5)[1:]
    shares = {}
    for splat in ("cell", "footprint"):
        memory = LatentSpatialMemory(1, policy=MemoryPolicy(splat=splat))
        memory.write(torch.zeros(1, 1, *GRID), DepthMap(torch.full((1, *GRID), 3.0)), start[None])
        shares[splat] = 1 - memory.coverage(near, GRID).item()
    return shares


def environment() -> dict[str, Any]:
    """What the figures depend on."""

    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {
        "threads": 1,
        "clock": "processor time, interleaved turns",
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "torch": torch.__version__,
        "numba": installed("numba"),
        "triton": installed("triton"),
        "load": os.getloadavg()[0],
    }


def table(result: dict[str, Any]) -> str:
    """The result of `run` for people."""

    def times(row: dict[str, Any]) -> str:
        said = f"{row['ms']:>9.2f}{row['published_ms']:>11.1f}{row['ratio']:>8.1f}x"
        return f"{said}  ({row['least']:.1f} to {row['most']:.1f})"

    heads = f"{'ms':>9}{'published':>11}{'ratio':>9}"
    lines = [f"{'points':>10}  {'read of 9 cameras':<26}{heads}"]
    lines += [f"{r['points']:>10,}  {r['settings'] + ', ' + r['backend']:<26}{times(r)}" for r in result["read"]]
    lines += ["", f"{'points':>10}  {'write of 9 frames':<26}{heads}"]
    lines += [f"{r['points']:>10,}  {r['settings']:<26}{times(r)}" for r in result["write"]]
    lines += ["", f"{'frames':>10}  {'seen through, a chunk':<26}{'ms':>9}"]
    lines += [
        f"{r['frames']:>10,}  {'':<26}{r['ms']:>9.2f}  ({r['least']:.1f} to {r['most']:.1f})"
        for r in result["seen_through"]
    ]
    holes = result["hole_share_2x"]
    lines += [
        "",
        f"holes in seen surface, twice as close: {holes['cell']:.1%} nearest cell, {holes['footprint']:.2%} footprints",
    ]
    return "\n".join(lines)


# -- the room ----------------------------------------------------------------------------------------------------


def wander(frames: int, *, speed: float = 0.02) -> Camera:
    """A camera that roams the room at eye height and comes back to where it was: [frames]."""
    s = torch.arange(frames, dtype=torch.float64) * speed
    position = torch.stack([3.2 * torch.sin(s), 0.2 * torch.sin(2.3 * s), 2.4 * torch.sin(1.37 * s + 0.8)], dim=-1)
    heading = 1.7 * s + 0.9 * torch.sin(0.61 * s)
    ahead = torch.stack([torch.sin(heading), 0.15 * torch.sin(0.9 * s), torch.cos(heading)], dim=-1)
    pose = torch.stack([look_at(p, p + a) for p, a in zip(position, ahead, strict=True)]).float()
    return Camera(pose, LENS.expand(frames, 4))


def room_depth(camera: Camera, grid: tuple[int, int] = GRID) -> DepthMap:
    """Exact z-depth [T,h,w] of the room: walls seen from inside, boxes from outside, by slabs."""
    origin, direction = camera.rays(grid)
    origin = origin[:, None, None]
    half = torch.tensor([5.0, 1.5, 4.0])
    inverse = 1 / torch.where(direction.abs() < 1e-9, 1e-9, direction)
    z = torch.maximum((half - origin) * inverse, (-half - origin) * inverse).amin(-1)
    for low, high in _boxes():
        near = torch.minimum((low - origin) * inverse, (high - origin) * inverse).amax(-1)
        far = torch.maximum((low - origin) * inverse, (high - origin) * inverse).amin(-1)
        z = torch.where((near < far) & (near > 0), torch.minimum(z, near), z)
    return DepthMap(z)


def _boxes() -> list[tuple[Tensor, Tensor]]:
    """Furniture along the walls and two pillars; y points down, the floor is at 1.5."""
    generator = torch.Generator().manual_seed(4)
    boxes = []
    for i in range(14):
        angle = torch.tensor(2 * torch.pi * i / 14)
        size = 0.3 + 0.5 * torch.rand(3, generator=generator)
        centre = torch.stack([4.4 * torch.sin(angle), 1.5 - size[1], 3.5 * torch.cos(angle)])
        boxes.append((centre - size, centre + size))
    return boxes


def there_and_back(frames: int) -> Camera:
    """Three metres forward through the room with a look to both sides, and back the same way: [frames]."""
    half = frames // 2 + 1
    s = torch.linspace(0, 1, half)
    position = torch.stack([0.8 * torch.sin(3 * s), 0 * s, 3 * s - 2.2], dim=-1)
    there = Camera(make_pose(rotation_about("y", 25 * torch.sin(2 * torch.pi * s)), position), LENS.expand(half, 4))
    return there[[min(i, frames - i) for i in range(frames)]]


def noisy_walk(
    memory: LatentSpatialMemory, *, chunks: int, chunk: int = CHUNK, noise: float = 0.01, grid: tuple[int, int] = GRID
) -> None:
    """Write a walk there and back; depth is off by `noise` per frame and half of it per cell."""
    generator = torch.Generator().manual_seed(0)
    path = there_and_back(chunks * chunk)
    for i in range(chunks):
        camera = path[i * chunk : (i + 1) * chunk]
        z = room_depth(camera, grid).z
        z = z * (1 + noise * torch.randn(chunk, 1, 1, generator=generator))
        z = z * (1 + noise / 2 * torch.randn(z.shape, generator=generator))
        memory.write(torch.zeros(chunk, memory.channels, *grid), DepthMap(z), camera)


def wrong_share(memory: LatentSpatialMemory, frames: int, grid: tuple[int, int] = GRID) -> float:
    """Of the cells known to 24 held-out views near the walk of `frames`, the share whose depth is over 5 % off."""
    generator = torch.Generator().manual_seed(7)
    path = there_and_back(frames)[torch.linspace(0, frames // 2, 24).long()]
    turn = exp_rotation(0.05 * torch.randn(24, 3, generator=generator))
    place = path.center + 0.1 * torch.randn(24, 3, generator=generator)
    views = Camera(make_pose(path.c2w[:, :3, :3] @ turn, place), path.intrinsics)
    readout = memory.read(views, grid)
    off = (readout.depth.z / room_depth(views, grid).z - 1).abs() > 0.05
    return (off & readout.mask).sum().item() / readout.mask.sum().item()


def filled(n: int, *, policy: MemoryPolicy = PAPER) -> tuple[LatentSpatialMemory, PublishedCloud]:
    """Both memories after the same walk, with at least `n` points in the published one."""
    chunks = -(-n // (CHUNK * GRID[0] * GRID[1]))
    generator = torch.Generator().manual_seed(0)
    memory, published = LatentSpatialMemory(CHANNELS, policy=policy), PublishedCloud(CHANNELS)
    path = wander(chunks * CHUNK)
    positions, features = [], []
    for i in range(chunks):
        camera = path[i * CHUNK : (i + 1) * CHUNK]
        depth, latents = room_depth(camera), torch.randn(CHUNK, CHANNELS, *GRID, generator=generator)
        memory.write(latents, depth, camera)
        one = PublishedCloud(CHANNELS)
        one.write(latents, depth, camera)
        positions.append(one.position)
        features.append(one.feature)
    published.position, published.feature = torch.cat(positions), torch.cat(features)
    return memory, published


def turns(contenders: dict[Any, Callable[[], object]], repeats: int) -> dict[Any, list[float]]:
    """Milliseconds of each, the contenders taking turns; one unmeasured turn first."""
    times: dict[Any, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats + 1):
        for name, call in contenders.items():
            start = time.process_time()
            call()
            if turn:
                times[name].append(1e3 * (time.process_time() - start))
    return times
