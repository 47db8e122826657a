"""The memory that a model's networks need, worked out before anything is loaded.

The networks are built from their configurations on the `meta` device, where a tensor has a shape and no storage, and
the real verbs (`encode_prompt`'s encoder, `encode`, `denoise`, `depth`, `decode`) are run there while `Live` counts the
bytes of every tensor that is alive. So the figures follow the code: when a verb keeps more, they grow.

Not seen: what a library takes inside one operation (workspaces of convolutions, the allocator's rounding) and the CUDA
context. Attention is counted as its inputs and output, as the fused kernels work.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import flop_registry

from mirage.chunks import frame_count, latent_count
from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.models import wan22
from mirage.models.codec import StreamDecoder, Tiles, cuts
from mirage.models.condition import Condition
from mirage.models.depth_head import LatentDepthHead
from mirage.models.fitting.blueprint import blueprint
from mirage.models.fitting.offload import GROUPED, Offload
from mirage.models.fitting.quantize import BYTES, Quantize, is_quantized
from mirage.models.fold import fold_time
from mirage.models.loading import BUNDLED
from mirage.models.transformer import MemoryBranch
from mirage.models.world import WorldModel
from mirage.sampler import Sampler

BUILT_IN = "wan2.2-ti2v-5b"
META = torch.device("meta")
_FLOAT32 = {"transformer": ["time_embedder", "scale_shift_table", "norm1", "norm2", "norm3"],
            "memory_branch": ["scale_shift_table", "norm1", "norm2", "norm3"]}  # fmt: skip
"""Parts that diffusers keeps in float32 whatever is asked for."""


@dataclass(frozen=True)
class Stage:
    """One thing that a step of a walk does.

    networks   that run in it
    work       the most that it needs beside weights, bytes
    kept       what of that it leaves behind for the next step: the decoder's causal cache, else next to nothing
    rested     `work` if what is kept lies in main memory when nobody uses it
    flops      floating-point operations of its products, convolutions and attention, for one chunk or one step
    """

    name: str
    networks: tuple[str, ...]
    work: int
    kept: int
    rested: int
    flops: int


@dataclass(frozen=True, eq=False)
class Budget:
    """What a model needs at one size: its networks, on the meta device, and its stages, by name.

    size H W of frames, grid h w and channels of latents, chunk_frames: video frames per chunk.
    """

    networks: dict[str, nn.Module]
    stages: dict[str, Stage]
    size: tuple[int, int]
    grid: tuple[int, int]
    channels: int
    chunk_frames: int

    @property
    def shown(self) -> int:
        """Bytes of a chunk's frames: who walks looks at the last ones while the next are made."""
        return (self.chunk_frames - 1) * 3 * self.size[0] * self.size[1] * 4

    def weights(self, component: str, *, quantize: Quantize = "none") -> int:
        """Bytes of a component's weights and buffers; a weight that is used twice counts once."""
        buffers = sum(buffer.numel() * buffer.element_size() for buffer in self.networks[component].buffers())
        return buffers + sum(self._sizes(component, quantize).values())

    def resident(self, stage: str, *, offload: Offload, quantize: Quantize = "none") -> int:
        """Bytes of weights on the device while a stage runs."""
        running, total = self.stages[stage].networks, 0
        for name in self.networks:
            stays = offload == "none" or (offload == "group" and name not in GROUPED)
            if stays or (offload == "model" and name in running):
                total += self.weights(name, quantize=quantize)
            elif offload == "group" and name in running:
                total += self._grouped(name, quantize)
        return total

    def needs(self, *, offload: Offload, quantize: Quantize = "none", kept: int = 0,
              beside: bool = False) -> dict[str, int]:  # fmt: skip
        """Bytes on the device while each stage runs, from the second chunk on. The last chunk's frames lie there all
        the time, and the decoder's cache too, unless networks are offloaded.

        kept     what else lies there all the time
        beside   decoding runs beside the next chunk's other stages, as it does on a GPU where nothing is offloaded
        """
        rests, decode = offload != "none", self.stages["decode"]
        found = {}
        for name, stage in self.stages.items():
            there = self.resident(name, offload=offload, quantize=quantize) + kept + self.shown
            there += 0 if rests else decode.kept
            if beside and name not in ("encode", "decode"):
                found[f"{name}, decode"] = there + stage.work + decode.work
            else:
                found[name] = there + (stage.rested if rests else stage.work)
        return found

    def _grouped(self, component: str, quantize: Quantize) -> int:
        """What stands outside the blocks, the block that runs, and the next one on its way."""
        stacks = (part for part in self.networks[component].modules() if isinstance(part, nn.ModuleList))
        stack = max(stacks, key=len)
        inside = {id(weight) for weight in stack.parameters()}
        sizes = self._sizes(component, quantize)
        blocks = sum(size for weight, size in sizes.items() if weight in inside)
        return self.weights(component, quantize=quantize) - blocks + min(2, len(stack)) * -(-blocks // len(stack))

    def _sizes(self, component: str, quantize: Quantize) -> dict[int, int]:
        """Bytes of each weight, by its identity."""
        network = self.networks[component]
        return {
            id(weight): round(weight.numel() * BYTES[quantize])
            if quantize != "none" and is_quantized(component, network, name)
            else weight.numel() * weight.element_size()
            for name, weight in network.named_parameters()
        }


def budget(
    model: str | Path,
    *,
    dtype: torch.dtype,
    size: tuple[int, int] | None = None,
    tile: int | None = None,
    references: int = 2,
    preceding: int = 1,
    cpu: bool = False,
    show: Callable[[int, str], None] = lambda number, stage: None,
) -> Budget:
    """What a model needs, by name ("mini", "wan2.2-ti2v-5b") or a folder of configurations; weights are not read.

    size       frames H W; None: the model's own
    tile       decode in tiles of that many pixels
    cpu        count as the CPU computes: convolutions over time folded
    show       called with the number and name of each stage before it is worked out, which may take seconds
    """
    world = world_of(model, dtype)
    if cpu:
        fold_time(world.vae)
    height, width = size or world.size
    patch = max(world.transformer.config.patch_size[1:])  # pyright: ignore[reportAttributeAccessIssue]
    if height % (world.stride * patch) or width % (world.stride * patch) or min(height, width) <= 0:
        raise InputError(f"frames of {height}x{width}; accepted: multiples of {world.stride * patch}")
    grid = (height // world.stride, width // world.stride)
    frames = latent_count(world.chunk_frames)
    networks = {name: part for name, part in world.components.items() if isinstance(part, nn.Module)}
    known = {t.untyped_storage()._cdata for n in networks.values() for t in [*n.parameters(), *n.buffers()]}

    stages: list[Stage] = []

    def stage(name: str, parts: tuple[str, ...], work: Callable[[], Any]) -> None:
        show(len(stages), name)
        with torch.no_grad(), _Fused() as fused, Live(set(known)) as live:
            result = work()
            kept = live.now
        del result
        stages.append(Stage(name, parts, live.most, kept, live.most, live.flops + fused.flops))

    def text() -> Any:
        length = world.config["text_length"]
        return world.text_encoder(torch.zeros(1, length, dtype=torch.long, device=META)).last_hidden_state

    def denoise() -> Any:
        given = _condition(world, grid, frames, references, preceding, dtype)
        return world.denoise(given, generator=torch.Generator(), sampler=Sampler(steps=1))

    stage("prompt", ("text_encoder",), text)
    stage("encode", ("vae",), lambda: world.encode(_empty(1, 3, height, width)))
    stage("denoise", ("transformer", "memory_branch"), denoise)
    if world.depth_head is not None:
        latents = _empty(frames - 1, world.channels, *grid)
        camera = Camera.looking().to(META)
        stage("depth", ("depth_head",), lambda: world.depth(latents, camera, first=False))

    # One tile (a whole frame is one) of three latents, by when its cache has its full size; then the pixels of all.
    tiles = None if tile is None else Tiles.of(tile, world.stride)
    counted, cut = min(frames, 3), [[cells.stop - cells.start for cells, _ in cuts(n, tiles)] for n in grid]
    h, w = (max(sides) for sides in cut)
    stage("decode", ("vae",), lambda: _decoded(world, _empty(counted, world.channels, h, w)))
    found, cell = stages.pop(), 3 * world.stride**2 * 4  # bytes of the pixels of a cell, in one video frame
    rested = found.work + (frame_count(frames) * grid[0] * grid[1] - frame_count(counted) * h * w) * cell
    kept = found.kept * sum(cut[0]) * sum(cut[1]) // (h * w)
    flops = found.flops * sum(cut[0]) * sum(cut[1]) // (h * w) * frames // counted
    stages.append(Stage(found.name, found.networks, rested + kept - found.kept, kept, rested, flops))
    found = {one.name: one for one in stages}
    return Budget(networks, found, (height, width), grid, world.channels, world.chunk_frames)


def _decoded(model: WorldModel, latents: Tensor) -> StreamDecoder:
    """The stream after these latents; its frames are gone, its cache is there."""
    stream = StreamDecoder(model.vae)
    stream.decode(latents)
    return stream


class Live(TorchDispatchMode):
    """Bytes of tensors on a device that were made since and are still alive: `now`, and the `most` there were; `flops`:
    operations of products and convolutions."""

    def __init__(self, known: set[int], device: torch.device = META) -> None:
        """known: storages that were there before, such as weights, which views of them do not make anew."""
        super().__init__()
        self.known, self.device, self.now, self.most, self.flops = known, device, 0, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=out)
        tree_map_only(Tensor, self._made, out)
        return out

    def _made(self, tensor: Tensor) -> None:
        if tensor.device != self.device:
            return
        storage = tensor.untyped_storage()
        if storage._cdata not in self.known:
            self.known.add(storage._cdata)
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())

    def _gone(self, storage: int, nbytes: int) -> None:
        self.known.discard(storage)
        self.now -= nbytes


