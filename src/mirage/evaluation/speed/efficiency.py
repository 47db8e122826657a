"""Where the time of a walk goes and what its memory holds: the efficiency figure, stage by stage and chunk by chunk.

`T` latent frames, `C` latent channels, `h w` latent grid, `H W` pixels. Seconds are of wall time; on a GPU every stage
waits for the work it asked for. The stages of a chunk:

    project   the z-buffer and the gather; of an rgb memory, the z-buffer and the colours
    encode    what an rgb memory drew, through the encoder (0 for others)
    condition references and the condition
    denoise, depth
    decode    new latents to pixels. Counted once: an rgb memory must, and what it decoded can be shown
    static    what may not enter: what was seen through, and what moves
    lift      the write, without the decoding

`conditioning` is the way from the last chunk's latents to the next one's condition: project + encode + condition, and
for an rgb memory decode + lift too, since it cannot condition without them. `memory` is what a memory adds to a chunk
that is shown anyway: project + encode + condition + static + lift.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median, quantiles
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

from mirage.depth.freespace import seen_through
from mirage.errors import InputError
from mirage.evaluation.speed import memory_speed
from mirage.formats.picture import plot_lines
from mirage.geometry.camera import Camera
from mirage.memory import LatentSpatialMemory, MemoryPolicy
from mirage.memory.baselines.rgb import RGBPointMemory
from mirage.models.world import WorldModel
from mirage.rollout.memories import make_memory
from mirage.rollout.session import Session
from mirage.rollout.settings import Settings
from mirage.sampler import Sampler
from mirage.scenes import Scene

P = ParamSpec("P")
R = TypeVar("R")

STAGES = ("project", "encode", "condition", "denoise", "depth", "decode", "static", "lift")
OWN = ("project", "encode", "condition", "static", "lift")
"""The stages in which memories differ; the others do the same work whatever the memory."""
STEPS = (40, 20, 8, 4)
PUBLISHED = 10.57
"""As published (arXiv 2606.09828): end to end, "up to", one H100, 40 steps, an RGB pipeline that is not named."""
LEAST = 15
"""Bytes of a coloured point: three positions of four bytes, three colours of one. What a read needs beside is extra."""
_STRIDE = 16  # pixels per cell of the real scale


def run_efficiency(
    model: WorldModel,
    *,
    memories: Sequence[str] = ("latent", "rgb"),
    chunks: int = 5,
    steps: int | None = None,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Real sessions along one path there and back in a procedural world, the memories taking turns chunk by chunk.

    One chunk more is walked first and not counted. Returns {"stages": {MEMORY: {STAGE: {median, q1, q3}}} in seconds
    per new frame, "chunks": {MEMORY: [seconds of each stage and of all, points, cache_bytes, ...]}, "steps": as
    `decomposition` has it, "setting", "environment"}.
    """
    if chunks < 1 or not memories or (steps is not None and steps < 1):
        raise InputError(
            "efficiency is measured over at least one chunk, one memory and one step, got "
            f"{chunks} chunks, {len(memories)} memories and {steps} steps"
        )
    steps = steps or model.sampler.steps or 1
    scene = Scene.sample(seed)
    new = model.chunk_frames - 1
    path = scene.path("there_and_back", 1 + (chunks + 1) * new, seed=seed)
    image = scene.render(path[:1], model.size).rgb[0]
    walks = {name: _Walk(name, model, image, path[0], scene.caption, steps) for name in memories}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in memories}
    for number in range(chunks + 1):
        for name, walk in walks.items():
            if progress is not None:
                progress(f"chunk {number} of {chunks}, {name}", number, chunks + 1)
            row = walk.step(path[1 + number * new : 1 + (number + 1) * new])
            if number:
                rows[name].append({"chunk": number, **row})
    measured = (*STAGES, "conditioning", "memory", "end_to_end")
    return {
        "stages": {
            name: {stage: _spread([row[stage] / new for row in taken]) for stage in measured}
            for name, taken in rows.items()
        },
        "chunks": rows,
        "steps": decomposition(rows, steps=steps),
        "setting": {
            "size": list(model.size),
            "new_frames_per_chunk": new,
            "steps": steps,
            "unit": "seconds per new frame in stages, per chunk in chunks",
        },
        "environment": environment(model.vae.device),
    }


class _Walk:
    """A session and what its memory's codec took."""

    def __init__(self, name: str, model: WorldModel, image: Tensor, camera: Camera, prompt: str, steps: int) -> None:
        memory = make_memory(name, model)
        self.encoding, self.decoding = _Stopwatch(model.vae.device), _Stopwatch(model.vae.device)
        self.decodes = isinstance(memory, RGBPointMemory)
        if isinstance(memory, RGBPointMemory):
            memory.encode = self.encoding.timing(memory.encode)
            memory.decode = self.decoding.timing(memory.decode)
        self.session = Session(
            model,
            image,
            camera=camera,
            prompt=prompt,
            memory=memory,
            settings=Settings(sampler=Sampler(steps=steps), draft=False),
        )  # the same work for all of them

    def step(self, camera: Camera) -> dict[str, Any]:
        """The next chunk: seconds by stage, and what the memory holds after it."""
        self.encoding.seconds = self.decoding.seconds = 0.0
        if torch.cuda.is_initialized():
            torch.cuda.reset_peak_memory_stats()
        chunk = self.session.step(camera)
        if not self.decodes:
            _ = chunk.frames
        took = chunk.timings
        row = {
            "project": took["read"] - self.encoding.seconds,
            "encode": self.encoding.seconds,
            "condition": took["condition"],
            "denoise": took["denoise"],
            "depth": took["depth"],
            "decode": self.decoding.seconds if self.decodes else took["decode"],
            "static": took["static"],
            "lift": took["write"] - self.decoding.seconds,
        }
        read = row["project"] + row["encode"] + row["condition"]
        peak = {"device_peak_bytes": torch.cuda.max_memory_allocated()} if torch.cuda.is_initialized() else {}
        return {
            **row,
            "conditioning": read + (row["decode"] + row["lift"] if self.decodes else 0.0),
            "memory": sum(row[stage] for stage in OWN),
            "end_to_end": sum(row.values()),
            "points": chunk.memory_points,
            "cache_bytes": chunk.memory_bytes,
            **peak,
        }


