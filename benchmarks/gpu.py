"""What a GPU makes of Wan2.2-TI2V-5B with a latent spatial memory: full size, 704x1280, random weights.

    make bench-gpu                              # or: python benchmarks/gpu.py [--chunks 3] [--steps 4]
    python benchmarks/gpu.py --tiny             # a toy model on a CPU; what needs CUDA is left out, and it says so

    walk       seconds per chunk by stage, latent memory against the published loop (rgb: decode, lift, render, encode)
    overlap    the same walk with each chunk decoded after the last one, and beside the next one
    compile    a denoising step before and after torch.compile
    zbuffer    microseconds and share of the memory bandwidth, Triton against torch
    peaks      the most memory of a walk, option by option, against `mirage plan`

Leaves gpu.json and gpu.md in --out; at full size they also become results/WEIGHTS/gpu.json, for
`python benchmarks/render.py`. Random weights are as slow as real ones; pictures mean nothing. Building needs 50 GB on
the GPU.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

import records
from mirage.evaluation.options import EfficiencyOptions
from mirage.evaluation.report import markdown_table
from mirage.evaluation.speed import efficiency, memory_speed
from mirage.files import replacing
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import PRESETS
from mirage.memory import LatentSpatialMemory
from mirage.memory.points import PAGE
from mirage.memory.projection.zbuffer import NEAR, Backend, backend_for, projection, visible_pages, zbuffer
from mirage.models.codec import Tiles
from mirage.models.fitting.budget import BUILT_IN, budget, world_of
from mirage.models.fitting.offload import Offload, place
from mirage.models.tiny import tiny_world, word_tokenizer
from mirage.models.world import WorldModel
from mirage.rollout import Session
from mirage.rollout.overlap import overlapped
from mirage.rollout.settings import Settings
from mirage.sampler import Sampler

WAYS: tuple[tuple[Offload, int | None], ...] = (
    ("none", None),
    ("none", 320),
    ("model", None),
    ("model", 320),
    ("group", None),
    ("group", 320),
)
"""Options of `mirage generate` whose peak is measured: --offload and --tile."""
COPIED = 2**30
"""Bytes of the copy that says what the memory bandwidth is."""


def main(argv: list[str]) -> int:
    """Measure and write; the exit code."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--tiny", action="store_true", help="a toy model, on a CPU where there is no GPU")
    parser.add_argument("--chunks", type=int, default=3, help="measured chunks; one more is walked first")
    parser.add_argument("--steps", type=int, default=4, help="denoising steps per chunk")
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu"))
    asked = parser.parse_args(argv)
    cuda = torch.cuda.is_available()
    if not cuda and not asked.tiny:
        print("benchmarks/gpu.py: torch finds no CUDA device; expected one, or --tiny for a toy model", file=sys.stderr)
        return 2
    device = torch.device("cuda" if cuda else "cpu")
    asked.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"command": sys.argv, "environment": efficiency.environment(device), "left_out": []}

    def tell(what: str, *_: Any) -> None:
        print(f"{time.strftime('%X')} {what}", file=sys.stderr, flush=True)

    tell("zbuffer")
    found["zbuffer"] = zbuffers((2_000,) if asked.tiny else memory_speed.POINTS, device)
    tell("a walk")
    model = random_world(device, tiny=asked.tiny)
    found["size"] = list(model.size)
    found["walk"] = efficiency.run_efficiency(
        model, EfficiencyOptions(chunks=asked.chunks, steps=asked.steps), progress=tell
    )
    tell("overlap")
    walk(model, 1, asked.steps, beside=True)  # what is done once: the second stream's memory, libraries' own choices
    found["overlap"] = [
        {"decoding": name, "s per chunk": walk(model, asked.chunks, asked.steps, beside=beside)}
        for name, beside in (("after each chunk", False), ("beside the next chunk", True))
    ]
    if cuda:
        tell("compile")
        model.compile_blocks()
        compiled = efficiency.run_efficiency(
            model, EfficiencyOptions(memories=("latent",), chunks=asked.chunks, steps=asked.steps), progress=tell
        )
        found["compile"] = [
            {"blocks": name, "s per step": step_seconds(one)}
            for name, one in (("as they are", found["walk"]), ("compiled", compiled))
        ]
        del model
        found["peaks"] = [
            peak(offload, tile, device, asked.chunks, tiny=asked.tiny, tell=tell) for offload, tile in WAYS
        ]
    else:
        found["left_out"] = ["compile", "peaks, against mirage plan", "the Triton z-buffer"]
    text = document(found)
    with replacing(asked.out / "gpu.json") as beside:
        beside.write_text(json.dumps(found, indent=1), encoding="utf-8")
    with replacing(asked.out / "gpu.md") as beside:
        beside.write_text(text, encoding="utf-8")
    if not asked.tiny:
        records.measured("gpu", "make bench-gpu", text, how="one GPU", seconds=None).save()
    print(text)
    return 0


def random_world(device: torch.device, *, tiny: bool) -> WorldModel:
    """Wan2.2-TI2V-5B with a branch of 15 blocks and a depth head, or a toy of its layout; random weights."""
    if tiny:
        model = tiny_world()
        place(networks(model), offload="none", device=device)
        return model
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = world_of(BUILT_IN, torch.bfloat16, device=device)
    model.register_modules(tokenizer=word_tokenizer(("a", "room")))
    return model


