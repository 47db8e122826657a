"""A denoiser and a depth head for the latents of another autoencoder, without a step of training.

Two autoencoders of the same grid say much the same of a cell, each in its own channels, and what one says is nearly a
linear function of what the other does. So the maps between them, by least squares, are folded into the layers that
latents enter and leave by; all that lies between stays as it was:

    x in the new channels --into--> old channels --old layers--> old channels --back--> x in the new channels

That holds for a network whose output is clean latents. Training goes on from there: the map back says only what the old
channels know.

Letters: C old channels (`c`), D new channels (`d`), n cells.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from mirage.errors import InputError
from mirage.models.depth_head import LatentDepthHead
from mirage.models.transformer import MemoryBranch
from mirage.models.world import WorldModel
from mirage.training.autoencoder import dead_channels
from mirage.training.clips import clip_paths, load_pixels

FRAMES, CLIPS = 17, 24
"""Of so many frames of so many clips both latents are compared."""
RIDGE = 0.05
"""A share of each channel's variance that is added to it: where channels say the same, noise on them does not grow."""
THROUGH = ("patch_embedding.", "proj_out.", "detail.enter.", "detail.leave.3.", "stem.")
"""The layers that latents enter and leave by."""
SURE = 0.9
"""How far a known cell is drawn to the readout in what the old channels did not know of."""


@dataclass(frozen=True, eq=False)
class Linear:
    """x -> weight x, weight [out,in]; `explained` [out]: the share of the variance that it says.

    There is no constant: latents are normalised, and 0 is also what stands where nothing is known."""

    weight: Tensor
    explained: Tensor

    @classmethod
    def fitted(cls, x: Tensor, y: Tensor, *, ridge: float = RIDGE) -> "Linear":
        """Least squares from cells x [n,in] to y [n,out]; to channels of y that are dead, nothing."""
        x, y = x.double(), y.double()
        square = x.T @ x / len(x)
        square += torch.diag(ridge * square.diagonal() + 1e-12)
        weight = torch.linalg.solve(square, x.T @ y / len(x)).T
        weight[dead_channels(y.std(0))] = 0
        explained = 1 - (y - x @ weight.T).square().mean(0) / y.square().mean(0).clamp_min(1e-12)
        return cls(weight.float(), explained.clamp(0, 1).float())


@torch.no_grad()
def maps_between(old: WorldModel, new: WorldModel, clips: Path) -> tuple[Linear, Linear]:
    """(into, back): from the new model's latents to the old one's, and from those, over the same frames of `clips`,
    which are of pixels. Raises `InputError` for grids that differ."""
    cells: list[tuple[Tensor, Tensor]] = []
    for path in clip_paths(clips)[:CLIPS]:
        frames = load_pixels(path).rgb[:FRAMES].float() / 255
        pair = old.encode(frames), new.encode(frames)
        if pair[0].shape[-2:] != pair[1].shape[-2:]:
            grids = " and ".join("x".join(map(str, latents.shape[-2:])) for latents in pair)
            raise InputError(f"the autoencoders' latents have grids of {grids}; expected the same grid")
        cells.append((_cells(pair[0]), _cells(pair[1])))
    theirs, ours = (torch.cat(some) for some in zip(*cells, strict=True))
    living = theirs.clone()
    living[:, dead_channels(theirs.std(0))] = 0
    return Linear.fitted(ours, theirs), Linear.fitted(living, ours, ridge=1e-3)