class _Fused(TorchFunctionMode):
    """Attention without its matrix: on the meta device torch would write it out, which no real device does. `flops`:
    the operations of its two products."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            query, _, value = args[:3] if len(args) >= 3 else (kwargs["query"], None, kwargs["value"])
            self.flops += 2 * query.numel() * value.shape[-2] + 2 * query.shape[-2] * value.numel()
            return query.new_empty(*query.shape[:-1], value.shape[-1])
        return func(*args, **kwargs)


def world_of(model: str | Path, dtype: torch.dtype) -> WorldModel:
    """The model without weights, on the meta device, as it would be loaded in `dtype`."""
    if str(model) == BUILT_IN:
        with TemporaryDirectory() as folder:
            wan22.write_configs(Path(folder))
            world = blueprint(folder)
        with META:
            world.register_modules(memory_branch=MemoryBranch.from_transformer(world.transformer),
                                   depth_head=LatentDepthHead(world.channels))  # fmt: skip
    else:
        folder = BUNDLED.get(str(model), Path(model).expanduser())
        if not (folder / "model_index.json").is_file():
            accepted = f"{', '.join(BUNDLED)}, {BUILT_IN}, or a folder with model_index.json and its configurations"
            raise InputError(f"no model {str(model)!r}; accepted: {accepted}")
        world = blueprint(folder)
    for name, part in world.components.items():
        if isinstance(part, nn.Module):
            nn.Module.to(part, dtype=dtype)
            for key, weight in part.named_parameters():
                if any(word in key.split(".") for word in _FLOAT32.get(name, [])):
                    weight.data = weight.data.float()
    return world.eval()


def _condition(
    model: WorldModel, grid: tuple[int, int], frames: int, references: int, preceding: int, dtype: torch.dtype
) -> Condition:
    def part(channels: int, count: int) -> Tensor:
        return _empty(1, channels, count, *grid)

    c, text = model.channels, model.text_encoder.config.d_model
    published: dict[str, Tensor] = {}
    if model.memory_branch is not None and model.memory_branch.published:
        published = {"preceding_memory": part(c, preceding), "constant": part(c, frames + preceding)}
        if model.memory_branch.inputs != "published":
            del published["constant"]
    return Condition(part(c, frames), part(1, frames), part(2, frames), part(6, frames), part(c, 1),
                     part(c, preceding), part(c, references), _empty(1, model.config["text_length"], text).to(dtype),
                     **published)  # fmt: skip


def _empty(*shape: int) -> Tensor:
    return torch.empty(shape, device=META)
