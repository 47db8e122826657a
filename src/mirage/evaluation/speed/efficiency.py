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
from statistics import median, quantiles
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

from mirage.evaluation.options import EfficiencyOptions
from mirage.evaluation.runner import Progress
from mirage.evaluation.speed import memory_speed
from mirage.formats.picture import plot_lines
from mirage.geometry.camera import Camera
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


def run_efficiency(
    model: WorldModel,
    options: EfficiencyOptions = EfficiencyOptions(),  # noqa: B008 -- a frozen value
    *,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Real sessions along one path there and back in a procedural scene, the memories taking turns chunk by chunk.

    One chunk more is walked first and not counted. Returns {"stages": {MEMORY: {STAGE: {median, q1, q3}}} in seconds
    per new frame, "chunks": {MEMORY: [seconds of each stage and of all, points, cache_bytes, ...]}, "steps": as
    `decomposition` has it, "setting", "environment"}.
    """
    chunks, seed, steps = options.chunks, options.seed, options.steps or model.sampler.steps or 1
    scene = Scene.sample(seed)
    new = model.chunk_frames - 1
    path = scene.path("there_and_back", 1 + (chunks + 1) * new, seed=seed)
    image = scene.render(path[:1], model.size).rgb[0]
    walks = {name: _Walk(name, model, image, path[0], scene.caption, steps) for name in options.memories}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in options.memories}
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


def _spread(values: Sequence[float]) -> dict[str, float]:
    low, middle, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {"median": middle, "q1": low, "q3": high}


def environment(device: torch.device) -> dict[str, Any]:
    """What the figures depend on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return {**memory_speed.environment(), "clock": "wall", "threads": torch.get_num_threads(), "device": name}
