"""Whole files or none: outputs are written beside their target and renamed. And what may be an output at all.

    check_outputs(Output("video", out, (".mp4",)), inputs=[image], overwrite=False)    # before any work
    with claimed(out):                            # a second run that would write there is refused
        with replacing("world.safetensors") as beside:
            beside.write_bytes(data)              # a kill here leaves the old world.safetensors as it was

What a killed writer leaves beside its target is hidden, ours by its name, and removed by the next one that writes
there; a lock, which ends with its process however that ends, tells it from what a living one is writing.
"""

import contextlib
import errno
import fcntl
import glob
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from mirage.errors import InputError

BESIDE = "mirage"
"""In the name of every file that is being written: .walk-mirage-x1y2z3w4.mp4."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_WORDS = re.compile(rf"\(os error ({'|'.join(map(str, FULL))})\)|[0-9]+ requested and [0-9]+ written")


class Taken(InputError):
    """Somebody else is writing it."""


@dataclass(frozen=True)
class Output:
    """A file that somebody asked for; `suffixes`: what its name may end with, any if empty."""

    what: str
    path: Path
    suffixes: tuple[str, ...] = ()


def check_outputs(*outputs: Output | None, inputs: Iterable[Path | str | None] = (), overwrite: bool = False) -> None:
    """Raise `InputError` for what cannot be written, before any work is spent on it; None stands for nothing.

    No output is an input and no two outputs are one file, by whatever name or hard link; an input that is a folder
    stands for every file in it. Its suffix is one of those that its kind has; what is there already is a plain file,
    and is replaced only if `overwrite`.
    """
    wanted = [output for output in outputs if output is not None]
    read = [Path(path) for path in inputs if path is not None]
    if any(os.path.exists(output.path) for output in wanted):  # a new file is in no folder yet
        read += [file for folder in read if os.path.isdir(folder) for file in folder.rglob("*")]
    taken = {identity(path): f"the input {path}" for path in read}
    for output in wanted:
        path = output.path
        if output.suffixes and path.suffix.lower() not in output.suffixes:
            raise InputError(
                f"cannot write the {output.what} to {path}; accepted suffixes: {', '.join(output.suffixes)}"
            )
        check_writable(path)
        if (other := taken.get(identity(path))) is not None:
            raise InputError(f"the {output.what} {path} and {other} are one file; expected two")
        taken[identity(path)] = f"the {output.what} {path}"
    for output in wanted:
        if output.path.exists() and not overwrite:
            raise InputError(f"{output.path} is there already; expected a new name, or leave to overwrite it")


def identity(path: Path) -> object:
    """What two names of one file have in common, whether it is there or not."""
    try:
        its = path.stat()
    except OSError:  # not there: it is where it would be
        return os.path.realpath(path)
    except ValueError:  # no name that a file can have
        return path
    return its.st_dev, its.st_ino


@contextlib.contextmanager
def claimed(target: str | os.PathLike[str]) -> Iterator[None]:
    """Within the block `target` is this process's to write: another one that claims it is refused at once. Nothing of
    it stays. Raises `Taken`."""
    target = Path(target)
    check_writable(target)
    sign = Path(os.path.realpath(target)).with_name(f".{target.name}.{BESIDE}-lock")
    while True:
        try:
            handle = os.open(sign, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise InputError(f"cannot write {target}: {error.strerror}; expected a folder to write in") from error
        try:
            if not _locked(handle):
                raise Taken(f"{target} is being written by another process; wait for it, or use another name")
            if sign.exists() and os.path.samestat(os.fstat(handle), sign.stat()):
                break
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # the one before removed it in between
    try:
        yield
    finally:
        sign.unlink(missing_ok=True)
        os.close(handle)


def sweep_claims(folder: Path, ending: str) -> None:
    """Remove what claims of killed processes left, on files of the folder whose names end so."""
    last = f".{BESIDE}-lock"
    for sign in folder.glob(f".*{ending}{last}"):
        with contextlib.suppress(Taken), claimed(folder / sign.name[1:].removesuffix(last)):
            pass


@contextlib.contextmanager
def replacing(target: str | os.PathLike[str], *, sweep: bool = True, alone: bool = False) -> Iterator[Path]:
    """Yield a path beside `target` to write to; rename it over `target` when the block ends well, remove it otherwise.

    The temporary name keeps the suffix, so that writers which go by suffix work. What killed writers of `target` left
    is removed, unless someone wants it (`sweep`). `alone`: it is to be made, in a folder for itself. For safetensors,
    which writes a file of its own beside the one that it is given and renames it: the lock on that one is gone, and a
    kill leaves the other. Raises `InputError` where the folder does not exist, cannot be written or is full, or where
    `target` is a folder, a pipe or a device.
    """
    target = Path(target)
    check_writable(target)
    if sweep:
        for path in abandoned(target):
            path.unlink(missing_ok=True)
        for path in abandoned(target, folders=True):
            shutil.rmtree(path, ignore_errors=True)
    folder = None
    try:
        if alone:
            folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-{BESIDE}-"))
            handle, beside = os.open(folder, os.O_RDONLY), folder / target.name
        else:
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}-{BESIDE}-", suffix=target.suffix)
            beside = Path(name)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}; expected a folder to write in") from error
    fcntl.flock(handle, fcntl.LOCK_SH)
    try:
        with _room_for(target):
            yield beside
            with beside.open("rb+") as file:
                os.fsync(file.fileno())
            mask = os.umask(0)
            os.umask(mask)
            beside.chmod(0o666 & ~mask)  # mkstemp makes private files; the result has the permissions of any other file
            beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


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
    for path in abandoned(target.resolve(), folders=True):
        shutil.rmtree(path, ignore_errors=True)
    beside = Path(tempfile.mkdtemp(dir=target.resolve().parent, prefix=f".{target.name}-{BESIDE}-"))
    handle = os.open(beside, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH)
    try:
        with _room_for(target):
            yield beside
            mask = os.umask(0)
            os.umask(mask)
            beside.chmod(0o777 & ~mask)
            beside.replace(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        os.close(handle)


@contextlib.contextmanager
def appending(target: Path) -> Iterator[TextIO]:
    """Yield the text file at `target`, to write at its end: all that is written in the block, or nothing of it."""
    new = not target.exists()
    with target.open("a", encoding="utf-8") as file:
        before = file.tell()
        try:
            with _room_for(target):
                yield file
                file.flush()
        except BaseException:
            with contextlib.suppress(OSError):  # the lines that wait to be written have no room either
                file.close()
            if new:
                target.unlink()
            else:
                os.truncate(target, before)
            raise


def full(error: BaseException | None) -> bool:
    """Whether this is a disk without room. Libraries that write say so in words of their own: safetensors, of Rust, and
    numpy, which counts what it wrote."""
    if getattr(error, "errno", None) in FULL:
        return True
    return error is not None and _FULL_WORDS.search(str(error)) is not None


@contextlib.contextmanager
def _room_for(target: Path) -> Iterator[None]:
    """Where the disk is full within the block, one line that says what is there now."""
    try:
        yield
    except Exception as error:
        if isinstance(error, InputError) or not full(error):
            raise
        words = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else os.strerror(errno.ENOSPC)
        kept = "is what it was before" if target.exists() else "is not there, nor a part of it"
        raise InputError(f"cannot write {target}: {words}; it {kept}, so make room and try again") from error


def abandoned(target: Path, *, folders: bool = False) -> list[Path]:
    """Files (or folders) that writers of `target` which no longer run have left beside it."""
    stem, suffix = (target.name, "") if folders else (target.stem, target.suffix)
    found = target.parent.glob(f".{glob.escape(stem)}-{BESIDE}-*{glob.escape(suffix)}")
    return [path for path in found if (path.is_dir() if folders else path.is_file()) and not held(path)]


def held(path: Path) -> bool:
    """Somebody who lives is writing it."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # its writer has just ended
        return True
    try:
        return not _locked(handle)
    finally:
        os.close(handle)


def check_writable(target: Path) -> None:
    """Raise `InputError` when a file of this name cannot be made, before any work is spent on it."""
    if "\0" in str(target):
        raise InputError(f"cannot write {str(target)!r}: no file can have that name")
    if target.is_dir():
        raise InputError(f"{target} is a folder; expected the name of a file to write")
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):
        raise InputError(f"cannot write {target}: it is a pipe or a device; expected the name of a file to write")
    if not target.parent.is_dir():
        raise InputError(f"cannot write {target}: the folder {target.parent} does not exist")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise InputError(f"cannot write {target}: no permission to write in {target.parent}")


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _locked(handle: int) -> bool:
    """Whether the lock of an open file is had for oneself."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
