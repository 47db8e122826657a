"""What is to be denoised next, worked out in full and without touching anything: `Plan`, and how plans are denoised.

    plan = session.plan(camera)          pure
    latents, = denoise([plan])           may be cancelled between steps, may hold plans of several sessions
    chunk = session.accept(plan, latents)

`T` latent frames of the chunk, its first one included, `C` latent channels, `h w` latent grid.
"""

import hashlib
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.kinds import Brief
from mirage.memory import Readout
from mirage.models import flow
from mirage.models.condition import Condition, stacked
from mirage.models.world import Conditioning, WorldModel
from mirage.sampler import Sampler


@dataclass(frozen=True, eq=False)
class Plan:
    """One chunk, planned. Held as long as one likes: it says what it was planned from, and a session accepts no other.

    camera      [4k] of the new video frames
    views       [T] of the latents, the first where the session stands
    readout     what the memory knows of the views, [T,...]
    references  numbers of the past latent frames that are shown
    sampler     complete; `seed` of its noise
    negative    the condition to go away from, if there is guidance
    draft       what is drawn first, to be known to the chunk; None: nothing
    origin      the moment that it was planned at
    timings     seconds so far by stage
    """

    model: WorldModel
    camera: Camera
    views: Camera
    readout: Readout
    condition: Condition
    sampler: Sampler
    seed: int
    conditioning: Conditioning
    origin: object
    references: list[int] = field(default_factory=list)
    negative: Condition | None = None
    draft: "Draft | None" = None
    timings: dict[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        drafted = ", after a draft" if self.draft is not None else ""
        known = float(self.readout.coverage.mean())
        return (
            f"Plan({len(self.camera)} frames, {known:.0%} known, {self.sampler.steps} steps{drafted}, seed {self.seed})"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Draft(Brief):
    """A few views, drawn before the chunk (draft.py). `complete(latents)` of its new frames [D-1,C,h,w] is the chunk's
    plan, which knows them."""

    plan: Plan
    complete: Callable[[Tensor], Plan]


@dataclass(frozen=True, eq=False, repr=False)
class Progress(Brief):
    """A denoising step is done; `latents` [B,C,T,h,w] so far, of every plan that is denoised at once."""

    stage: Literal["draft", "chunk"]
    step: int
    steps: int
    timestep: float
    latents: Tensor


def noise_seed(seed: int, index: int) -> int:
    """Of the noise of chunk `index`, 63 bits; no two of the 2^64 seeds of a walk share theirs."""
    if 0 <= seed < 2**61 - 1:
        return hash((seed, index)) % 2**63
    # Python hashes -1 as -2, and whole numbers modulo 2^61 - 1
    return int.from_bytes(hashlib.blake2b(struct.pack("<qq", seed, index), digest_size=8).digest()) >> 1


Callback = Callable[[Progress], None]
"""Called after each denoising step. What it raises ends the denoising, and nothing has changed."""


def denoise(plans: Sequence[Plan], *, callback: Callback | None = None) -> list[Tensor]:
    """The new latents [T-1,C,h,w] of each plan: drafts first, then chunks.

    Plans of one model and of one shape and sampler go through the network together, each with its own noise. On one
    thread of a CPU a row of a batch is what it is alone to about 1e-5, since kernels depend on the batch; where the
    model's kernels do not, to the bit.
    """
    for plan in plans:  # who denoises a plan again counts anew
        for stage in ("draft", "denoise"):
            plan.timings.pop(stage, None)
    drafted = [number for number, plan in enumerate(plans) if plan.draft is not None]
    ready = list(plans)
    with timed([plans[number].timings for number in drafted], "draft"):
        first = [draft.plan for plan in plans if (draft := plan.draft) is not None]
        for number, latents in zip(drafted, _denoised(first, "draft", callback), strict=True):
            draft = plans[number].draft
            assert draft is not None
            ready[number] = draft.complete(latents)
    with timed([plan.timings for plan in plans], "denoise"):
        return _denoised(ready, "chunk", callback)


def _denoised(plans: Sequence[Plan], stage: Literal["draft", "chunk"], callback: Callback | None) -> list[Tensor]:
    """Plans that are alike at once."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for number, plan in enumerate(plans):
        shapes = tuple(None if t is None else tuple(t.shape) for t in vars(plan.condition).values())
        alike = (id(plan.model), shapes, plan.sampler, plan.conditioning, plan.negative is None)
        groups.setdefault(alike, []).append(number)
    made: dict[int, Tensor] = {}
    for group in groups.values():
        some = [plans[number] for number in group]
        away = [plan.negative for plan in some if plan.negative is not None]
        latents = some[0].model.denoise(
            stacked([plan.condition for plan in some]),
            sampler=some[0].sampler,
            generator=[torch.Generator().manual_seed(plan.seed) for plan in some],
            negative=stacked(away) if away else None,
            conditioning=some[0].conditioning,
            callback=_staged(stage, callback),
        )
        for row, number in enumerate(group):
            made[number] = latents[row, :, 1:].transpose(0, 1)
    return [made[number] for number in range(len(plans))]


def _staged(stage: Literal["draft", "chunk"], callback: Callback | None) -> Callable[[flow.Progress], None] | None:
    if callback is None:
        return None
    return lambda at: callback(Progress(stage, at.step, at.steps, at.timestep, at.latents))


def check_origin(plan: Plan, latents: Tensor, origin: object) -> None:
    """A plan is accepted where it was made, with latents of its own shape and of finite numbers."""
    if plan.origin is not origin:
        raise InputError("the plan is of another moment of the walk; plan again from where the session stands now")
    _, c, t, h, w = plan.condition.memory.shape
    if latents.shape != (t - 1, c, h, w):
        raise InputError(f"the plan's latents are {[t - 1, c, h, w]}, got {list(latents.shape)}")
    if not bool(torch.isfinite(latents).all()):
        raise InputError("the latents of the chunk are not finite: the network or its sampler has overflowed")


@contextmanager
def timed(timings: Sequence[dict[str, float]], stage: str) -> Iterator[None]:
    """Adds the seconds of what is inside to the `stage` of all of these."""
    started = time.perf_counter()
    yield
    if torch.cuda.is_initialized():  # what was asked of a GPU is counted where it was asked, beside what others ask
        torch.cuda.current_stream().synchronize()
    seconds = time.perf_counter() - started
    for each in {id(one): one for one in timings}.values():
        each[stage] = each.get(stage, 0.0) + seconds
