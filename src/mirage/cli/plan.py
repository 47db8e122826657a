"""`mirage plan`: the memory that a run needs, by component and by option, before anything is loaded or downloaded.

    on the device = weights that are there in a stage + the stage's work + what lies there all the time

On a GPU where nothing is offloaded the last chunk is decoded beside the next one's other stages.

`h w`: latent grid.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch

from mirage.chunks import check_frames, latent_count, windows
from mirage.cli.arguments import Plan
from mirage.cli.plan_train import CONTEXT, SPARE, plan_training
from mirage.cli.terminal import Result, progress
from mirage.errors import InputError
from mirage.memory import MemoryPolicy
from mirage.memory.points import PAGE, Points
from mirage.models.fitting.budget import Budget, budget
from mirage.models.fitting.estimate import LINK, REACHED, cards_of, seconds_per_chunk
from mirage.models.fitting.offload import Offload, check_offload
from mirage.models.fitting.quantize import Quantize, check_quantize
from mirage.request import ModelRequest
from mirage.rollout.settings import Settings
from mirage.units import parse_bytes

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
TILE = 320
"""Pixels; what is tried where no --tile is given and a whole frame does not fit."""
STEPS = (40, 20, 4)
"""Denoising steps that times are estimated for: the paper's, its code's, and those of step-distilled weights."""


@dataclass(frozen=True)
class Option:
    """One way to run: what the fullest stage needs on the device, bytes, and which stage that is."""

    offload: Offload
    quantize: Quantize
    tile: int | None
    peak: int
    stage: str

    @property
    def flags(self) -> str:
        """As they are typed."""
        said = [f"--offload {self.offload}"] * (self.offload != "none")
        said += [f"--quantize {self.quantize}"] * (self.quantize != "none")
        return " ".join(said + [f"--tile {self.tile}"] * (self.tile is not None)) or "(none)"


def run(asked: Plan) -> Result:
    """Count, print the tables, and say what fits."""
    if asked.train:
        return plan_training(asked)
    if (asked.height is None) != (asked.width is None):
        raise InputError("--height and --width go together; got one of them")
    if asked.tile is not None and asked.tile < 1:
        raise InputError(f"--tile {asked.tile}: expected pixels, above 0")
    if asked.frames is not None:
        check_frames(asked.frames, "a video (--frames)")
    budget_bytes = None if asked.memory_budget is None else parse_bytes(asked.memory_budget)
    size = None if asked.height is None or asked.width is None else (asked.height, asked.width)
    gpu = None if asked.gpu is None else parse_bytes(asked.gpu)
    with progress("counting", total=10) as show:
        whole = _budget(asked, size, asked.tile, show, done=0)
        budgets = {asked.tile: whole}
        if asked.tile is None and max(whole.size) > TILE:
            budgets[TILE] = _budget(asked, size, TILE, show, done=5)
    kept = _kept(asked, whole, budget_bytes)
    chosen = _option(whole, asked.offload, asked.quantize, asked.tile, kept["most"], asked.cpu)
    options = _options(budgets, kept["most"], asked.cpu)
    summary: dict[str, Any] = {
        "model": asked.model,
        "height": whole.size[0],
        "width": whole.size[1],
        "frames": kept["frames"],
        "dtype": asked.dtype,
        "offload": asked.offload,
        "quantize": asked.quantize,
        "tile": asked.tile,
        "parameters": {
            name: sum(weight.numel() for weight in network.parameters()) for name, network in whole.networks.items()
        },
        "weights": {name: whole.weights(name, quantize=asked.quantize) for name in whole.networks},
        "work": {name: stage.work if asked.offload == "none" else stage.rested for name, stage in whole.stages.items()},
        "decoder_cache": whole.stages["decode"].kept,
        "memory": kept,
        "peak": chosen.peak,
        "fullest": chosen.stage,
        "options": [
            {"offload": o.offload, "quantize": o.quantize, "tile": o.tile, "peak": o.peak, "fullest": o.stage}
            | ({} if gpu is None else {"fits": fits(o.peak, gpu)})
            for o in options
        ],
    }
    if gpu is not None and asked.dtype != "float32" and not asked.cpu:
        summary["estimates"] = _estimates(budgets, options, gpu)
    _print(asked, summary, whole, options, gpu)
    return Result(summary)


def _estimates(budgets: dict[int | None, Budget], options: list[Option], gpu: int) -> list[dict[str, Any]]:
    """Seconds per chunk by card and number of steps, with the first option that fits: sums, not measurements."""
    first = next((option for option in options if fits(option.peak, gpu)), None)
    if first is None:
        return []
    counted, offload, quantize = budgets[first.tile], first.offload, first.quantize
    return [
        {"card": card.name, "options": first.flags, "steps": steps}
        | {"seconds": seconds_per_chunk(counted, card, steps=steps, offload=offload, quantize=quantize)}
        for card in cards_of(gpu)
        for steps in STEPS
    ]


def fits(peak: int, gpu: int) -> bool:
    """Whether a run that needs `peak` bytes runs on a GPU of `gpu` bytes."""
    return peak * (1 + SPARE) + CONTEXT <= gpu


def what_fits(asked: ModelRequest, *, device: torch.device, size: tuple[int, int] | None, frames: int | None) -> str:
    """Half a sentence for a run that found no memory: what it needs of what there is, and the first option that needs
    less than that. `size` (H, W) and number of the `frames`, None: the model's own, three chunks."""
    cpu = device.type != "cuda"
    there = _main_memory() if cpu else torch.cuda.get_device_properties(device).total_memory
    height, width = size or (None, None)
    plan = Plan(
        model=asked.model,
        height=height,
        width=width,
        frames=frames,
        dtype="float32" if cpu else "bfloat16",
        tile=asked.tile,
        cpu=cpu,
    )
    tiles = {asked.tile} if asked.tile is not None else {None, TILE}
    budgets = {tile: _budget(plan, size, tile, lambda *_: None, done=0) for tile in tiles}
    kept = _kept(plan, budgets[asked.tile], None)["most"]
    now = _option(budgets[asked.tile], asked.offload, asked.quantize, asked.tile, kept, cpu)
    said = f"it needs {now.peak / 2**30:.2f} GiB and there are {there / 2**30:.2f} by the arithmetic of mirage plan"
    if fits(now.peak, there):
        return f"{said}: something else takes the rest"
    others = [one for one in _options(budgets, kept, cpu) if fits(one.peak, there) and _runs(one, device)]
    if not others:
        return f"{said}, and no option fits; a smaller --size may"
    return f"{said}; what fits: {others[0].flags}, {others[0].peak / 2**30:.2f} GiB"


