"""Opening files of unknown origin: bytes, text, numbers and numpy arrays, each with a limit and a one-line refusal.

Nothing here trusts a file: sizes are looked at before anything is read, pickles are never loaded, an array's header is
compared with the bytes that follow it before memory is taken for it. Whatever is wrong becomes an `InputError`.
"""

import io
import math
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError

import numpy as np

from mirage.errors import InputError

MIB = 1 << 20
TEXT_LIMIT = 64 * MIB
ARRAY_LIMIT = 1024 * MIB


def regular_file(path: str | os.PathLike[str], *, accepts: str, limit: int) -> Path:
    """The path, once it is known to be a readable file of at most `limit` bytes. `accepts` ends the sentence
    "expected ...". A pipe or a device is refused too: reading one may never end."""
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; expected {accepts}")
        if not path.exists():
            raise InputError(f"there is no file {path}; expected {accepts}")
        if not path.is_file():
            raise InputError(f"{path} is not a regular file; expected {accepts}")
        size = path.stat().st_size
    except InputError:
        raise
    except (OSError, ValueError) as error:  # a name with a null byte or longer than the system allows
        raise InputError(f"cannot read {str(path)[:200]!r}: {reason(error)}; expected {accepts}") from error
    if size > limit:
        raise InputError(f"{path} has {size / MIB:.0f} MiB; at most {limit / MIB:.0f} MiB are accepted here")
    if size == 0:
        raise InputError(f"{path} is empty; expected {accepts}")
    return path


def read_bytes(path: str | os.PathLike[str], *, accepts: str, limit: int = ARRAY_LIMIT) -> bytes:
    """All bytes of a regular file of at most `limit` bytes."""
    path = regular_file(path, accepts=accepts, limit=limit)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {reason(error)}") from error


def read_text(path: str | os.PathLike[str], *, accepts: str) -> str:
    """UTF-8 text (a byte order mark is dropped)."""
    try:
        return read_bytes(path, accepts=accepts, limit=TEXT_LIMIT).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text (byte {error.start} is not UTF-8); expected {accepts}") from error


def numbers(words: Sequence[object], *, where: str) -> list[float]:
    """Finite floats from words of a text file or values of a JSON file; `where` names the line for the message."""
    values = []
    for word in words:
        if isinstance(word, bool) or not isinstance(word, str | int | float):
            raise InputError(f"{where}: {str(word)[:40]!r} is not a number")
        try:
            value = float(word)
        except (ValueError, OverflowError) as error:
            raise InputError(f"{where}: {str(word)[:40]!r} is not a number") from error
        if not math.isfinite(value):
            raise InputError(f"{where}: {str(word)[:40]!r} is not finite; every number must be")
        values.append(value)
    return values


def read_npy(path: str | os.PathLike[str], *, accepts: str) -> np.ndarray:
    """One array from an .npy file."""
    return _array(read_bytes(path, accepts=accepts), where=str(path))


def read_npz(path: str | os.PathLike[str], *, accepts: str) -> dict[str, np.ndarray]:
    """All arrays of an .npz file by name. A small archive that unpacks to more than the limit is refused unopened."""
    data = read_bytes(path, accepts=accepts)
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > ARRAY_LIMIT:
                raise InputError(
                    f"{path} unpacks to {unpacked / MIB:.0f} MiB; at most {ARRAY_LIMIT // MIB} MiB are accepted"
                )
            for member in archive.infolist():
                with archive.open(member) as stream:  # bounded: a member may hold more than its header says
                    content = stream.read(member.file_size + 1)
                name = member.filename.removesuffix(".npy")
                arrays[name] = _array(content, where=f"{path}: array {name!r}")
    except InputError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path} is not a whole .npz file ({reason(error)}); expected {accepts}") from error
    return arrays


def reason(error: BaseException) -> str:
    """What the system said, on one line and without the path that our message already names."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(str(text).split())[:160] or type(error).__name__


def _array(content: bytes, *, where: str) -> np.ndarray:
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read_header:
            raise InputError(f"{where} has array format {version}; expected (1, 0) or (2, 0)")
        shape, fortran, dtype = read_header[version](stream)
    except InputError:
        raise
    except (ValueError, EOFError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        raise InputError(f"{where} is not a numpy array ({reason(error)})") from error
    if dtype.kind not in "fiub":
        raise InputError(f"{where} holds {dtype.name!r}; expected real numbers")
    got, said = len(content) - stream.tell(), math.prod(shape) * dtype.itemsize
    if got != said or min(shape, default=0) < 0:
        raise InputError(f"{where} is cut or damaged: its header says {said} bytes, {got} follow")
    flat = np.frombuffer(content, dtype=dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C")
