"""Packages that Mirage works without, each imported where it is used, and what to install where one is missing.

with optional("skimage", wanted="local matches"):
    from skimage import feature
"""

import contextlib
from collections.abc import Iterator

from mirage.errors import InputError
from mirage.version import DISTRIBUTION

EXTRAS = {
    "numba": "fast",
    "skimage": "eval",
    "torchao": "quantize",
    "bitsandbytes": "quantize",
    "lmdb": "train",
    "pillow_heif": "heif",
    "gguf": "gguf",
    "gymnasium": "gym",
    "fastapi": "serve",
    "uvicorn": "serve",
    "websockets": "serve",
    "ray": "ray",
    "fsspec": "ray",
}
"""The module -> the extra of ours that installs it."""
SAME_NAME = ("tensorboard", "triton", "plotly")
"""Modules that pip knows by their own name, and that no extra of ours installs."""


@contextlib.contextmanager
def optional(module: str, *, wanted: str) -> Iterator[None]:
    """Where the block's import fails: `InputError` that says what is wanted, of which module, and what to install.

    module: the top-level name that is imported. wanted: the feature, as the sentence's subject.
    """
    try:
        yield
    except ImportError as error:
        raise InputError(f"{wanted} needs the package {module} ({error}); {install(module)}") from error


def install(module: str) -> str:
    """How a person gets the module."""
    if module in EXTRAS:
        return f"pip install '{DISTRIBUTION}[{EXTRAS[module]}]'"
    if module in SAME_NAME:
        return f"pip install {module}"
    return "see its repository for how to install it"
