"""Functions compiled by numba for processors, kept on disk between processes where that can be.

The cache is numba's: beside the source, else in the user's cache folder, else where NUMBA_CACHE_DIR says. Two things of
it are other here. It tells an older kernel by the time and size of its file, and looks at nothing that the file
imports: an upgrade in place that changes a constant elsewhere would go on with the old one, so what a kernel is made of
is part of its name. And it is for one process with a whole disk; `_Cache` is for several, and for full or damaged ones.
"""

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile

_log = logging.getLogger(__name__)
_OPTIONS = {"nogil": True, "error_model": "numpy"}


def kernel(function: Callable[..., Any]) -> Any:
    """`function`, compiled when it is first called; without the lock that keeps other threads waiting."""
    function.__qualname__ += f"_{_digest(function)}"  # by which numba names what it keeps
    compiled: Any = njit(**_OPTIONS)(function)
    try:
        compiled._cache = _Cache(function)
    except RuntimeError as error:
        if "no locator available" not in str(error):  # numba's words for: no folder to keep it in
            raise
        _say_once()
    return compiled


class _Cache(FunctionCache):
    """What cannot be kept is compiled in memory, and what was kept and cannot be read is compiled anew."""

    def __init__(self, function: Callable[..., Any]):
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # pickles of a file that is cut raise anything
            with contextlib.suppress(OSError):
                self._cache_file.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError:
            _say_once()


class _Files(IndexDataCacheFile):
    """numba counts the files of a kernel up from those that its index names: of two processes that compile it at once,
    each for other arguments, both take one name, and every process after them calls code for the wrong arguments. Here
    a file is named by the arguments, and is there before the index says so."""

    def save(self, key: Any, data: Any) -> None:
        name = self._data_name(int(hashlib.blake2b(repr(key).encode(), digest_size=8).hexdigest(), 16))
        self._save_data(name, data)
        self._save_index({**self._load_index(), key: name})


def _digest(function: Any) -> str:
    """Of its code, and of the values and kernels that it finds by their names, wherever they are defined. What stands
    below a kernel in its file is not known yet when it is made, and changes with the file; so a kernel of another file
    counts with all of that file."""
    code, values = function.__code__, function.__globals__
    constants = [repr(constant) for constant in code.co_consts if not isinstance(constant, CodeType)]
    total = hashlib.blake2b(code.co_code + " ".join(constants).encode(), digest_size=8)
    for name in sorted(set(code.co_names) & values.keys()):
        value = values[name]
        used = getattr(value, "py_func", value)
        its = used.__qualname__ if used is not value else used.__name__ if hasattr(used, "__name__") else repr(used)
        total.update(f"{name} {its}".encode())
        other = used.__code__.co_filename if used is not value else code.co_filename
        if other != code.co_filename and os.path.isfile(other):
            total.update(Path(other).read_bytes())
    return total.hexdigest()


@cache
def _say_once() -> None:
    _log.warning(
        "no folder for compiled code can be written, so every process compiles the memory's kernels anew (seconds); "
        "NUMBA_CACHE_DIR may name one"
    )
