"""The receipt beside a result: what made it, with what, how long it took. One JSON object.

write_receipt("walk.json", {"versions": versions(), "seed": 0, "seconds": {"denoise": 1.5}})
"""

import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from mirage.errors import InputError
from mirage.files import replacing
from mirage.version import __version__

PACKAGES = ("torch", "numpy", "diffusers", "transformers", "safetensors", "av")


def write_receipt(path: str | os.PathLike[str], content: Mapping[str, object]) -> None:
    """Write JSON, whole or not at all. NaN and infinity are refused (JSON has none): a receipt with one is a bug."""
    text = json.dumps(dict(content), indent=2, allow_nan=False) + "\n"
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def check_written(content: Mapping[str, object], *, source: str) -> None:
    """`InputError` for what JSON said that can not be written again as a part of a receipt."""
    try:
        json.dumps(content, allow_nan=False)
    except ValueError as error:
        raise InputError(f"{source}: a number in it is not finite; expected what generate writes") from error


def versions() -> dict[str, str]:
    """Versions of Python, Mirage and the packages that decide a result, without those not installed. Imports none."""
    found = {"python": platform.python_version(), "mirage": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
