"""Files of unknown origin: bytes, text, JSON, numbers, arrays, tensors, each with a limit and a refusal of one line.

Nothing here trusts a file: sizes are looked at before anything is read, pickles are never loaded, an array's header is
compared with the bytes that follow it before memory is taken for it. Whatever is wrong becomes an `InputError`.
"""

import io
import json
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open

from mirage.errors import InputError

MIB = 1 << 20
TEXT_LIMIT = 64 * MIB
ARRAY_LIMIT = 1024 * MIB
POINTER = b"version https://git-lfs.github.com/spec/"
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError)
"""What `zipfile` raises of a file that is cut or is none."""
T = TypeVar("T")


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
    check_fetched(path)
    return path


def check_fetched(path: Path) -> None:
    """`InputError` if a file stands for another one that was not fetched: a Git LFS pointer."""
    try:
        with path.open("rb") as file:
            pointer = file.read(len(POINTER)) == POINTER
    except OSError as error:
        raise InputError(f"cannot read {path}: {reason(error)}") from error
    if pointer:
        raise InputError(
            f"{path} is a Git LFS pointer, not the file itself; `git lfs pull` in its repository fetches it"
        )


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


def read_json(path: str | os.PathLike[str], *, accepts: str) -> Any:
    """A JSON document, of whatever kind; nested too deep it is refused like any other that cannot be read."""
    return json_of(read_text(path, accepts=accepts), source=str(path), accepts=accepts)


def read_object(path: str | os.PathLike[str], *, accepts: str) -> dict[str, Any]:
    """A JSON object."""
    return object_of(read_text(path, accepts=accepts), source=str(path), accepts=accepts)


def json_of(text: str, *, source: str, accepts: str) -> Any:
    """A JSON document that stood in `source`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source} is not JSON ({reason(error)}); expected {accepts}") from error


def object_of(text: str, *, source: str, accepts: str) -> dict[str, Any]:
    """A JSON object that stood in `source`."""
    said = json_of(text, source=source, accepts=accepts)
    if not isinstance(said, dict):
        raise InputError(f"{source} holds a {type(said).__name__}; expected {accepts}, a JSON object")
    return said


@contextmanager
def open_tensors(path: str | os.PathLike[str], *, accepts: str) -> Iterator[Any]:
    """A safetensors file, open; one that is cut or is none is refused, now or where a tensor of it is read."""
    regular_file(path, accepts=accepts, limit=1 << 48)
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise InputError(f"{path} is damaged or no safetensors file ({reason(error)}); expected {accepts}") from error


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


def npy_array(data: bytes, *, where: str) -> np.ndarray:
    """The array in the bytes of an .npy file."""
    return _array(data, where=where)


class Npz(Mapping[str, np.ndarray]):
    """The arrays of an .npz file, each read when it is asked for: what nobody asks for may be of any size and kind.

    An array of more than `limit` bytes is refused. `shape(name)` looks at an array's header alone.
    """

    def __init__(self, path: str | os.PathLike[str], *, accepts: str, limit: int = TEXT_LIMIT):
        self._path, self._limit, self._accepts = regular_file(path, accepts=accepts, limit=1 << 40), limit, accepts
        self._members = {info.filename.removesuffix(".npy"): info for info in self._opened(zipfile.ZipFile.infolist)}

    def __getitem__(self, name: str) -> np.ndarray:
        info = self._members[name]
        if info.file_size > self._limit:
            raise InputError(
                f"{self._path}: array {name!r} has {info.file_size / MIB:.0f} MiB; at most {self._limit // MIB} MiB "
                "are accepted"
            )
        content = self._opened(lambda archive: _member(archive, info, info.file_size + 1))
        return _array(content, where=f"{self._path}: array {name!r}")

    def __contains__(self, name: object) -> bool:
        return name in self._members  # Mapping's own would read the array

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one array, without reading it."""
        head = self._opened(lambda archive: _member(archive, self._members[name], 70_000))
        return _header(io.BytesIO(head), where=f"{self._path}: array {name!r}")[0]

    def raw(self, name: str) -> bytes:
        """A member as it is, for archives that hold more than arrays."""
        info = self._members[name]
        if info.file_size > self._limit:
            raise InputError(
                f"{self._path}: {name!r} has {info.file_size / MIB:.0f} MiB; at most {self._limit // MIB} MiB"
            )
        return self._opened(lambda archive: _member(archive, info, info.file_size + 1))

    def _opened(self, use: Callable[[zipfile.ZipFile], T]) -> T:
        try:
            with zipfile.ZipFile(self._path) as archive:
                return use(archive)
        except DAMAGED as error:
            raise InputError(
                f"{self._path} is not a whole .npz file ({reason(error)}); expected {self._accepts}"
            ) from error


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
                content = _member(archive, member, member.file_size + 1)
                name = member.filename.removesuffix(".npy")
                arrays[name] = _array(content, where=f"{path}: array {name!r}")
    except InputError:
        raise
    except DAMAGED as error:
        raise InputError(f"{path} is not a whole .npz file ({reason(error)}); expected {accepts}") from error
    return arrays


def reason(error: BaseException) -> str:
    """What the system said, on one line and without the path that our message already names."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(str(text).split())[:160] or type(error).__name__


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    with archive.open(info) as stream:  # bounded: a member may hold more than its header says
        return stream.read(limit)


def _array(content: bytes, *, where: str) -> np.ndarray:
    stream = io.BytesIO(content)
    shape, fortran, dtype = _header(stream, where=where)
    if dtype.kind not in "fiub":
        raise InputError(f"{where} holds {dtype.name!r}; expected real numbers")
    got, said = len(content) - stream.tell(), math.prod(shape) * dtype.itemsize
    if got != said or min(shape, default=0) < 0:
        raise InputError(f"{where} is cut or damaged: its header says {said} bytes, {got} follow")
    flat = np.frombuffer(content, dtype=dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C")


def _header(stream: io.BytesIO, *, where: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read_header:
            raise InputError(f"{where} has array format {version}; expected (1, 0) or (2, 0)")
        return read_header[version](stream)
    except InputError:
        raise
    except (ValueError, EOFError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        raise InputError(f"{where} is not a numpy array ({reason(error)})") from error
