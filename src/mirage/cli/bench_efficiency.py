"""`mirage bench efficiency`: where the seconds of a walk go, by stage and by memory; tables, a plot, JSON."""

from typing import Any

import torch
from rich.console import Console

from mirage.cli.arguments import BenchEfficiency
from mirage.cli.arguments.common import noun_of
from mirage.cli.terminal import Result, Wrote, peak_memory, progress
from mirage.errors import InputError
from mirage.evaluation.options import EfficiencyOptions
from mirage.evaluation.report import markdown_table
from mirage.evaluation.speed import efficiency
from mirage.evaluation.speed.real_scale import run_real_scale
from mirage.files import Output, check_outputs
from mirage.formats.image import save_image
from mirage.models.files.lora_spec import lora_specs
from mirage.models.loading import load_world_model
from mirage.models.streams import stream_decoder, stream_encoder
from mirage.models.wan22 import random_autoencoder, random_block


def run(asked: BenchEfficiency) -> Result:
    """Measure, print tables, draw the plot that was asked for."""
    for name in ("plot", "branch", "lora"):
        if asked.real_scale and getattr(asked, name):
            raise InputError(f"--{name} is of a model's walk; --real-scale has none")
    if asked.plot is not None:
        plot = Output("plot", asked.plot, (".png",))
        inputs = [asked.model, asked.branch, *(spec.path for spec in lora_specs(asked.lora))]
        check_outputs(plot, inputs=inputs, overwrite=asked.overwrite)
    measured = _real_scale(asked) if asked.real_scale else _walk(asked)
    measured["peak_memory_bytes"] = peak_memory()
    console = Console(soft_wrap=True, markup=False, highlight=False)
    for table in _real_tables(measured) if asked.real_scale else _tables(measured):
        console.print(table)
    console.print(f"Peak memory of the process: {measured['peak_memory_bytes'] / 2**30:.1f} GiB.")
    if asked.plot is not None:
        wrote = Wrote(asked.plot)
        save_image(asked.plot, efficiency.figure(measured))
        wrote(str(asked.plot))
    return Result(measured)


def _walk(asked: BenchEfficiency) -> dict[str, Any]:
    model = load_world_model(asked.model, branch=asked.branch, lora=asked.lora)
    with progress("measuring", total=asked.chunks + 1) as show:
        return efficiency.run_efficiency(
            model, noun_of(asked, EfficiencyOptions), progress=lambda what, number, of: show(number, what)
        )


def _real_scale(asked: BenchEfficiency) -> dict[str, Any]:
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[asked.dtype]
    vae, block = random_autoencoder(dtype=dtype), random_block(dtype=dtype)
    with progress("real scale", total=5) as show:
        found = run_real_scale(
            lambda latents: stream_decoder(vae).decode(latents),
            lambda frame: stream_encoder(vae).encode(frame),
            block,
            progress=lambda what, number, of: show(number, what),
        )
    return {**found, "networks": f"Wan2.2-TI2V-5B's sizes, random weights, {asked.dtype}"}


def _tables(measured: dict[str, Any]) -> list[str]:
    """Milliseconds per new frame by stage (median and quartiles over the chunks), the cache, and the fall of steps."""
    stages, chunks = measured["stages"], measured["chunks"]
    first = next(iter(stages))
    taken = [
        {"ms per new frame": stage, **{name: _quartiles(stages[name][stage]) for name in stages}}
        for stage in stages[first]
    ]
    cache = [
        {
            "after chunk": row["chunk"],
            **{f"{name}, MiB": chunks[name][number]["cache_bytes"] / 2**20 for name in chunks},
        }
        for number, row in enumerate(chunks[first])
    ]
    return [
        markdown_table(taken),
        markdown_table(cache),
        "Seconds per chunk, end to end, as denoising steps fall:\n",
        markdown_table(measured["steps"]),
    ]


def _real_tables(real: dict[str, Any]) -> list[str]:
    rgb = [
        {"rgb": name, "processor seconds per chunk": value}
        for name, value in real["rgb"].items()
        if isinstance(value, float)
    ]
    latent = [
        {
            "chunk": row["chunk"],
            "latent read, ms": 1e3 * row["read_s"],
            "write, ms": 1e3 * row["write_s"],
            "seen through, ms": 1e3 * row["free_space_s"],
            "points": row["points"],
            "MiB": row["cache_bytes"] / 2**20,
        }
        for row in real["latent"][::10]
    ]
    denoiser = [{"denoiser": name, "processor seconds": value} for name, value in real["denoiser"].items()]
    return [
        *map(markdown_table, (latent, rgb, denoiser, real["memory"])),
        "Seconds per chunk, end to end, every frame decoded to be looked at:\n",
        markdown_table(real["steps"]["shown"]),
        "The same, when nobody looks, so that only rgb decodes:\n",
        markdown_table(real["steps"]["unseen"]),
        f"Conditioning, rgb over latent: {real['conditioning_ratio']:.0f} times; without the codec: "
        f"{real['conditioning_ratio_without_codec']:.0f} times. As published, end to end: "
        f"{efficiency.PUBLISHED} times.\n",
    ]


def _quartiles(value: dict[str, float]) -> str:
    """Median (lower to upper quartile), in milliseconds."""
    return "{:.3g} ({:.3g} to {:.3g})".format(*(1e3 * value[name] for name in ("median", "q1", "q3")))
