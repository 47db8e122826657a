"""What the denoiser is shown: the readout, the latents before the chunk, a few earlier views, the prompt.

`T` latent frames of the chunk, `h w` latent grid.
"""

from collections.abc import Sequence

from torch import Tensor

from mirage.chunks import TIME_STRIDE
from mirage.conditioning import as_published, build_condition
from mirage.geometry.camera import Camera
from mirage.memory import Readout
from mirage.memory.protocol import SpatialMemory
from mirage.models.condition import Condition
from mirage.models.world import WorldModel
from mirage.rollout.history import History


def shown(
    readout: Readout,
    views: Camera,
    *,
    past: History,
    references: Sequence[int],
    preceding: int,
    model: WorldModel,
    memory: SpatialMemory,
    text: Tensor,
) -> Condition:
    """The condition of a chunk that is seen from `views` [T]; `references`: places in `past`, `preceding`: how many
    clean latents before the chunk's first."""
    condition = build_condition(
        readout,
        views,
        history=past.latents[-1 - preceding :],
        references=past.latents[sorted(references)],
        text=text,
    )
    if model.memory_branch is None or not model.memory_branch.published:
        return condition
    # the memory as it is now, seen from the preceding frames: so the published training data have it
    grid = (past.latents.shape[-2], past.latents.shape[-1])
    count = condition.preceding.shape[2]
    earlier = condition.preceding[0].transpose(0, 1)  # nothing, where there are none
    if count:
        earlier = memory.read(past.camera[-1 - count : -1], grid).latents
    longest = 1 + (model.chunk_frames - 1) // TIME_STRIDE + max(preceding, 1)
    constant = model.constant(longest, grid)
    return as_published(condition, earlier, None if constant is None else constant[: condition.frames + count])
