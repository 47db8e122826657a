"""`mirage bench efficiency`: where the seconds of a walk go, by stage and by memory; a table, a plot or JSON."""

from typing import Any

import torch
from rich.console import Console

from mirage.cli.arguments import BenchEfficiency
from mirage.cli.terminal import Result, peak_memory, progress
from mirage.evaluation import efficiency
from mirage.evaluation.report import markdown_table
from mirage.files import check_writable
from mirage.formats.image import save_image
from mirage.models.codec import StreamDecoder, StreamEncoder
from mirage.models.wan22 import random_autoencoder, random_block
from mirage.models.world import load_world_model


def run(asked: BenchEfficiency) -> Result:
    """Measure, print tables, draw the plot that was asked for."""
    if asked.plot is not None:
        check_writable(asked.plot)
    with progress("measuring", total=asked.chunks + 1) as show:
        measured = efficiency.run_efficiency(load_world_model(asked.model), memories=asked.memories,
                                             chunks=asked.chunks, steps=asked.steps, seed=asked.seed,
                                             progress=lambda what, number, of: show(number, what))
    if asked.real_scale:
        measured["real_scale"] = _real_scale(asked)
    measured["peak_memory_bytes"] = peak_memory()
    console = Console(soft_wrap=True, markup=False, highlight=False)
    for table in _tables(measured):
        console.print(table)
    if asked.plot is not None:
        save_image(asked.plot, efficiency.figure(measured))
        print(f"wrote {asked.plot}")
    return Result(measured)


def _real_scale(asked: BenchEfficiency) -> dict[str, Any]:
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[asked.dtype]
    vae, block = random_autoencoder(dtype=dtype), random_block(dtype=dtype)
    with progress("real scale", total=5) as show:
        found = efficiency.run_real_scale(lambda latents: StreamDecoder(vae).decode(latents),
                                          lambda frame: StreamEncoder(vae).encode(frame), block,
                                          progress=lambda what, number, of: show(number, what))
    return {**found, "networks": f"Wan2.2-TI2V-5B's sizes, random weights, {asked.dtype}"}


def _tables(measured: dict[str, Any]) -> list[str]:
    """Milliseconds per new frame by stage, the cache, the decomposition over steps, and the real scale."""
    stages = [{"ms per new frame": name, **{stage: f"{1e3 * value['median']:.3g}" for stage, value in taken.items()},
               "cache MiB": measured["chunks"][name][-1]["cache_bytes"] / 2**20}
              for name, taken in measured["stages"].items()]
    tables = [markdown_table(stages), markdown_table(measured["steps"])]
    if "real_scale" in measured:
        real = measured["real_scale"]
        rgb = [{"rgb, processor seconds per chunk": name, "s": value} for name, value in real["rgb"].items()
               if isinstance(value, float)]
        latent = [{"chunk": row["chunk"], "latent read ms": 1e3 * row["read_s"], "write ms": 1e3 * row["write_s"],
                   "points": row["points"], "MiB": row["cache_bytes"] / 2**20} for row in real["latent"][::10]]
        denoiser = [{"denoiser": name, "s": value} for name, value in real["denoiser"].items()]
        tables += [*map(markdown_table, (rgb, latent, denoiser, real["memory"])),
                   "end to end, every frame decoded and shown\n\n" + markdown_table(real["steps"]["shown"]),
                   "end to end, nobody looks\n\n" + markdown_table(real["steps"]["unseen"]),
                   f"conditioning, rgb over latent: {real['conditioning_ratio']:.0f} "
                   f"(without the codec: {real['conditioning_ratio_without_codec']:.0f}); as published, end to end: "
                   f"{efficiency.PUBLISHED}\n"]
    return tables
