"""The efficiency figure at the size of Wan2.2-TI2V-5B, 704x1280: memory, autoencoder and denoiser measured apart.

`T` latent frames, `C` latent channels, `h w` latent grid, `H W` pixels. Seconds are of processor time: the machine may
have other work.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from mirage.depth.freespace import seen_through
from mirage.evaluation.runner import Progress
from mirage.evaluation.speed import memory_speed
from mirage.evaluation.speed.efficiency import environment, speedups
from mirage.memory import LatentSpatialMemory, MemoryPolicy
from mirage.memory.baselines.rgb import RGBPointMemory
from mirage.rollout.settings import Settings

LEAST = 15
"""Bytes of a coloured point: three positions of four bytes, three colours of one. What a read needs beside is extra."""
_STRIDE = 16  # pixels per cell


def run_real_scale(
    decode: Callable[[Tensor], Tensor],
    encode: Callable[[Tensor], Tensor],
    block: Callable[[int], object] | None = None,
    *,
    chunks: int = 50,
    grid: tuple[int, int] = memory_speed.GRID,
    stride: int = _STRIDE,
    channels: int = memory_speed.CHANNELS,
    repeats: int = 3,
    merged: Sequence[float] = (0.01, 0.02, 0.05),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Memory, codec and denoiser at the size of Wan2.2-TI2V-5B: 704x1280, 44x80 cells, 48 channels, chunks of nine
    latents of which eight are new, in a room. Seconds are of processor time, one chunk's unless said otherwise.

    `decode`: a stream's first latents [T,C,h,w] -> frames [1 + 4 (T - 1),3,H,W]; `encode`: one frame [1,3,H,W] -> one
    latent, such as those of `models.wan22.random_autoencoder` (speed does not depend on the weights). `block`: runs one
    transformer block of the backbone over so many tokens.

    latent    read and write at chunk 1 .. `chunks` of a walk there and back, measured; and beside them what any memory
              pays for leaving out what the frames of a session's history looked through.
    rgb       lift of eight frames and rendering of nine views, measured in chunk 1, when the cloud is smallest.
              Encoding: one picture measured, times nine. Decoding: a later latent (four frames) measured on a quarter
              of the grid's sides, where it fits into memory, times sixteen; times eight. That rule is checked by a
              picture, which is measured at both sizes ("picture_over_small", 16 if cost goes by area).
    denoiser  one block measured over the tokens of a step (nine targets, one preceding frame, two references) and over
              the targets alone, as the memory branch has them; a step is thirty of the first and fifteen of the second.
    steps     `speedups`, "shown": every frame is decoded to be looked at; "unseen": nobody looks, so only rgb decodes.
    memory    bytes per frame of the walk, against rgb keeping each of these frames at `LEAST` bytes per point, and
              against clouds merged in cubes.
    """
    size = (grid[0] * stride, grid[1] * stride)

    def report(what: str, number: int) -> None:
        if progress is not None:
            progress(what, number, 5)

    report("latent memory", 0)
    rows = _latent_rows(chunks, grid, channels, repeats)
    read, write = median(row["read_s"] for row in rows), median(row["write_s"] for row in rows)
    report("rgb memory", 1)
    lift, render, points, nbytes = _rgb_chunk(grid, size, repeats)
    report("bytes", 2)
    memory = _bytes(chunks, grid, size, channels, merged)
    report("codec", 3)
    codec = _codec(decode, encode, grid, size, channels)
    rgb = {
        **codec,
        "lift_s": lift,
        "render_s": render,
        "points": points,
        "cache_bytes": nbytes,
        "conditioning_s": codec["decode_s"] + codec["encode_s"] + lift + render,
    }
    result: dict[str, Any] = {
        "setting": {
            "size": list(size),
            "grid": list(grid),
            "channels": channels,
            "latents_per_chunk": memory_speed.CHUNK,
            "clock": "processor time",
        },
        "latent": rows,
        "rgb": rgb,
        "conditioning_ratio": rgb["conditioning_s"] / read,
        "conditioning_ratio_without_codec": (lift + render) / read,
        "memory_ratio": (lift + render + rgb["encode_s"]) / (read + write),
        "memory": memory,
        "environment": environment(torch.device("cpu")),
    }
    if block is not None:
        report("one transformer block", 4)
        frame = grid[0] * grid[1] // 4  # tokens: patches of 2x2 cells
        whole, targets = (
            _seconds(partial(block, frame * frames)) for frames in (memory_speed.CHUNK + 3, memory_speed.CHUNK)
        )
        step = 30 * whole + 15 * targets
        result["denoiser"] = {"block_s": whole, "branch_block_s": targets, "step_s": step}
        own = {"latent": read + write, "rgb": rgb["encode_s"] + lift + render}
        result["steps"] = {
            "shown": speedups({name: rgb["decode_s"] + seconds for name, seconds in own.items()}, step=step),
            "unseen": speedups({"latent": own["latent"], "rgb": rgb["decode_s"] + own["rgb"]}, step=step),
        }
    return result


