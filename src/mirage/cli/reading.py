"""What was typed about a camera file, as the formats take it."""

from mirage.cli.arguments import CameraReading
from mirage.formats.cameras import CameraOptions


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