@torch.no_grad()
def translate(old: WorldModel, new: WorldModel, into: Linear, back: Linear) -> None:
    """Give `new` the transformer, branch, text encoder and depth head of `old`, for its own latents. Both have a branch
    and a head, of the same sizes but for the channels, and clean latents as output; else `InputError`."""
    if old.prediction != "sample" or new.prediction != "sample":
        raise InputError(
            f"the models predict {old.prediction} and {new.prediction}; accepted: sample (clean latents), which alone "
            "can be said in other channels"
        )
    for name in ("transformer", "memory_branch", "text_encoder", "depth_head"):
        _same(name, getattr(old, name), getattr(new, name))
    branch, its = new.memory_branch, old.memory_branch
    assert isinstance(branch, MemoryBranch)
    assert isinstance(its, MemoryBranch)
    if its.use_motion and not branch.use_motion:
        raise InputError("the old branch sees motion and the new one does not; expected it to see that too")
    motion = 6 * branch.use_motion if its.use_motion else -6 * branch.use_motion  # which the old one may not know
    beside = (1 + 2 * its.use_offset, motion, 6 * its.use_rays)
    _enter(new.transformer.patch_embedding, old.transformer.patch_embedding, into, (None,))
    _leave(new.transformer.proj_out, old.transformer.proj_out, back)
    _enter(branch.patch_embedding, its.patch_embedding, into, (None, *beside))
    if branch.detail is not None and its.detail is not None:
        _enter(branch.detail.enter, its.detail.enter, into, (None, *beside, None, 1, None))
        _gated(branch.detail.leave[-1], its.detail.leave[-1], back)
    head, other = new.depth_head, old.depth_head
    assert isinstance(head, LatentDepthHead)
    assert isinstance(other, LatentDepthHead)
    _enter(head.stem, other.stem, into, (None, 3))
    head.center = other.center
    head.register_to_config(log_depth_center=other.center)


def _same(name: str, old: nn.Module, new: nn.Module) -> None:
    """All weights but those that latents enter and leave by."""
    mine, its = new.state_dict(), old.state_dict()
    differing = [
        key for key in mine if not key.startswith(THROUGH) and mine[key].shape != getattr(its.get(key), "shape", None)
    ]
    if differing:
        raise InputError(
            f"{name} of the two models differs in {len(differing)} weights, the first is {differing[0]}; "
            "expected them to differ in channels alone"
        )
    for key in mine:
        if not key.startswith(THROUGH):
            mine[key].copy_(its[key])


def _enter(new: Any, old: Any, into: Linear, seen: tuple[int | None, ...]) -> None:
    """A convolution over inputs of which some are latents (None), so many others something else, and so many (below 0)
    something that the old one did not see."""
    channels = len(into.weight)
    parts = old.weight.split([channels if count is None else max(count, 0) for count in seen], dim=1)
    said = []
    for count, part in zip(seen, parts, strict=True):
        if count is None:
            said.append(torch.einsum("hc...,cd->hd...", part, into.weight))
        else:
            said.append(part if count >= 0 else part.new_zeros(len(part), -count, *part.shape[2:]))
    new.weight.copy_(torch.cat(said, 1))
    new.bias.copy_(old.bias)


def _leave(new: Any, old: Any, back: Linear) -> None:
    """A product whose outputs are latents, of one cell of the patch after the other."""
    channels = back.weight.shape[1]
    for mine, its in ((new.weight, old.weight), (new.bias, old.bias)):
        cells = rearrange(its, "(p c) ... -> p c ...", c=channels)
        mine.copy_(rearrange(torch.einsum("dc,pc...->pd...", back.weight, cells), "p d ... -> (p d) ..."))


def _gated(new: Any, old: Any, back: Linear) -> None:
    """The detail path's last convolution: a change, and per channel how far it is drawn to the readout. What a new
    channel has of the old ones is drawn as they are, the rest by `SURE`."""
    parts = back.weight.abs()
    parts = parts / parts.sum(1, keepdim=True).clamp_min(1e-12) * back.explained[:, None]
    for mine, its in ((new.weight, old.weight), (new.bias, old.bias)):
        change, drawn = its.chunk(2)
        halves = torch.einsum("dc,c...->d...", back.weight, change), torch.einsum("dc,c...->d...", parts, drawn)
        mine.copy_(torch.cat(halves))
    new.bias[len(back.weight) :] += (1 - back.explained) * SURE


def _cells(latents: Tensor) -> Tensor:
    return rearrange(latents.float().cpu(), "t c y x -> (t y x) c")
