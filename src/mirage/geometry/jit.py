"""Functions compiled by numba for processors, kept on disk between processes where that can be.

The cache is numba's own: beside the source, else in the user's cache folder, else where NUMBA_CACHE_DIR says. It tells
an older kernel by the time and size of its file, and looks at nothing that the file imports: an upgrade in place that
changes a constant elsewhere would go on with the old one. So what a kernel is made of is part of its name.
"""

import hashlib
import logging
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

from numba import njit

_log = logging.getLogger(__name__)
_OPTIONS = {"nogil": True, "error_model": "numpy"}


def kernel(function: Callable[..., Any]) -> Any:
    """`function`, compiled when it is first called; without the lock that keeps other threads waiting."""
    function.__qualname__ += f"_{_digest(function)}"  # by which numba names what it keeps
    try:
        return njit(cache=True, **_OPTIONS)(function)
    except RuntimeError as error:
        if "no locator available" not in str(error):  # numba's words for: no folder to keep it in
            raise
        _say_once()
        return njit(**_OPTIONS)(function)


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
