"""Two worlds in one frame of reference become one. `N` points, `K` written frames."""

import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.memory.memory import LatentSpatialMemory
from mirage.memory.points import PAGE


def merge(a: LatentSpatialMemory, b: LatentSpatialMemory) -> LatentSpatialMemory:
    """A new memory with all of `a` and those points of `b` that `a` does not know; neither is changed.

    A point of `b` is known where a point of `a` lies in the same cube as wide as the point's own footprint or its
    neighbours, and is not coarser than `a.policy.resolution_ratio` times it. Frames of `b` are numbered after those of
    `a`. The policy is `a`'s; features are stored as it says. Under a budget both must fit together.
    """
    if a.channels != b.channels:
        raise InputError(f"worlds of {a.channels} and {b.channels} channels do not merge: other latents, other world")
    tensors, meta = a.state()
    others, other_meta = b.state()
    if other_meta["policy"]["features"] != meta["policy"]["features"]:
        raise InputError(
            f"worlds with {meta['policy']['features']} and {other_meta['policy']['features']} features do "
            "not merge; load one and write it again"
        )
    others = {name: tensor.to(a.device) for name, tensor in others.items()}
    new = ~_known(
        others["position"], others["footprint"], tensors["position"], tensors["footprint"], a.policy.resolution_ratio
    )
    columns = {"position", "feature", "frame", "footprint", "scale"} & tensors.keys()
    frames = {"frame": a.frames_written, "camera_index": a.frames_written}
    others |= {name: others[name] + first for name, first in frames.items()}
    joined = {
        name: torch.cat([tensors[name], others[name][new] if name in columns else others[name]])
        for name in tensors
        if name != "read"
    }
    read = torch.full(
        (-(-len(joined["position"]) // PAGE),),
        int(max(tensors["read"].tolist(), default=0)),
        dtype=torch.int64,
        device=a.device,
    )
    read[: len(tensors["read"])] = tensors["read"]
    return LatentSpatialMemory.from_state(joined | {"read": read}, meta, device=a.device, source="both together")


def _known(position: Tensor, size: Tensor, among: Tensor, among_size: Tensor, ratio: float) -> Tensor:
    """Which points [N] of `size` have one `among` others [M] in their cube or beside it, at most `ratio` times coarser.

    Cubes are powers of two wide, so that points of like size share a lattice; each level is one sorted search.
    """
    known = torch.zeros(len(position), dtype=torch.bool, device=position.device)
    level = size.clamp_min(1e-6).log2().ceil().long()
    steps = torch.cartesian_prod(*[torch.arange(-1, 2, device=position.device)] * 3)
    for one in level.unique().tolist():
        here = (level == one).nonzero()[:, 0]
        fine = among[among_size <= ratio * 2.0**one]
        lattice = cube_keys((fine / 2.0**one).floor().long()).unique()
        if len(lattice):
            wanted = cube_keys((position[here] / 2.0**one).floor().long()[:, None] + steps)
            place = torch.searchsorted(lattice, wanted).clamp_max(len(lattice) - 1)
            known[here] = (lattice[place] == wanted).any(1)
    return known


def cube_keys(cube: Tensor) -> Tensor:
    """One number for a cube [*,3]: 21 bits each, which is a lattice of two million cubes a side before it wraps."""
    x, y, z = (cube & (2**21 - 1)).unbind(-1)
    return (x << 42) | (y << 21) | z
