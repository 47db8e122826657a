"""What subcommands write, for the one rule of outputs (`mirage.files.check_outputs`)."""

from pathlib import Path

from mirage.files import Output
from mirage.formats.colmap import FILES


def camera_files(path: Path | None, format: str) -> list[Output]:
    """A camera path as that format has it: a file, or a folder of some."""
    if path is None:
        return []
    if format != "colmap":
        return [Output("cameras", path)]
    if not path.exists():
        return [Output("cameras", path)]
    return [Output("cameras", path / name) for name in FILES]


def points_file(path: Path | None) -> list[Output]:
    """Points as PLY."""
    return [] if path is None else [Output("points", path, (".ply",))]


def files_in(path: Path) -> list[Path]:
    """The file, or those of a folder."""
    return [file for file in path.iterdir() if file.is_file()] if path.is_dir() else [path]
