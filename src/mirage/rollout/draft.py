"""Newly generated regions of a chunk, generated once: a draft of a few of its views, which all of them then know.

Where nothing is known a small network draws every frame of a chunk by itself, and what it draws does not move as the
camera does. So it first draws a few views that lie apart, from all that is known. What that puts where nothing was
known is lifted into a memory that is thrown away, the view with most to show first; then the chunk is drawn, and to
it the draft is known. A draft listens to the prompt more than the chunk does (`WorldModel.draft_guidance`), for new
regions are what words are about; and it may take more steps (`WorldModel.draft_steps`), for it has few frames.

    readout of a few views --denoise--> draft --lift the view that shows most--> scratch memory --read--> fills holes
                                                  ^------------- until no view has holes worth it -----------'

`T` latent frames of a chunk, its first included, `D` of a draft, `C` latent channels, `h w` latent grid.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mirage.chunks import TIME_STRIDE
from mirage.conditioning import drafted_views, frames_between
from mirage.depth.protocol import Views, estimated
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.memory import LatentSpatialMemory, MemoryPolicy, Readout
from mirage.rollout.estimators import depth_head
from mirage.rollout.plan import Draft, Plan

if TYPE_CHECKING:
    from mirage.rollout.session import Session

WORTH = 0.02
"""Share of a view's cells that must be unknown for it to be lifted, and of a chunk's for it to be drafted."""


def worth_drafting(readout: Readout) -> bool:
    """Whether so much of a chunk [T] is to be newly generated; its first frame is there already."""
    return float((~readout.mask[1:]).float().mean()) > WORTH


def draft_of(session: "Session", plan: Plan, past_views: Sequence[int]) -> Draft:
    """A few views of the plan's, and how they become known to its chunk. A draft is not meant to be looked at: its
    depth is the model's own where it has a depth head."""
    shown = drafted_views(len(plan.views))
    few, views, between = plan.readout[shown], plan.views[shown], frames_between(plan.views[0], plan.camera)
    condition = session._condition(few, views, between[shown], (), preceding=False)
    first = session._planned(few, views, condition, plan.timings, draft=True)
    estimator = session.estimator if session.model.depth_head is None else depth_head(session.model)
    past = session.history

    @torch.no_grad()
    def complete(latents: Tensor) -> Plan:
        def decoded() -> Tensor:
            stream = torch.cat([past.latents[-1:], latents.to(past.latents)])
            return session.model.decode(stream)[TIME_STRIDE::TIME_STRIDE]

        number = TIME_STRIDE * (int(past.number[-1]) + torch.tensor(shown[1:]))
        depth = estimated(estimator, Views(latents, views[1:], number, False, decoded))
        depth = session._aligned(depth, few[1:]).depth
        filled = completed(plan.readout, latents, depth, plan.views, shown[1:])
        known = session._condition(filled, plan.views, between, past_views)
        negative = None if plan.negative is None else session._negative(known)
        return replace(plan, condition=known, negative=negative, draft=None)

    return Draft(first, complete)


def completed(readout: Readout, draft: Tensor, depth: DepthMap, camera: Camera, views: list[int]) -> Readout:
    """The readout [T] of a chunk, seen by `camera` [T], with its holes filled from a draft of some of its `views`:
    latents [D,C,h,w] with their depth [D,h,w].

    What was known stays as it was. Cells that a draft fills are known (`mask`), but belong to no point and no frame
    (-1).
    """
    grid = (readout.mask.shape[-2], readout.mask.shape[-1])
    scratch = LatentSpatialMemory(draft.shape[1], policy=MemoryPolicy(), device=readout.latents.device)
    filled, left = readout, dict(enumerate(views))
    while left:
        number = max(left, key=lambda n: int((~filled.mask[left[n]]).sum()))
        at = left.pop(number)
        unknown = ~filled.mask[at]
        if float(unknown.float().mean()) <= WORTH:
            break
        one = slice(number, number + 1)
        scratch.write(draft[one], depth[one], camera[at : at + 1], keep=unknown[None])
        filled = _over(readout, scratch.read(camera, grid))
    return filled


def _over(known: Readout, beneath: Readout) -> Readout:
    """The readout, with the other one in its holes."""
    here, there = known.mask[:, None], known.mask
    nothing = torch.full_like(known.index, -1)
    return replace(
        known,
        latents=torch.where(here, known.latents, beneath.latents.to(known.latents)),
        mask=there | beneath.mask,
        depth=DepthMap(torch.where(there, known.depth.z, beneath.depth.z), known.depth.valid | beneath.depth.valid),
        index=torch.where(there, known.index, nothing),
        frame=torch.where(there, known.frame, nothing.to(known.frame)),
        offset=torch.where(here, known.offset, beneath.offset.to(known.offset)),
    )
