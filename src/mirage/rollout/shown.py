"""What the denoiser is shown: the readout, the latents before the chunk, a few earlier views, the prompt.

`T` latent frames of the chunk, `L` tokens of the prompt, `D` their width.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from mirage.chunks import TIME_STRIDE
from mirage.conditioning import as_published, build_condition
from mirage.geometry.camera import Camera
from mirage.memory import Readout
from mirage.models.condition import Condition
from mirage.rollout.looking_back import preceding as preceding_count

if TYPE_CHECKING:
    from mirage.rollout.session import Session


def shown(
    session: "Session",
    readout: Readout,
    views: Camera,
    between: Camera,
    *,
    references: Sequence[int],
    preceding: bool,
    text: Tensor,
) -> Condition:
    """The condition of a chunk that is seen from `views` [T], with the frames `between` [T,3] them, text [1,L,D].
    references: places in the history, in the order in which they are shown; preceding: whether the clean latents before
    the chunk's first one are, too."""
    past, model, before = session.history, session.model, preceding_count(session) if preceding else 0
    condition = build_condition(
        readout,
        views,
        history=past.latents[-1 - before :],
        references=past.latents[list(references)],
        text=text,
        between=between if model.memory_branch is not None and model.memory_branch.use_motion else None,
    )
    if model.memory_branch is None or not model.memory_branch.published:
        return condition
    # the memory as it is now, seen from the preceding frames: so the published training data have it
    count = condition.preceding.shape[2]
    earlier = condition.preceding[0].transpose(0, 1)  # nothing, where there are none
    if count:
        earlier = session.memory.read(past.camera[-1 - count : -1], session.grid).latents
    longest = 1 + (model.chunk_frames - 1) // TIME_STRIDE + preceding_count(session)
    constant = model.constant(longest, session.grid)
    return as_published(condition, earlier, None if constant is None else constant[: condition.frames + count])
