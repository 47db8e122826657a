"""`mirage camera`: what a camera file says, in our convention; the same path drawn, edited, and in another format.
`F`: poses.
"""

from dataclasses import replace
from typing import Any

from mirage.cli.arguments import CameraFile
from mirage.cli.outputs import camera_files
from mirage.cli.reading import path_edits
from mirage.cli.settling import settled
from mirage.cli.terminal import Result, Wrote
from mirage.errors import InputError
from mirage.files import Output, check_outputs
from mirage.formats.cameras import CameraRecord, camera_options, read_cameras, save_cameras
from mirage.formats.cameras.doctor import examined
from mirage.formats.cameras.save import writer_of
from mirage.geometry.edits import Edits


def run(asked: CameraFile) -> Result:
    """Print a summary; draw and write the path where that was asked for."""
    if asked.format is not None and asked.out is None:
        raise InputError(f"--format {asked.format} needs --out, where to write the path")
    edits = path_edits(asked, frames=asked.resample)
    outputs = [] if asked.preview is None else [Output("preview", asked.preview, (".png",))]
    outputs += camera_files(asked.out, asked.format)
    check_outputs(*outputs, inputs=[asked.path, asked.images], overwrite=asked.overwrite)
    options = camera_options(asked)
    record = read_cameras(asked.path, options)
    said: list[str] = []
    pictures: dict[str, Any] = {}
    if asked.images is not None:
        record, said, pictures = settled(record, asked.path, options, asked.images)
    found = examined(record)
    print(f"{asked.path}")
    for line in (*found.lines, *said):
        print(f"  {line}")
    for warning in found.warnings:
        print(f"  warning: {warning}")
    summary = {"path": str(asked.path), **found.summary, **pictures}
    walk = found.lines[-1]
    if edits != Edits():
        record = edited(record, edits)
        after = examined(record)
        walk = after.lines[-1]
        summary["edited"] = after.summary
        print(f"  edited: {walk}")
    if asked.preview is not None:
        from mirage.formats.image import save_image
        from mirage.formats.pathview import path_view  # brings matplotlib

        wrote = Wrote(asked.preview)
        save_image(asked.preview, path_view(record.camera, title=str(asked.path), note=walk))
        summary["preview"] = str(asked.preview)
        wrote(f"{asked.preview} (drawn)")
    if asked.out is not None:
        wrote = Wrote(asked.out)
        summary["lost"] = list(write(record, asked, edits))
        summary["wrote"] = str(asked.out)
        wrote(f"{asked.out} ({writer_of(asked.out, asked.format).name})")
    return Result(summary)


def edited(record: CameraRecord, edits: Edits) -> CameraRecord:
    """The record of the edited path; frames that are no longer the file's have no names."""
    camera, times = edits.apply(record.camera, record.times)
    last = len(record.camera) if edits.last is None else edits.last + 1
    names = record.names[edits.first : last] if record.names and edits.keeps_frames else None
    return replace(record, camera=camera, times=times, names=names)


def write(record: CameraRecord, asked: CameraFile, edits: Edits) -> tuple[str, ...]:
    """With the file's own names, times and size, where it has them. Returns what is lost."""
    assert asked.out is not None
    names = record.names if record.names and len(set(record.names)) == len(record.names) else None
    first = edits.first if edits.keeps_frames else 0
    return save_cameras(
        asked.out,
        record.camera,
        format=asked.format,
        size=asked.size or record.size,
        names=names,
        numbers=range(first, first + len(record.camera)),
        times=record.times,
    )
