"""What subcommands write, for the one rule of outputs (`mirage.files.check_outputs`)."""

from pathlib import Path

from mirage.files import Output
from mirage.formats.cameras.save import Format, check_folder, model_in, writer_of


def camera_files(path: Path | None, format: Format | None) -> list[Output]:
    """A camera path as that format has it (None: as its suffix says). A folder of files is checked here: it may hold
    a model of ours, whose files are replaced then, and nobody else's."""
    if path is None:
        return []
    writer = writer_of(path, format)
    if writer.suffix is not None:
        return [Output("cameras", path)]
    check_folder(path, writer)
    return [Output("cameras", file) for file in model_in(path)]


def points_file(path: Path | None) -> list[Output]:
    """Points as PLY."""
    return [] if path is None else [Output("points", path, (".ply",))]
