"""What a chunk makes up, made up once: a draft of the whole chunk, seen from each of its views.

Where nothing is known a small network draws every frame of a chunk by itself, and what it draws does not move as the
camera does. So it draws twice. What the first time put where nothing was known is lifted into a memory that is thrown
away, view by view, the one with most to show first; the second time it is known to all views.

    readout --denoise--> draft --lift the view that shows most--> scratch memory --read--> fills the holes of the others
                                        ^------------- until no view has holes worth it --------------'

`T` latent frames of a chunk, its first included, `C` latent channels, `h w` latent grid.
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
    """Whether a chunk [T] has so much to make up; its first frame is there already."""
    return float((~readout.mask[1:]).float().mean()) > WORTH


def completed(readout: Readout, draft: Tensor, depth: DepthMap, camera: Camera) -> Readout:
    """The readout [T] of a chunk with its holes filled from a draft of it: latents [T-1,C,h,w] of all frames but the
    first, with their depth [T-1,h,w]; `camera` [T].

    What was known stays as it was. Cells that a draft fills are known (`mask`), but belong to no point and no frame
    (-1), and where a view fills its own cells the draft stands as it is.
    """
    grid = (readout.mask.shape[-2], readout.mask.shape[-1])
    scratch = LatentSpatialMemory(draft.shape[1], policy=MemoryPolicy(), device=readout.latents.device)
    filled, left = readout, set(range(1, len(readout)))
    while left:
        most = max(left, key=lambda t: int((~filled.mask[t]).sum()))
        unknown = ~filled.mask[most]
        if float(unknown.float().mean()) <= WORTH:
            break
        left.remove(most)
        view = slice(most - 1, most)
        scratch.write(draft[view], depth[view], camera[most : most + 1], keep=unknown[None])
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
