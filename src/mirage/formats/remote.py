"""Files at URLs: whatever fsspec opens (s3://, gs://, file://, ...).

Credentials and endpoints come from the environment. What a server refuses becomes an error of this machine's kind, in
one line with the URL in it.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from mirage.errors import InputError
from mirage.files import FULL
from mirage.formats import source

URL = re.compile(r"[a-z][a-z0-9+]*://")
HEADER = 1 << 16
"""Bytes that are asked for at first: a header is seldom longer."""


def is_url(text: object) -> bool:
    """A name that fsspec has to open; file:// counts, too."""
    return isinstance(text, str) and URL.match(text) is not None


def file_system(url: str) -> tuple[Any, str]:
    """(fsspec's file system, the path in it)."""
    try:
        from fsspec.core import url_to_fs

        return url_to_fs(url)
    except (ImportError, ValueError) as error:
        why = " ".join(str(error).split())
        raise InputError(f"cannot open {url}: {why}; accepted: s3://, gs://, file:// or what fsspec knows") from error


@contextlib.contextmanager
def told(where: str) -> Iterator[None]:
    """What a server answers instead is an error of this machine's kind, with the URL in it."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"nothing is at {where}") from error
    except OSError as error:
        if error.errno in FULL:
            raise
        raise OSError(f"{where}: {' '.join(str(error).split()) or type(error).__name__}") from error
    except Exception as error:
        # each file system has its own package, and that its own errors
        raise OSError(f"{where}: {type(error).__name__}: {' '.join(str(error).split())}") from error


@contextlib.contextmanager
def refused(where: str) -> Iterator[None]:
    """As `told`, for what nobody tries again: an `InputError`."""
    try:
        with told(where):
            yield
    except OSError as error:
        raise InputError(f"cannot read {error if where in str(error) else f'{where}: {error}'}") from error


def read_text(where: str, *, accepts: str) -> str:
    """Of a path or a URL."""
    if not is_url(where):
        return source.read_text(where, accepts=accepts)
    files, path = file_system(where)
    with told(where):
        return files.cat_file(path).decode()


def brought(where: str, folder: Path) -> Path:
    """A copy here, in `folder`, of what is at a URL, under its own name."""
    files, path = file_system(where)
    here = folder / path.rsplit("/", 1)[-1]
    with told(where):
        files.get_file(path, str(here))
    return here


def listed(url: str, pattern: str) -> list[str]:
    """URLs of what is in a folder and matches, in order; none where there is no such folder."""
    files, root = file_system(url)
    with refused(url):
        files.invalidate_cache()
        paths = files.glob(f"{root.rstrip('/')}/{pattern}")
    return sorted(f"{url.rstrip('/')}/{path.rsplit('/', 1)[-1]}" for path in paths)


@dataclass(frozen=True)
class Tensors:
    """A safetensors file at a URL, used as `safetensors.safe_open` uses one here: names and shapes come with a piece of
    its beginning, the first tensor with all the rest."""

    url: str
    accepts: str

    def keys(self) -> list[str]:
        """Names of the tensors."""
        return [name for name in self._header if name != "__metadata__"]

    def metadata(self) -> dict[str, str] | None:
        """What stands beside them."""
        return self._header.get("__metadata__")

    def get_slice(self, name: str) -> "Unread":
        """One of them, of which nothing is read."""
        return Unread(self._header[name]["shape"])

    def get_tensor(self, name: str) -> Tensor:
        """One of them."""
        return self._all[name]

    @cached_property
    def _header(self) -> dict[str, Any]:
        begin = self._read(0, HEADER)
        size = int.from_bytes(begin[:8], "little")
        if not 0 < size < 100 * source.MIB:
            raise self._damaged("its first bytes are no length")
        if 8 + size > len(begin):
            begin += self._read(len(begin), 8 + size)
        return source.object_of(begin[8 : 8 + size].decode(errors="replace"), source=self.url, accepts=self.accepts)

    @cached_property
    def _all(self) -> Mapping[str, Tensor]:
        try:
            return load(self._read(0, None))
        except SafetensorError as error:
            raise self._damaged(source.reason(error)) from error

    def _read(self, start: int, end: int | None) -> bytes:
        files, path = file_system(self.url)
        with refused(self.url):
            return files.cat_file(path, start=start, end=end)

    def _damaged(self, why: str) -> InputError:
        return InputError(f"{self.url} is damaged or no safetensors file ({why}); expected {self.accepts}")


@dataclass(frozen=True)
class Unread:
    """A tensor of which only the shape is known."""

    shape: list[int]

    def get_shape(self) -> list[int]:
        """Of the whole tensor."""
        return self.shape
