"""Memories and ablations by name, and sessions of them: what a comparison varies, and nothing else."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from torch import Tensor

from mirage.chunks import TIME_STRIDE
from mirage.depth.protocol import DepthEstimator, Views
from mirage.errors import InputError
from mirage.evaluation.truth import GroundTruth
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.memory import MemoryPolicy, Readout
from mirage.memory.protocol import SpatialMemory
from mirage.models.world import WorldModel
from mirage.rollout.memories import MEMORIES, latent_memory
from mirage.rollout.session import Session
from mirage.rollout.settings import Settings
from mirage.sampler import Sampler


@dataclass(frozen=True)
class Variant:
    """One row of the comparison: how its memory is made and what else differs. Nothing else does. `true_depth`: of
    which frames the depth that is written is the true one; of the others it is the depth head's."""

    memory: Callable[[WorldModel], SpatialMemory]
    settings: Settings = field(default_factory=Settings)
    true_depth: Literal["none", "first", "every"] = "none"
    rays: bool = True


def _latent(**choices: Any) -> Callable[[WorldModel], SpatialMemory]:
    return lambda model: latent_memory(model, MemoryPolicy(**choices))


VARIANTS: dict[str, Variant] = {
    **{name: Variant(memory) for name, memory in MEMORIES.items()},
    "latent, no lock": Variant(_latent(), Settings(lock=False)),
    "latent, no free space": Variant(_latent(), Settings(free_space=False)),
    "latent, no gate": Variant(_latent(admit="all")),
    "latent, filter": Variant(_latent(), Settings(filter=True)),
    "latent, no draft": Variant(_latent(), Settings(draft=False)),
    "latent, full noise": Variant(_latent(), Settings(sampler=Sampler(noise=1.0))),
    "latent, no filter": Variant(_latent(), Settings(filter=False)),
    "latent, nearest": Variant(_latent(splat="cell", front=0.0)),
    "latent, int8": Variant(_latent(features="int8")),
    "latent, true first depth": Variant(_latent(), true_depth="first"),
    "latent, true depth": Variant(_latent(), true_depth="every"),
    "latent, no rays": Variant(_latent(), rays=False),
    "latent, guidance": Variant(_latent(), Settings(conditioning="guidance")),
    "none, no branch": Variant(MEMORIES["none"], Settings(conditioning="guidance")),
}
"""Memories and ablations by the name that a person types; the first five are the comparison."""


class Step(Protocol):
    """What is looked at of a `rollout.Chunk`."""

    @property
    def frames(self) -> Tensor: ...
    @property
    def readout(self) -> Readout: ...
    @property
    def depth(self) -> DepthMap: ...
    @property
    def memory_bytes(self) -> int: ...


class Walker(Protocol):
    """A `rollout.Session`, or a stand-in."""

    def follow(self, path: Camera) -> Iterable[Step]: ...


MakeSession = Callable[[str, GroundTruth], Walker]
"""The name of a memory and a scene -> a session that stands at the scene's first camera."""


def session_maker(
    model: WorldModel, names: Sequence[str], *, steps: int | None = None, variants: Mapping[str, Variant] = VARIANTS
) -> Callable[[str, GroundTruth], Session]:
    """Sessions by the `names` of their variants; an unknown name is an `InputError`."""
    check_variants(names, variants)
    blind = model.without_rays() if not all(variants[name].rays for name in names) else model

    def make(name: str, truth: GroundTruth) -> Session:
        variant = variants[name]
        return Session(
            model if variant.rays else blind,
            truth.frames[0],
            camera=truth.path[0],
            prompt=truth.caption,
            depth=_true_depth(truth, variant),
            memory=variant.memory(model),
            settings=replace(variant.settings, sampler=replace(variant.settings.sampler, steps=steps)),
            seed=truth.seed,
        )

    return make


def check_variants(names: Sequence[str], variants: Mapping[str, Variant] = VARIANTS) -> None:
    """`InputError` where there is no variant of one of these names."""
    unknown = [name for name in names if name not in variants]
    if unknown:
        raise InputError(f"no memory {unknown[0]!r}; accepted: {'; '.join(variants)}")


def _true_depth(truth: GroundTruth, variant: Variant) -> DepthMap | DepthEstimator | None:
    """The depth that a session is given."""

    def look_up(views: Views) -> DepthMap:
        return truth.depth[views.number // TIME_STRIDE]

    match variant.true_depth:
        case "none":
            return None
        case "first":
            return truth.depth[0]
        case "every":
            return look_up
