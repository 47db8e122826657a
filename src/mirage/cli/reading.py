"""What was typed about a path, as `geometry.edits` takes it."""

from mirage.cli.arguments import PathEdits
from mirage.errors import InputError
from mirage.geometry.edits import Edits


def path_edits(asked: PathEdits, *, frames: int | None) -> Edits:
    """What is to be done to a path; `frames`: how many it is to have, None: as many as it has."""
    if asked.fly_through and frames is None:
        raise InputError("--fly-through needs the number of frames to make; got none (camera: --resample N)")
    return Edits(
        first=asked.first or 0,
        last=asked.last,
        scale=asked.path_scale,
        level=asked.level,
        smooth=asked.smooth_frames if asked.smooth else None,
        frames=frames,
        by=asked.by,
        curve=asked.fly_through,
        reverse=asked.reverse,
        loop=asked.loop,
    )