def walk(model: WorldModel, chunks: int, steps: int, *, beside: bool) -> float:
    """There and back, every frame decoded: seconds per chunk, the beginning not counted."""
    height, width = model.size
    camera = Camera.looking(aspect=width / height)
    path = PRESETS["there_and_back"](camera, 1 + chunks * (model.chunk_frames - 1))
    image = torch.rand((3, height, width), generator=torch.Generator().manual_seed(0))
    session = Session(model, image, camera=path[0], settings=Settings(sampler=Sampler(steps=steps)))
    wait(model.runs_on)
    started = time.perf_counter()
    made = session.follow(path)
    for chunk in overlapped(made, device=model.runs_on) if beside else made:
        chunk.frames.cpu()
    wait(model.runs_on)
    return (time.perf_counter() - started) / chunks


def peak(
    offload: Offload, tile: int | None, device: torch.device, chunks: int, *, tiny: bool, tell: Callable[[str], None]
) -> dict[str, Any]:
    """The most that the GPU held in a walk, one step per chunk, against the plan's figure, GiB."""
    tell(f"peak, --offload {offload} --tile {tile}")
    model = random_world(device, tiny=tiny)
    model.offload, model.tiles = offload, None if tile is None else Tiles.of(tile, model.stride)
    place(networks(model), offload=offload, device=device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    walk(model, chunks, 1, beside=offload == "none")
    measured = torch.cuda.max_memory_allocated(device)
    planned = None
    if not tiny:  # the plan is of models that have a name or a folder
        counted = budget(BUILT_IN, dtype=torch.bfloat16, tile=tile)
        planned = max(counted.needs(offload=offload, beside=offload == "none").values())
    return {
        "--offload": offload,
        "--tile": tile,
        "planned GiB": planned and planned / 2**30,
        "measured GiB": measured / 2**30,
        "off by, %": planned and 100 * (planned / measured - 1),
    }


def zbuffers(points: tuple[int, ...], device: torch.device) -> list[dict[str, Any]]:
    """One read's z-buffer: nine cameras, the nearest point of each cell, by the device's fastest twin and by torch.

    Touched: positions of the pages in view, once per camera that sees them, and a key of each cell. Their share of the
    bandwidth is against a copy of `COPIED` bytes on the same device.
    """
    backends: tuple[Backend, ...] = (backend_for(device), "torch")
    bandwidth = copied_per_second(device)
    camera, rows = memory_speed.wander(memory_speed.CHUNK), []
    for n in points:
        memory, _ = memory_speed.filled(n)
        cloud = LatentSpatialMemory.from_state(*memory.state(), device=device).cloud
        seen = visible_pages(cloud, projection(camera, memory_speed.GRID).to(device), memory_speed.GRID, NEAR)
        touched = 12 * PAGE * int(seen.sum()) + 8 * camera.shape.numel() * memory_speed.GRID[0] * memory_speed.GRID[1]
        for backend in dict.fromkeys(backends):
            seconds = median_seconds(partial(zbuffer, cloud, camera, memory_speed.GRID, backend=backend), device)
            rows.append(
                {
                    "points": len(memory),
                    "backend": backend,
                    "us": 1e6 * seconds,
                    "GB/s": touched / seconds / 1e9,
                    "share of a copy's": touched / seconds / bandwidth,
                }
            )
    return rows


def copied_per_second(device: torch.device) -> float:
    """Bytes that a large copy reads and writes per second."""
    source = torch.ones(COPIED // 4 if device.type == "cuda" else COPIED // 64, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / median_seconds(lambda: target.copy_(source), device)


def median_seconds(call: Callable[[], object], device: torch.device, repeats: int = 20) -> float:
    """Wall time of a call until the device is done, the first three not counted."""
    times = []
    for turn in range(repeats + 3):
        wait(device)
        started = time.perf_counter()
        call()
        wait(device)
        if turn >= 3:
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def step_seconds(measured: dict[str, Any]) -> float:
    """Of one denoising step, median over the latent memory's chunks."""
    rows = measured["chunks"]["latent"]
    return statistics.median(row["denoise"] for row in rows) / measured["setting"]["steps"]


def document(found: dict[str, Any]) -> str:
    """All tables, under the device's name."""
    its, measured = found["environment"], found["walk"]
    new = measured["setting"]["new_frames_per_chunk"]
    by_stage = [
        {"s per chunk": stage, **{name: new * stages[stage]["median"] for name, stages in measured["stages"].items()}}
        for stage in next(iter(measured["stages"].values()))
    ]
    parts = [
        f"{its['device']}, torch {its['torch']}, triton {its['triton'] or 'none'}; "
        f"{found['size'][0]}x{found['size'][1]}, {measured['setting']['steps']} steps, {new} new frames a chunk, "
        "random weights. The conditioning path is from the last chunk's latents to the next one's condition.\n",
        markdown_table(by_stage),
        "Seconds per chunk, end to end, as denoising steps fall:\n",
        markdown_table(measured["steps"]),
        markdown_table(found["overlap"]),
    ]
    rows = measured["chunks"]["latent"]
    if "device_peak_bytes" in rows[0]:
        parts.append(
            f"Most memory on the device in these walks, both sessions there: "
            f"{max(row['device_peak_bytes'] for row in rows) / 2**30:.1f} GiB.\n"
        )
    parts += [markdown_table(found[name]) for name in ("compile", "zbuffer", "peaks") if name in found]
    if found["left_out"]:
        parts.append(f"Left out, for want of CUDA: {'; '.join(found['left_out'])}.\n")
    return "\n".join(parts)


def networks(model: WorldModel) -> dict[str, torch.nn.Module]:
    """The parts of a world that have weights."""
    return {name: part for name, part in model.components.items() if isinstance(part, torch.nn.Module)}


def wait(device: torch.device) -> None:
    """For what the device was asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
