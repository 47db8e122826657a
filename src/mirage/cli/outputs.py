"""What subcommands write, for the one rule of outputs (`mirage.files.check_outputs`)."""

from pathlib import Path

from mirage.files import Output
from mirage.formats.cameras.save import Format, check_folder, writer_of


def camera_files(path: Path | None, format: Format | None) -> list[Output]:
    """A camera path as that format has it (None: as its suffix says). A folder of files is checked here: it may hold
    a model of ours, and nobody else's."""
    if path is None:
        return []
    writer = writer_of(path, format)
    if writer.suffix is not None:
        return [Output("cameras", path)]
    check_folder(path, writer)
    return []


def points_file(path: Path | None) -> list[Output]:
    """Points as PLY."""
    return [] if path is None else [Output("points", path, (".ply",))]


def files_in(path: Path) -> list[Path]:
    """The file, or those of a folder."""
    return [file for file in path.iterdir() if file.is_file()] if path.is_dir() else [path]
