"""What other packages add, by entry points that they declare; standard library only.

    [project.entry-points."mirage.memories"]
    nearest = "their_package:nearest"                   # model -> SpatialMemory
    [project.entry-points."mirage.depth_estimators"]
    theirs = "their_package:estimator"                  # device -> DepthEstimator
    [project.entry-points."mirage.camera_formats"]
    theirs = "their_package:FORMAT"                     # a CameraFormat

A name of ours stays ours. Nothing of theirs is imported before it is asked for, but for camera formats, which are asked
of every file.
"""

from importlib.metadata import entry_points
from typing import Any, Literal

from mirage.errors import InputError

Group = Literal["memories", "depth_estimators", "camera_formats"]


def plugin_names(group: Group) -> list[str]:
    """What is there to load."""
    return sorted(entry_points(group=f"mirage.{group}").names)


def plugin(group: Group, name: str) -> Any:
    """What an entry point names; `InputError` where that does not load."""
    (found, *_) = entry_points(group=f"mirage.{group}", name=name)
    try:
        return found.load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"{name} of {found.value} does not load: {error}") from error