def _codec(
    decode: Callable[[Tensor], Tensor],
    encode: Callable[[Tensor], Tensor],
    grid: tuple[int, int],
    size: tuple[int, int],
    channels: int,
) -> dict[str, float]:
    """What a chunk takes; see `run_real_scale`. Quarters of sides are rounded to whole cells."""
    small = (max(1, grid[0] // 4), max(1, grid[1] // 4))
    area = grid[0] * grid[1] / (small[0] * small[1])
    encode_s = _seconds(lambda: encode(torch.rand(1, 3, *size)))
    picture, little, both = (
        _seconds(partial(decode, torch.randn(frames, channels, *cells)))
        for frames, cells in ((1, grid), (1, small), (2, small))
    )
    return {
        "encode_picture_s": encode_s,
        "decode_picture_s": picture,
        "picture_over_small": picture / little,
        "decode_latent_s": area * (both - little),
        "decode_s": 8 * area * (both - little),
        "encode_s": memory_speed.CHUNK * encode_s,
    }


def _latent_rows(chunks: int, grid: tuple[int, int], channels: int, repeats: int) -> list[dict[str, Any]]:
    """A walk there and back by the default policy, chunk by chunk: the first is not counted."""
    memory = LatentSpatialMemory(channels)
    generator = torch.Generator().manual_seed(0)
    path = memory_speed.there_and_back((chunks + 1) * memory_speed.CHUNK)
    everything, rows = memory_speed.room_depth(path, grid), []
    for number in range(chunks + 1):
        begin = number * memory_speed.CHUNK
        now, past = slice(begin, begin + memory_speed.CHUNK), slice(max(0, begin - Settings.history), begin)
        camera, depth = path[now], everything[now]
        latents, before = torch.randn(len(camera), channels, *grid, generator=generator), (everything[past], path[past])
        read = median(_seconds(partial(memory.read, camera, grid)) for _ in range(repeats))
        free = _seconds(partial(seen_through, depth, camera, past=before))
        write = _seconds(partial(memory.write, latents, depth, camera))
        if number:
            rows.append(
                {
                    "chunk": number,
                    "read_s": read,
                    "write_s": write,
                    "free_space_s": free,
                    "points": len(memory),
                    "cache_bytes": memory.nbytes,
                }
            )
    return rows


def _rgb_chunk(grid: tuple[int, int], size: tuple[int, int], repeats: int) -> tuple[float, float, int, int]:
    """Lift of eight frames, rendering of nine views at full resolution: seconds; points and bytes of the cloud."""
    memory = _pixels(size)
    camera = memory_speed.there_and_back(20 * memory_speed.CHUNK)[: memory_speed.CHUNK]
    depth, nothing = memory_speed.room_depth(camera, grid), torch.zeros(memory_speed.CHUNK, 1, 1, 1)
    memory.write(nothing[:1], depth[:1], camera[:1])
    lift = _seconds(lambda: memory.write(nothing[1:], depth[1:], camera[1:]))
    memory.render(camera[:1])
    render = median(_seconds(lambda: memory.render(camera)) for _ in range(repeats))
    return lift, render, len(memory), memory.nbytes


def _bytes(
    chunks: int, grid: tuple[int, int], size: tuple[int, int], channels: int, merged: Sequence[float]
) -> list[dict[str, Any]]:
    """Bytes per frame of the walk `memory_speed.noisy_walk`, by policy; and of merged clouds of ten frames along it."""
    frames = chunks * memory_speed.CHUNK
    every = LEAST * size[0] * size[1]
    rows: list[dict[str, Any]] = [{"memory": "rgb, every pixel", "bytes_per_frame": float(every), "fewer": 1.0}]
    if grid == memory_speed.GRID:
        for name, policy in (
            ("latent", MemoryPolicy()),
            ("latent, int8", MemoryPolicy(features="int8")),
            ("latent, no gate", MemoryPolicy(admit="all")),
        ):
            memory = LatentSpatialMemory(channels, policy=policy)
            memory_speed.noisy_walk(memory, chunks=chunks)
            rows.append(
                {
                    "memory": name,
                    "bytes_per_frame": memory.nbytes / frames,
                    "fewer": every * frames / memory.nbytes,
                    "points": len(memory),
                }
            )
    camera = memory_speed.there_and_back(frames)[torch.linspace(0, frames // 2, min(10, frames)).long()]
    for voxel in merged:
        cloud = _pixels(size, voxel=voxel)
        for t in range(len(camera)):
            cloud.write(torch.zeros(1, 1, 1, 1), memory_speed.room_depth(camera[t : t + 1], size), camera[t : t + 1])
        rows.append(
            {
                "memory": f"rgb, cubes of {voxel:g}",
                "bytes_per_frame": LEAST * len(cloud) / frames,
                "fewer": every * frames / (LEAST * len(cloud)),
                "points": len(cloud),
            }
        )
    return rows


def _pixels(size: tuple[int, int], *, voxel: float | None = None) -> RGBPointMemory:
    """A cloud whose codec takes no time: only what happens to pixels is looked at."""

    def decode(latents: Tensor, state: None) -> tuple[Tensor, None]:
        return torch.full((len(latents), 3, *size), 0.5), None

    return RGBPointMemory(1, decode=decode, encode=lambda frames: frames, voxel=voxel)


def _seconds(call: Callable[[], object]) -> float:
    """Of processor time: the machine may have other work."""
    started = time.process_time()
    call()
    return time.process_time() - started