def decomposition(rows: Mapping[str, Sequence[Mapping[str, Any]]], *, steps: int) -> list[dict[str, Any]]:
    """`speedups` of what was measured, at `steps` steps. What all memories share (a denoising step, depth, decoding) is
    the median over all their chunks; what is their own is the median over their own."""
    every = [row for taken in rows.values() for row in taken]
    shared = median(row["depth"] for row in every) + median(row["decode"] for row in every)
    rest = {name: shared + median(sum(row[stage] for stage in OWN) for row in taken) for name, taken in rows.items()}
    return speedups(rest, step=median(row["denoise"] / steps for row in every))


def speedups(rest: Mapping[str, float], *, step: float) -> list[dict[str, Any]]:
    """End-to-end seconds per chunk by memory as the denoising steps fall, and how many times faster the first one is.

    `rest`: seconds per chunk of all stages but denoising; `step`: of one denoising step, which is common to all: a
    chunk of n steps takes rest + n step. The last row has no steps at all: the most that the first memory can gain.
    "steps_for_published": the n at which the gain is `PUBLISHED`; None where it never is.
    """
    first = next(iter(rest))
    table: list[dict[str, Any]] = []
    for n in (*STEPS, 0):
        whole = {name: seconds + n * step for name, seconds in rest.items()}
        table.append(
            {
                "steps": n,
                "denoise s": n * step,
                **{f"{name} s": seconds for name, seconds in whole.items()},
                **{f"over {name}": seconds / whole[first] for name, seconds in whole.items() if name != first},
            }
        )
    for name in rest:
        if name != first:
            left = rest[name] - PUBLISHED * rest[first]
            table[-1][f"steps_for_published over {name}"] = left / ((PUBLISHED - 1) * step) if left >= 0 else None
    return table


def figure(result: Mapping[str, Any]) -> Tensor:
    """Over chunks, one above the other -> [3,H,W]: seconds per new frame, the conditioning's share of them, MiB of
    cache."""
    new = result["setting"]["new_frames_per_chunk"]

    def curves(value: Callable[[Mapping[str, Any]], float]) -> dict[str, tuple[list[float], list[float]]]:
        lines = {
            name: ([row["chunk"] for row in rows], [value(row) for row in rows])
            for name, rows in result["chunks"].items()
        }
        return {name: line for name, line in lines.items() if all(line[1])}

    return torch.cat(
        [
            plot_lines(curves(lambda row: row["end_to_end"] / new), x="chunk", y="s per new frame", title="end to end"),
            plot_lines(
                curves(lambda row: row["conditioning"] / new),
                x="chunk",
                y="s per new frame",
                log="y",
                title="conditioning: from the last chunk's latents to the next one's condition",
            ),
            plot_lines(curves(lambda row: row["cache_bytes"] / 2**20), x="chunk", y="MiB", log="y", title="cache"),
        ],
        dim=1,
    )


# -- the real scale ------------------------------------------------------------------------------------------------


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
    progress: Callable[[str, int, int], None] | None = None,
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

    def tell(what: str, number: int) -> None:
        if progress is not None:
            progress(what, number, 5)

    tell("latent memory", 0)
    rows = _latent_rows(chunks, grid, channels, repeats)
    read, write = median(row["read_s"] for row in rows), median(row["write_s"] for row in rows)
    tell("rgb memory", 1)
    lift, render, points, nbytes = _rgb_chunk(grid, size, repeats)
    tell("bytes", 2)
    memory = _bytes(chunks, grid, size, channels, merged)
    tell("codec", 3)
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
        tell("one transformer block", 4)
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


# -- helpers -------------------------------------------------------------------------------------------------------


class _Stopwatch:
    """Seconds spent in the functions it times."""

    def __init__(self, device: torch.device) -> None:
        self.seconds = 0.0
        self._device = device

    def timing(self, call: Callable[P, R]) -> Callable[P, R]:
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            self._wait()
            started = time.perf_counter()
            result = call(*args, **kwargs)
            self._wait()
            self.seconds += time.perf_counter() - started
            return result

        return timed

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def _seconds(call: Callable[[], object]) -> float:
    """Of processor time: the machine may have other work."""
    started = time.process_time()
    call()
    return time.process_time() - started


def _spread(values: Sequence[float]) -> dict[str, float]:
    low, middle, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {"median": middle, "q1": low, "q3": high}


def environment(device: torch.device) -> dict[str, Any]:
    """What the figures depend on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return {**memory_speed.environment(), "clock": "wall", "threads": torch.get_num_threads(), "device": name}
