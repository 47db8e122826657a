"""What gpu.py measures, a function for each section: `run` names them. `N` points, `h w` latent grid, `H W` pixels.

Seconds are medians with quartiles, the first calls not counted. Those of a step, of the codec and of the z-buffer's
kernel are between CUDA events; those of whole walks and whole calls are of a clock, until the device is done.
"""

import gc
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mirage.chunks import latent_count
from mirage.evaluation.options import EfficiencyOptions
from mirage.evaluation.speed import efficiency, memory_speed
from mirage.evaluation.speed.memory_speed import CHANNELS, CHUNK, GRID, PAPER
from mirage.files import replacing
from mirage.formats.image import fit_image
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import PRESETS
from mirage.memory import LatentSpatialMemory, MemoryPolicy
from mirage.memory.points import PAGE, Cloud
from mirage.memory.projection.hits import Hits
from mirage.memory.projection.zbuffer import NEAR, backend_for, projection, visible_pages, zbuffer
from mirage.models.codec import Tiles
from mirage.models.condition import Condition
from mirage.models.depth_head import LatentDepthHead
from mirage.models.fitting.budget import BUILT_IN, Budget, budget, world_of
from mirage.models.fitting.offload import Offload, place
from mirage.models.fitting.quantize import KEPT, QUANTIZED
from mirage.models.loading import load_world_model
from mirage.models.streams import encode_images
from mirage.models.tiny import tiny_world, word_tokenizer
from mirage.models.transformer import predict
from mirage.models.world import WorldModel
from mirage.rollout import Session
from mirage.rollout.overlap import overlapped
from mirage.rollout.settings import Settings
from mirage.sampler import Sampler

WAYS: dict[Offload, tuple[int | None, ...]] = {"none": (None,), "group": (None, 320), "model": (None,)}
"""Options of `mirage generate` whose peak is measured, most wanted first: --offload, and --tile with each."""
COPIED = 2**30
"""Bytes of the copy that says what the memory bandwidth is; and of what is written to empty the cache before a call."""
PRODUCT = 8192
"""Side of the matrices whose product says what the card computes per second."""
GIB = 2**30


class Report:
    """What a section found, in a file that is written anew with each row: {environment, seconds, tables, notes}."""

    def __init__(self, path: Path, device: torch.device) -> None:
        self.path, self.started = path, time.monotonic()
        self.environment = {
            **efficiency.environment(device),
            "diffusers": diffusers.__version__,
            "date": datetime.now(UTC).date().isoformat(),
        }
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.notes: list[str] = []

    def row(self, heading: str, **cells: Any) -> None:
        """One more row of a table."""
        self.tables.setdefault(heading, []).append({name.replace("_", " "): cell for name, cell in cells.items()})
        self.save()

    def note(self, text: str) -> None:
        """A line beside the tables."""
        self.notes.append(text)
        self.save()

    @contextmanager
    def trying(self, what: str) -> Iterator[None]:
        """What fails inside is noted, and the section goes on."""
        try:
            yield
        except Exception as error:  # whatever a library says: the other rows are worth having
            self.note(
                f"{what} failed: {type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
            )

    def save(self) -> None:
        found = {
            "environment": self.environment,
            "seconds": time.monotonic() - self.started,
            "tables": self.tables,
            "notes": self.notes,
        }
        with replacing(self.path) as beside:
            beside.write_text(json.dumps(found, indent=1), encoding="utf-8")


