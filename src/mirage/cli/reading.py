"""What was typed about a camera file, as the formats take it."""

from mirage.cli.arguments import CameraReading, PathEdits
from mirage.errors import InputError
from mirage.formats.cameras import CameraOptions
from mirage.geometry.edits import Edits


def camera_options(asked: CameraReading) -> CameraOptions:
    """The options of a subcommand that reads cameras."""
    return CameraOptions(
        pose=asked.convention,
        axes=asked.axes,
        quaternion=asked.quaternion,
        camera=asked.camera,
        size=asked.image_size,
        pixel_centers=asked.pixel_centers,
        read_as=asked.read_as,
        bridge_lost=asked.bridge_lost,
    )


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
