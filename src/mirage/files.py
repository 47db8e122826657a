"""Whole files or none: outputs are written beside their target and renamed.

    with replacing("world.safetensors") as beside:
        beside.write_bytes(data)          # a kill here leaves the old world.safetensors as it was

Also the one place that says why a path cannot be written.
"""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mirage.errors import InputError


@contextlib.contextmanager
def replacing(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path beside `target` to write to; rename it over `target` when the block ends well, remove it otherwise.

    The temporary name keeps the suffix, so that writers which go by suffix work. Raises `InputError` where the folder
    does not exist, cannot be written or is full, or where `target` is a folder.
    """
    target = Path(target)
    check_writable(target)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}-", suffix=target.suffix)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}; expected a folder to write in") from error
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        beside.chmod(0o666 & ~mask)  # mkstemp makes private files; the result has the permissions of any other file
        beside.replace(target)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise InputError(f"cannot write {target}: {os.strerror(error.errno)}; make room") from error
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def making(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a new folder beside `target` to fill; rename it to `target` when the block ends well, remove it otherwise.

    Raises `InputError` where `target` is there already (an empty folder may be), or the disk is full.
    """
    target = Path(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target} is there already; expected a new folder")
    if not target.resolve().parent.is_dir() or not os.access(target.resolve().parent, os.W_OK | os.X_OK):
        raise InputError(f"cannot write {target}: no folder {target.parent} to write in")
    beside = Path(tempfile.mkdtemp(dir=target.resolve().parent, prefix=f".{target.name}-"))
    try:
        yield beside
        mask = os.umask(0)
        os.umask(mask)
        beside.chmod(0o777 & ~mask)
        beside.replace(target)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise InputError(f"cannot write {target}: {os.strerror(error.errno)}; make room") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def check_writable(target: Path) -> None:
    """Raise `InputError` when a file of this name cannot be made, before any work is spent on it."""
    if target.is_dir():
        raise InputError(f"{target} is a folder; expected the name of a file to write")
    if not target.parent.is_dir():
        raise InputError(f"cannot write {target}: the folder {target.parent} does not exist")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise InputError(f"cannot write {target}: no permission to write in {target.parent}")


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
