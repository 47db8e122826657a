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

from dataclasses import replace

import torch
from torch import Tensor

from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.memory import LatentSpatialMemory, MemoryPolicy, Readout

WORTH = 0.02
"""Share of a view's cells that must be unknown for it to be lifted, and of a chunk's for it to be drafted."""


def worth_drafting(readout: Readout) -> bool:
    """Whether so much of a chunk [T] is to be newly generated; its first frame is there already."""
    return float((~readout.mask[1:]).float().mean()) > WORTH


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
