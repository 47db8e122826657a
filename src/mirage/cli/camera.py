"""`mirage camera`: what a camera file says, in our convention, and the same path in another format. `F`: poses."""

from mirage.cli.arguments import CameraFile
from mirage.cli.reading import camera_options
from mirage.cli.terminal import Result
from mirage.errors import InputError
from mirage.formats.cameras import read_cameras, save_cameras
from mirage.formats.cameras.doctor import examined
from mirage.geometry.trajectory import resampled


def run(asked: CameraFile) -> Result:
    """Print a summary; write the path where it was asked for."""
    if (asked.out is None) != (asked.format is None):
        raise InputError("converting takes both --out and --format; looking takes neither")
    record = read_cameras(asked.path, camera_options(asked))
    found = examined(record)
    print(f"{asked.path}")
    for line in found.lines:
        print(f"  {line}")
    for warning in found.warnings:
        print(f"  warning: {warning}")
    summary = {"path": str(asked.path), **found.summary}
    camera = record.camera if asked.frames is None else resampled(record.camera, asked.frames)
    if asked.out is not None and asked.format is not None:
        save_cameras(asked.out, camera, format=asked.format, size=asked.size)
        summary["wrote"] = str(asked.out)
        print(f"wrote {asked.out} ({asked.format})")
    return Result(summary)