def run(name: str, path: Path, *, tiny: bool) -> None:
    """Measure one section into a file."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    report = Report(path, device)
    sections: dict[str, Callable[..., None]] = {
        "zbuffer": measure_zbuffer,
        "step": measure_step,
        "codec": measure_codec,
        "walk": measure_walk,
        "peaks": measure_peaks,
        "mini": measure_mini,
        "long": measure_long,
    }
    sections[name](report, device, tiny=tiny)
    report.save()


# -- the z-buffer ------------------------------------------------------------------------------------------------------


def measure_zbuffer(report: Report, device: torch.device, *, tiny: bool) -> None:
    """One read's z-buffer: nine cameras, the nearest point of each cell, by the device's fastest twin and by torch.

    Touched: positions of the pages in view, once per camera that sees them, and a key of each cell. Their share of the
    bandwidth is against a copy of `COPIED` bytes on the same device; the cache is emptied before each call.
    """
    bandwidth = copied_per_second(device)
    report.note(f"Memory bandwidth, of a copy, bytes read and written: {bandwidth / 1e9:.0f} GB/s.")
    camera, fast = memory_speed.wander(CHUNK + 4)[4:], backend_for(device)
    memories = [filled(n, device) for n in ((31_680,) if tiny else memory_speed.POINTS[1:])]
    for memory in memories:
        cloud = memory.cloud
        for what, choices in readings(cloud, camera).items():
            ours, torch_here = (zbuffer(cloud, camera, GRID, backend=name, **choices) for name in (fast, "torch"))
            row: dict[str, Any] = {"points": len(memory), "z_buffer": what, "cells": ours.index.numel()}
            row[f"{fast} differs from torch in"] = differing(ours, torch_here)
            if device.type == "cuda":
                definition = zbuffer(
                    Cloud.of(memory.points.position.cpu()), camera, GRID, backend="torch", **on_cpu(choices)
                )
                row["and from torch on the processor in"] = differing(ours, definition)
            report.row("Cells whose point, depth or offset differs", **row)
    for memory in memories:  # by now the next section has loaded its libraries, and does not share the processor
        cloud = memory.cloud
        matrix = projection(camera, GRID).to(device)
        visible = visible_pages(cloud, matrix, GRID, NEAR)
        touched = 12 * PAGE * int(visible.sum()) + 8 * len(camera) * GRID[0] * GRID[1]
        calls = {f"{name}, whole call": partial(zbuffer, cloud, camera, GRID, backend=name) for name in (fast, "torch")}
        times = {what: seconds(call, device, empty_cache=True) for what, call in calls.items()}
        if device.type == "cuda":
            times = {"triton, its kernel": kernel_seconds(cloud, matrix, visible), **times}
        for what, taken in times.items():
            rate = touched / taken["value"]
            report.row("Z-buffer of nine cameras", points=len(memory), what=what, us=scaled(taken, 1e6),
                       **{"GB/s": rate / 1e9, "share of a copy's": rate / bandwidth})  # fmt: skip
        default = LatentSpatialMemory.from_state(
            memory.state()[0], {"channels": CHANNELS, "policy": vars(MemoryPolicy())}, device=device
        )
        for what, its in (("published settings", memory), ("default policy", default)):
            taken = seconds(partial(its.read, camera, GRID), device, empty_cache=True)
            report.row("Whole read of nine cameras, 48 channels", points=len(memory), what=what, us=scaled(taken, 1e6))


def filled(n: int, device: torch.device) -> LatentSpatialMemory:
    """The room of memory_speed.py, walked on the device until `n` cells were written."""
    memory = LatentSpatialMemory(CHANNELS, policy=PAPER, device=device)
    chunks = -(-n // (CHUNK * GRID[0] * GRID[1]))
    path = memory_speed.wander(chunks * CHUNK)
    for i in range(chunks):
        camera = path[i * CHUNK : (i + 1) * CHUNK]
        latents = torch.randn(CHUNK, CHANNELS, *GRID, device=device)
        memory.write(latents, memory_speed.room_depth(camera).to(device), camera)
    return memory


def readings(cloud: Cloud, camera: Camera) -> dict[str, dict[str, Any]]:
    """Choices of a z-buffer that take every branch of its twins."""
    far = zbuffer(cloud, camera, GRID).depth
    return {
        "nearest": {},
        "of the front surface, with margin": {"front": MemoryPolicy().front, "margin": 2},
        "within depth bounds": {"front": MemoryPolicy().front, "within": (0.7 * far, 1.01 * far)},
    }


def on_cpu(choices: dict[str, Any]) -> dict[str, Any]:
    """The same, its tensors in main memory."""
    return {name: tuple(t.cpu() for t in its) if isinstance(its, tuple) else its for name, its in choices.items()}


def differing(a: Hits, b: Hits) -> int:
    """Cells in which anything differs in any bit."""
    off = a.index.cpu() != b.index.cpu()
    off |= a.depth.cpu().view(torch.int32) != b.depth.cpu().view(torch.int32)
    off |= (a.offset.cpu() + 0.0 != b.offset.cpu() + 0.0).any(1)
    return int(off.sum())


def kernel_seconds(cloud: Cloud, matrix: Tensor, visible: Tensor) -> dict[str, float]:
    """The Triton kernel alone, its keys fresh each time."""
    from mirage.memory.projection.zbuffer_triton import OPTIONS, compete_kernel

    camera, page = visible.nonzero().unbind(-1)
    h, w = GRID
    nearest = torch.full((len(matrix), h, w), torch.inf, device=cloud.device)
    keys = torch.empty((len(matrix), h, w), dtype=torch.int64, device=cloud.device)

    def compete() -> None:
        compete_kernel[(len(page),)](  # pyright: ignore[reportIndexIssue]
            cloud.x, cloud.y, cloud.z, camera, page, matrix, nearest, nearest, nearest, keys, h, w, NEAR, 1.0,
            BANDED=False, CHOOSING=False, **OPTIONS, num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip

    nobody = torch.iinfo(torch.int64).max
    return seconds(compete, cloud.device, empty_cache=True, events=True, before=lambda: keys.fill_(nobody))


def copied_per_second(device: torch.device) -> float:
    """Bytes that a large copy reads and writes per second."""
    source = torch.ones(COPIED // 4 if device.type == "cuda" else COPIED // 64, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / seconds(lambda: target.copy_(source), device, events=True)["value"]


# -- the networks ------------------------------------------------------------------------------------------------------


def measure_step(report: Report, device: torch.device, *, tiny: bool) -> None:
    """The whole forward of backbone and branch, as a step of the sampler asks for it: bf16, then fp8 (torchao), each as
    it is and compiled."""
    model = random_world(device, tiny=tiny)
    call, heading = forward(model, device), "One denoising step"
    with FlopCounterMode(display=False) as counted:
        call()
    operations = counted.get_total_flops()
    side, plain = PRODUCT if device.type == "cuda" else 512, a_dtype(model)
    rate = product_per_second(side, model.transformer.dtype, device)
    report.note(
        f"A step is {operations / 1e12:.3g} TFLOP; a product of {side} x {side} matrices in {plain} ran at "
        f"{rate / 1e12:.3g} TFLOP/s."
    )

    def measured(weights: str, blocks: str) -> None:
        began = time.perf_counter()
        call()
        wait(device)
        first = time.perf_counter() - began
        taken = seconds(call, device, repeats=7, warm=2, events=True)
        report.row(heading, weights=weights, blocks=blocks, s=taken, first_call_s=first,
                   **{"TFLOP/s": operations / taken["value"] / 1e12,
                      "share of a product's": operations / taken["value"] / rate})  # fmt: skip

    def compiled(weights: str) -> None:
        with report.trying(f"{weights}, compiled"):
            torch._dynamo.reset()
            model.compile_blocks()
            measured(weights, "compiled")

    measured(plain, "as they are")
    if device.type != "cuda":
        report.note("Left out, for want of CUDA: compiled, fp8.")
        return
    compiled(plain)
    from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, Float8WeightOnlyConfig, PerRow  # pyright: ignore

    for weights, config in (
        ("fp8", Float8WeightOnlyConfig()),
        ("fp8, activations too", Float8DynamicActivationFloat8WeightConfig(granularity=PerRow())),
    ):
        with report.trying(weights):
            model = random_world(device, tiny=tiny)
            call = forward(model, device)
            quantise(model, config)
            measured(weights, "as they are")
            compiled(weights)


def product_per_second(side: int, dtype: torch.dtype, device: torch.device) -> float:
    """Operations of a large matrix product per second."""
    a, b = torch.randn(2, side, side, device=device, dtype=dtype)
    return 2 * side**3 / seconds(lambda: a @ b, device, events=True)["value"]


def a_dtype(model: WorldModel) -> str:
    """Of the transformer, as people write it."""
    return {torch.bfloat16: "bf16", torch.float32: "float32"}[model.transformer.dtype]


def forward(model: WorldModel, device: torch.device) -> Callable[[], Tensor]:
    """A step's call of the network, from random latents and a random condition at half of the noise."""
    (height, width), stride, c = model.size, model.stride, model.channels
    t, dtype = latent_count(model.chunk_frames), model.transformer.dtype

    def part(channels: int, count: int) -> Tensor:
        return torch.randn(1, channels, count, height // stride, width // stride, device=device, dtype=dtype)

    text = torch.randn(1, model.config["text_length"], model.text_encoder.config.d_model, device=device, dtype=dtype)
    given = Condition(part(c, t), part(1, t), part(2, t), part(6, t), part(c, 1), part(c, model.preceding),
                      part(c, model.references), text)  # fmt: skip
    latents, timestep = part(c, t), torch.full((1, t), 500.0, device=device)
    timestep[:, 0] = 0

    @torch.no_grad()
    def call() -> Tensor:
        return predict(model.transformer, model.memory_branch, latents, timestep, given)

    assert torch.isfinite(call()).all()
    return call


def quantise(model: WorldModel, config: Any) -> None:
    """What `--quantize fp8` does at loading, of the networks of a step."""
    from torchao.quantization import quantize_  # pyright: ignore

    for name in QUANTIZED[:2]:
        kept = KEPT[name]

        def chosen(module: nn.Module, place: str, kept: list[str] = kept) -> bool:
            return isinstance(module, nn.Linear) and not any(part in kept for part in place.split("."))

        quantize_(model.components[name], config, filter_fn=chosen)


def measure_codec(report: Report, device: torch.device, *, tiny: bool) -> None:
    """A chunk through the autoencoder; work: the most memory beside what was there."""
    model = random_world(device, tiny=tiny)
    (height, width), stride = model.size, model.stride
    frames = torch.rand(model.chunk_frames, 3, height, width, device=device)
    latents = torch.randn(
        latent_count(model.chunk_frames), model.channels, height // stride, width // stride, device=device
    )
    tile = 32 if tiny else 320

    def decode(tiles: Tiles | None) -> Tensor:
        model.tiles = tiles
        return model.decode(latents)

    for what, call in {
        f"decode {len(latents)} latents, whole": partial(decode, None),
        f"decode {len(latents)} latents, tiles of {tile} pixels": partial(decode, Tiles.of(tile, stride)),
        f"encode {len(frames)} frames, whole": partial(model.encode, frames),
        f"encode {len(latents)} single images, as a memory of pixels does": partial(
            encode_images, model.vae, frames[::4]
        ),
    }.items():
        with report.trying(what):
            before, taken = held(device), seconds(call, device, repeats=3, warm=1, events=True)
            report.row("Encode and decode of a chunk", what=what, s=taken, work_GiB=most_held(device, before))
    report.note("The encoder of ours has no tiles.")
    if device.type == "cuda":
        with report.trying("decode with cuDNN's choice by trial"):
            torch.backends.cudnn.benchmark = True
            taken = seconds(partial(decode, None), device, repeats=3, warm=1, events=True)
            report.row(
                "Encode and decode of a chunk", what="decode, whole, cuDNN chooses by trial", s=taken, work_GiB=None
            )


# -- walks -------------------------------------------------------------------------------------------------------------


def measure_walk(report: Report, device: torch.device, *, tiny: bool) -> None:
    """Both memories along one path, taking turns, at 4 steps; other numbers of steps are worked out from it."""
    model, steps = random_world(device, tiny=tiny), 1 if tiny else 4
    found = efficiency.run_efficiency(model, EfficiencyOptions(chunks=1 if tiny else 2, steps=steps))
    new = found["setting"]["new_frames_per_chunk"]
    names = list(found["stages"])
    for stage in found["stages"][names[0]]:
        cells = {name: scaled(_value(found["stages"][name][stage]), new) for name in names}
        ratio = None
        if stage in ("conditioning", "end_to_end"):
            ratio = cells["rgb"]["value"] / cells["latent"]["value"]
        report.row(
            f"Seconds per chunk by stage, {steps} steps", stage=stage.replace("_", " "), **cells, rgb_over_latent=ratio
        )
    for row in found["steps"]:
        report.row("Seconds per chunk, end to end, worked out from a step's time", steps=row["steps"],
                   latent=row["latent s"], rgb=row["rgb s"], rgb_over_latent=row["over rgb"])  # fmt: skip
    for name, rows in found["chunks"].items():
        if "device_peak_bytes" in rows[0]:
            most = max(row["device_peak_bytes"] for row in rows) / GIB
            report.note(f"Most memory in a chunk of {name}, both sessions there: {most:.1f} GiB.")


def measure_long(report: Report, device: torch.device, *, tiny: bool) -> None:
    """The same at 20 steps, measured; and what decoding beside the next chunk gains."""
    model, steps = random_world(device, tiny=tiny), 2 if tiny else 20
    found = efficiency.run_efficiency(model, EfficiencyOptions(chunks=1, steps=steps))
    whole = {name: rows[0]["end_to_end"] for name, rows in found["chunks"].items()}
    report.row("Seconds per chunk, end to end, measured over one chunk", steps=steps, **whole,
               rgb_over_latent=whole["rgb"] / whole["latent"])  # fmt: skip
    for what, beside in (("after each chunk", False), ("beside the next chunk", True)):
        walked(model, 1, 1, beside=beside)  # what is done once: the second stream's memory, libraries' own choices
        taken, _ = walked(model, 3, 4, beside=beside)
        report.row("Seconds per chunk of a walk of 3, 4 steps, with its beginning", decoding=what, s=taken / 3)


def measure_peaks(report: Report, device: torch.device, *, tiny: bool) -> None:
    """The most that the GPU held in a walk of two chunks, one step each, against the plan's figure."""
    tiles = {tile for some in WAYS.values() for tile in some}
    plans = {} if tiny else {tile: budget(BUILT_IN, dtype=torch.bfloat16, tile=tile) for tile in tiles}
    for offload in WAYS if device.type == "cuda" else ("none",):
        with report.trying(f"--offload {offload}"):
            measure_offload(report, offload, plans, device, tiny=tiny)
        gc.collect()
        held(device)
    for tile, plan in plans.items():
        for stage in plan.stages.values():
            if tile is None or stage.name == "decode":
                report.row("Work of each stage by `mirage plan`", stage=stage.name, tile=tile, GiB=stage.work / GIB,
                           kept_GiB=stage.kept / GIB)  # fmt: skip
    if device.type == "cpu":
        report.note("Left out, for want of CUDA: peaks, with offload and without.")


def measure_offload(
    report: Report, offload: Offload, plans: dict[int | None, Budget], device: torch.device, *, tiny: bool
) -> None:
    """GiB of tensors, of what the allocator took for them, and of the whole card."""
    model = random_world(device, tiny=tiny)
    model.offload = offload
    place(networks(model), offload=offload, device=device)
    for tile in WAYS[offload]:
        model.tiles = None if tile is None else Tiles.of(tile, model.stride)
        gc.collect()
        held(device)
        taken, session = walked(model, 2, 1, beside=offload == "none")
        cells: dict[str, Any] = {"--offload": offload, "--tile": tile, "s": taken}
        if tile in plans:
            kept = session.memory.nbytes + session.history.latents.nbytes
            needs = plans[tile].needs(offload=offload, kept=kept, beside=offload == "none")
            cells["fullest stage"] = max(needs, key=lambda name: needs[name])
            cells["planned GiB"] = max(needs.values()) / GIB
        if device.type == "cuda":
            free, total = torch.cuda.mem_get_info()
            cells["measured GiB"] = torch.cuda.max_memory_allocated() / GIB
            cells["taken by the allocator GiB"] = torch.cuda.max_memory_reserved() / GIB
            cells["of the card GiB"] = (total - free) / GIB
        if {"planned GiB", "measured GiB"} <= cells.keys():
            cells["plan is off by, %"] = 100 * (cells["planned GiB"] / cells["measured GiB"] - 1)
        report.row("Most memory of a walk of two chunks", **cells)


def measure_mini(report: Report, device: torch.device, *, tiny: bool) -> None:
    """97 frames of the bundled model from a photograph of scikit-image, each brought to main memory; no video file."""
    from skimage import data

    model = tiny_world() if tiny else load_world_model("mini", device=device)
    place(networks(model), offload="none", device=device)
    picture = torch.from_numpy(data.coffee()).movedim(-1, 0).float() / 255
    lens = Camera.looking(horizontal_fov=55, aspect=picture.shape[-1] / picture.shape[-2])
    image, camera = fit_image(picture, lens, model.size)
    frames = 1 + 3 * (model.chunk_frames - 1)
    path = PRESETS["there_and_back"](camera, frames)

    def measured(what: str, *, beside: bool) -> None:
        times = []
        for _ in range(2 if tiny else 6):
            began = time.perf_counter()
            follow(Session(model, image, camera=path[0]), path, beside=beside)
            times.append(time.perf_counter() - began)
        rates = [frames / taken for taken in times[1:]]
        report.row(f"Frames per second of the bundled model, {frames} frames of {model.size[0]}x{model.size[1]}",
                   how=what, frames_per_second=spread(rates), first_walk_s=times[0])  # fmt: skip

    measured("each chunk decoded after it", beside=False)
    if device.type == "cuda":
        measured("each chunk decoded beside the next", beside=True)
        with report.trying("the bundled model, compiled"):
            model.compile_blocks()
            measured("the same, compiled", beside=True)


# -- what they share ---------------------------------------------------------------------------------------------------


def random_world(device: torch.device, *, tiny: bool) -> WorldModel:
    """Wan2.2-TI2V-5B with a branch of 15 blocks and a depth head in bfloat16, or a toy of its layout; random weights,
    drawn where they lie."""
    if tiny:
        model = tiny_world()
        place(networks(model), offload="none", device=device)
        return model
    return drawn(world_of(BUILT_IN, torch.bfloat16), device)


@torch.no_grad()
def drawn(model: WorldModel, device: torch.device) -> WorldModel:
    """A model of the meta device, its weights drawn on `device` so that what they make has about unit variance."""
    for network in networks(model).values():
        network.to_empty(device=device)
        for buffer in network.buffers():
            buffer.zero_()  # of tables that `predict` does not read
        for name, weight in network.named_parameters():
            if weight.ndim > 1 and not name.endswith("gamma"):
                weight.normal_(std=(weight.numel() / len(weight)) ** -0.5)
            else:
                weight.fill_(0.0 if name.endswith("bias") else 1.0)
    model.text_encoder.tie_weights()
    if model.depth_head is not None:  # its depth must be that of a room
        head = LatentDepthHead(model.channels)
        last: Any = head.out[-1]
        last.bias[1] = 10.0  # and every cell of it is valid, so that the memory fills
        model.register_modules(depth_head=nn.Module.to(head, device, model.depth_head.dtype).eval())
    model.register_modules(tokenizer=word_tokenizer(("a", "room")))
    return model


def walked(model: WorldModel, chunks: int, steps: int, *, beside: bool) -> tuple[float, Session]:
    """There and back, every frame decoded: seconds, and the session after it."""
    height, width = model.size
    path = PRESETS["there_and_back"](Camera.looking(aspect=width / height), 1 + chunks * (model.chunk_frames - 1))
    image = torch.rand((3, height, width), generator=torch.Generator().manual_seed(0))
    settings = Settings(sampler=Sampler(steps=steps))
    wait(model.runs_on)
    began = time.perf_counter()
    session = Session(model, image, camera=path[0], settings=settings)
    follow(session, path, beside=beside)
    return time.perf_counter() - began, session


def follow(session: Session, path: Camera, *, beside: bool) -> None:
    """Every frame to main memory, as who shows them needs them."""
    made = session.follow(path)
    for chunk in overlapped(made, device=session.model.runs_on) if beside else made:
        chunk.frames.cpu()


def networks(model: WorldModel) -> dict[str, nn.Module]:
    """The parts of a world that have weights."""
    return {name: part for name, part in model.components.items() if isinstance(part, nn.Module)}


def seconds(
    call: Callable[[], object],
    device: torch.device,
    *,
    repeats: int = 20,
    warm: int = 3,
    events: bool = False,
    empty_cache: bool = False,
    before: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Of a call until the device is done, median and quartiles; `warm` calls come first. `events`: on a GPU between
    CUDA events. `empty_cache`: what the call reads is not in the GPU's cache. `before` runs before each, uncounted."""
    gpu, times = device.type == "cuda", []
    flood = torch.empty(COPIED // 4, dtype=torch.uint8, device=device) if gpu and empty_cache else None
    for turn in range(repeats + warm):
        before()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2)) if gpu and events else (None, None)
        wait(device)
        if flood is not None:
            flood.zero_()
        if start is not None and end is not None:
            start.record()  # while the flood still runs, so that the launch of a short call is not part of it
            call()
            end.record()
            wait(device)
            taken = 1e-3 * start.elapsed_time(end)
        else:
            wait(device)
            began = time.perf_counter()
            call()
            wait(device)
            taken = time.perf_counter() - began
        if turn >= warm:
            times.append(taken)
    return spread(times)


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {"value": middle, "low": low, "high": high}


def scaled(cell: dict[str, float], factor: float) -> dict[str, float]:
    return {name: factor * value for name, value in cell.items()}


def _value(stage: dict[str, float]) -> dict[str, float]:
    """A cell of efficiency.py as one of records.py."""
    return {"value": stage["median"], "low": stage["q1"], "high": stage["q3"]}


def held(device: torch.device) -> int:
    """Bytes of tensors on the GPU; the most that there are is counted anew from here."""
    if device.type != "cuda":
        return 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def most_held(device: torch.device, before: int) -> float | None:
    """GiB beside `before`, at most, since `held`; None without a GPU."""
    return (torch.cuda.max_memory_allocated() - before) / GIB if device.type == "cuda" else None


def wait(device: torch.device) -> None:
    """For what the device was asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
