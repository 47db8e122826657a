"""Which of the past frames a chunk is shown beside its memory, unless settings say otherwise as its model's own.

`T` target cameras, `J` kept frames.
"""

from typing import TYPE_CHECKING

from mirage.geometry.camera import Camera
from mirage.memory.readout import Readout
from mirage.memory.references import best_overlap_first, pick_references

if TYPE_CHECKING:
    from mirage.rollout.session import Session


def references(session: "Session", readout: Readout, views: Camera) -> list[int]:
    """Places in the history of the views that `views` [T] shall be drawn with, in the order in which the model's branch
    was trained to see them: in the published layout by overlap, best first; else by time."""
    past, model, asked = session.history, session.model, session.settings.references
    count = model.references if asked is None else asked
    if model.published:
        return best_overlap_first(readout, views, past.camera, past.depth, count=count)
    return sorted(pick_references(session.memory, readout, views, past.camera, past.depth, count=count))


def preceding(session: "Session") -> int:
    """How many clean latents before the chunk's first one."""
    asked = session.settings.preceding
    return session.model.preceding if asked is None else asked
