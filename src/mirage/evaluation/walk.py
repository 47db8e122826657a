"""One image and a path become a video to be measured. `F` frames, `T` latent frames, `h w` latent grid, `H W` size."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mirage.chunks import TIME_STRIDE
from mirage.errors import InputError
from mirage.evaluation.options import Re10kOptions, Subject, WorldScoreOptions
from mirage.formats.photograph import photograph_of
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.memory.protocol import SpatialMemory
from mirage.models.world import WorldModel
from mirage.rollout.memories import make_memory
from mirage.rollout.session import Session
from mirage.rollout.settings import Settings
from mirage.sampler import Sampler


@dataclass(frozen=True, eq=False)
class Walk:
    """`frames` [F,3,H,W] in [0, 1]; wall `seconds`; `known` bool [T,h,w], what the memory knew of latent frames 1..
    beforehand; `depth` [1+T,h,w], the walk's own, of frames 0, 4, ... A foreign model has neither."""

    frames: Tensor
    seconds: float
    known: Tensor | None = None
    depth: DepthMap | None = None


Generate = Callable[[Tensor, Camera, Sequence[str]], Walk]
"""(image [3,H,W], path [F], prompts) -> the walk along it; several prompts hold for equal parts of the path in turn."""


def generator(
    model: WorldModel,
    *,
    memory: Callable[[WorldModel], SpatialMemory] | None = None,
    settings: Settings | None = None,
    seed: int = 0,
) -> Generate:
    """Walks of a world model, each with a memory of its own (None: the default latent one)."""

    def generate(image: Tensor, path: Camera, prompts: Sequence[str]) -> Walk:
        started = time.perf_counter()
        session = Session(
            model,
            photograph_of(image),  # as large as it is: a picture might be made smaller
            camera=path[0],
            prompt=prompts[0] if prompts else "",
            memory=memory(model) if memory else None,
            settings=settings,
            seed=seed,
        )
        first, chunks = session.history.depth, []
        for prompt, leg in zip(prompts or [""], legs(path, len(prompts) or 1), strict=True):
            session.prompt = prompt
            chunks += list(session.follow(leg))
        frames = torch.cat([chunk.frames.float().cpu() for chunk in chunks])[: len(path)]
        depth = DepthMap.concatenate([part.to("cpu") for part in (first, *(chunk.depth for chunk in chunks))])
        known = torch.cat([chunk.readout.mask.cpu() for chunk in chunks])
        return Walk(frames, time.perf_counter() - started, known, depth)

    return generate


def generator_of(model: WorldModel, options: Re10kOptions | WorldScoreOptions) -> Generate:
    """Walks of a model with the memory, steps and seed that an evaluation asks for."""
    return generator(
        model,
        memory=lambda model: make_memory(options.memory, model),
        settings=Settings(sampler=Sampler(steps=options.steps)),
        seed=options.seed,
    )


def subject_of(model: WorldModel, name: str, steps: int | None) -> Subject:
    """A model as what is measured, at its own size and chunk length."""
    return Subject(
        f"{name} steps={steps or model.sampler.steps}",
        size=model.size,
        stride=model.stride,
        chunk_frames=model.chunk_frames,
    )


def legs(path: Camera, count: int) -> list[Camera]:
    """The path in `count` equal parts, neighbours sharing a pose. The end is padded by standing still to 1 + 4k frames;
    parts before the end must have that length by themselves."""
    steps = len(path) - 1
    if count > 1 and (steps % count or (steps // count) % TIME_STRIDE):
        raise InputError(f"a path of {len(path)} frames in {count} parts; every part needs 1 + 4k frames, sharing ends")
    padding = -steps % TIME_STRIDE if steps else TIME_STRIDE
    if padding:
        path = Camera.concatenate([path, path[torch.full((padding,), steps)]])
    each = (len(path) - 1) // count
    return [path[start : start + each + 1] for start in range(0, len(path) - 1, each)]