def _runs(option: Option, device: torch.device) -> bool:
    """Whether this machine can run so at all."""
    try:
        check_offload(option.offload, device=device)
        check_quantize(option.quantize, device=device)
    except InputError:
        return False
    return True


def _main_memory() -> int:
    """Bytes of this machine's main memory, or of the container's share of it."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    share = Path("/sys/fs/cgroup/memory.max")
    said = share.read_text().strip() if share.is_file() else ""
    return min(whole, int(said)) if said.isdigit() else whole


def _budget(asked: Plan, size: tuple[int, int] | None, tile: int | None, show: Any, *, done: int) -> Budget:
    return budget(
        asked.model,
        dtype=DTYPES[asked.dtype],
        size=size,
        tile=tile,
        cpu=asked.cpu,
        show=lambda number, stage: show(done + number, stage),
    )


def _options(budgets: dict[int | None, Budget], kept: int, cpu: bool) -> list[Option]:
    """Every way to run; full precision first, and then the one that costs least time."""
    ways = [(offload, quantize) for quantize in get_args(Quantize) for offload in get_args(Offload)]
    return [
        _option(counted, offload, quantize, tile, kept, cpu)
        for offload, quantize in ways
        for tile, counted in budgets.items()
    ]


def _option(counted: Budget, offload: Offload, quantize: Quantize, tile: int | None, kept: int, cpu: bool) -> Option:
    """The fullest stage; `kept` lies there all the time."""
    needs = counted.needs(offload=offload, quantize=quantize, kept=kept, beside=offload == "none" and not cpu)
    fullest = max(needs, key=lambda name: needs[name])
    return Option(offload, quantize, tile, needs[fullest], fullest)


def _kept(asked: Plan, counted: Budget, most: int | None) -> dict[str, int]:
    """Bytes of the spatial memory, if every cell enters it, `most` at most, and of the latent frames kept beside it."""
    frames = asked.frames or 1 + (counted.chunk_frames - 1) * 3
    cells, latents = counted.grid[0] * counted.grid[1], latent_count(frames)
    points = Points(counted.channels, features=MemoryPolicy.features, device="meta", pages=None)
    per_frame = round(cells * points.page_bytes / PAGE)
    memory = latents * per_frame
    if most is not None:
        memory = min(memory, most)
    history = min(latents, Settings.history) * cells * (counted.channels * 4 + 5)
    return {
        "frames": frames,
        "chunks": len(list(windows(frames, counted.chunk_frames))),
        "per_chunk": (latent_count(counted.chunk_frames) - 1) * per_frame,
        "memory": memory,
        "history": history,
        "most": memory + history,
    }


def _print(asked: Plan, summary: dict[str, Any], counted: Budget, options: list[Option], gpu: int | None) -> None:
    kept = summary["memory"]
    print(
        f"{asked.model}, {summary['height']}x{summary['width']}, {kept['frames']} frames in {kept['chunks']} chunks, "
        f"{asked.dtype}"
    )
    print(f"\n{'weights':<16}{'parameters':>14}{'GiB':>9}")
    for name, size in summary["weights"].items():
        print(f"  {name:<14}{summary['parameters'][name] / 1e6:>12.1f} M{size / 2**30:>9.2f}")
    print(
        f"  {'together':<14}{sum(summary['parameters'].values()) / 1e6:>12.1f} M"
        f"{sum(summary['weights'].values()) / 2**30:>9.2f}"
    )
    print(f"\n{'stage':<12}{'weights there':>15}{'work':>9}   GiB")
    for name in counted.stages:
        there = counted.resident(name, offload=asked.offload, quantize=asked.quantize)
        print(f"  {name:<10}{there / 2**30:>15.2f}{summary['work'][name] / 2**30:>9.2f}")
    print(
        f"\nall the time: memory {kept['per_chunk'] / 2**20:.1f} MiB per chunk at most, {kept['memory'] / 2**20:.1f} "
        f"MiB after all; kept latents {kept['history'] / 2**20:.1f} MiB; decoder cache "
        f"{summary['decoder_cache'] / 2**30:.2f} GiB" + (" (in main memory)" if asked.offload != "none" else "")
    )
    print(f"peak: {summary['peak'] / 2**30:.2f} GiB, in stage {summary['fullest']}")
    print(f"\n{'options':<44}{'peak GiB':>9}  fullest stage")
    for option in options:
        mark = "" if gpu is None else ("  fits" if fits(option.peak, gpu) else "  -")
        print(f"  {option.flags:<42}{option.peak / 2**30:>9.2f}  {option.stage:<16}{mark}")
    if gpu is None:
        return
    first = next((option for option in options if fits(option.peak, gpu)), None)
    print(
        f"\n{asked.gpu}: "
        + (f"use {first.flags}" if first else "nothing fits; smaller --height and --width")
        + f" ({CONTEXT / 2**20:.0f} MiB for CUDA and {SPARE:.0%} to spare are counted in)"
    )
    made = summary.get("estimates", [])
    for card in dict.fromkeys(one["card"] for one in made):
        said = ", ".join(f"{one['seconds']:.0f} s at {one['steps']} steps" for one in made if one["card"] == card)
        print(f"  {card}, a chunk of {counted.chunk_frames - 1} frames: about {said} (estimated, not measured)")
    if made:
        print(f"  estimates: operations at {REACHED:.0%} of the stated bfloat16 rate, weights over PCI Express at "
              f"{LINK / 1e9:.0f} GB/s; {STEPS[-1]} steps need a step-distilled LoRA")  # fmt: skip
