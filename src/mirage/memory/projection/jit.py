"""Functions compiled by numba for processors, kept on disk between processes where that can be.

The cache is numba's own: beside the source, else in the user's cache folder, else where NUMBA_CACHE_DIR says. It looks
at the file of a function and at nothing that the file imports, so a kernel takes its constants as arguments or holds
them in its own file.
"""

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

from numba import njit

_log = logging.getLogger(__name__)
_OPTIONS = {"nogil": True, "error_model": "numpy"}


def kernel(function: Callable[..., Any]) -> Any:
    """`function`, compiled when it is first called; without the lock that keeps other threads waiting."""
    try:
        return njit(cache=True, **_OPTIONS)(function)
    except RuntimeError as error:
        if "no locator available" not in str(error):  # numba's words for: no folder to keep it in
            raise
        _say_once()
        return njit(**_OPTIONS)(function)


@cache
def _say_once() -> None:
    _log.warning(
        "no folder for compiled code can be written, so every process compiles the memory's kernels anew (seconds); "
        "NUMBA_CACHE_DIR may name one"
    )
