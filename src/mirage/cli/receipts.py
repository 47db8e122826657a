"""The request in a receipt: written so that it can be run again from any folder, and read back.

A path that was typed relative is written relative to the receipt, so that both may move together; one that was typed
absolute stays so.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirage.errors import InputError, check_number, short
from mirage.formats.receipt import check_written
from mirage.formats.source import read_object
from mirage.models.files.lora_spec import LoraSpec, lora_specs
from mirage.models.loading import BUNDLED
from mirage.request import ModelRequest, Request, checked_plain

PATHS = ("image", "image_cameras", "world", "prompts", "depth", "static_mask", "branch")
CHUNK, SPENT = re.compile(r"[0-9]{1,9}", re.ASCII), ("load", "begin", "walk")
WORDS = ("trajectory", "depth_model", "moving", "segmenter", "model")
"""Choices that name a file or something else; a file also behind a colon (da3:FOLDER)."""


def written(asked: Request | ModelRequest, receipt: Path) -> dict[str, Any]:
    """Plain values of what is asked, for this receipt."""
    return _turned(asked.plain(), lambda text: path_in(receipt, text), lambda text: Path(text).exists())


def load_again(receipt: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The request that a receipt holds, and that of its model; plain choices, checked for their kinds."""
    held, source = read_receipt(receipt)["request"], str(receipt)

    def back(kind: type[Request] | type[ModelRequest], values: Any) -> dict[str, Any]:
        checked_plain(kind, values, source=source)
        turned = _turned(values, lambda text: str(path_from(receipt, text)), lambda text: _there(receipt, text))
        return checked_plain(kind, turned, source=source)

    return back(Request, held["walk"]), back(ModelRequest, held["model"])


def read_receipt(path: Path) -> dict[str, Any]:
    """A receipt with a request in it."""
    held = read_object(path, accepts="a receipt that generate wrote")
    asked = held.get("request")
    if not isinstance(asked, dict) or not {"walk", "model"} <= asked.keys():
        raise InputError(f"{path} is no receipt with a request in it; expected one that generate wrote")
    return held


@dataclass(frozen=True)
class Unfinished:
    """What a receipt says of a walk to go on with, every value looked at. `said`: all that stands there; `prompts`: by
    chunk; `seconds` that loading, beginning and walking took."""

    said: Mapping[str, Any]
    video: Path
    world: Path | None
    prompts: Mapping[int, str]
    seconds: Mapping[str, float]


def read_unfinished(receipt: Path) -> Unfinished:
    """Of a walk that was interrupted."""
    held, where = read_receipt(receipt), str(receipt)
    resume = held.get("resume")
    if not isinstance(resume, dict):
        raise InputError(f"{receipt} has nothing to go on with; expected that of a walk that was interrupted")
    video, world = held.get("video"), held.get("world")
    prompts, seconds = held.get("prompts"), held.get("seconds")
    names = isinstance(video, str) and Path(video).name == video and (world is None or isinstance(world, str))
    if not names or not isinstance(prompts, dict) or not isinstance(seconds, dict):
        raise InputError(f"{receipt} is not as generate writes it: no names of files, prompts or seconds")
    check_number(f"{where}: frames", resume.get("frames"), kind=int, low=1, high=2**31 - 1)
    check_number(f"{where}: fps", held.get("fps"), low=1e-3, high=1000)
    if odd := [number for number, text in prompts.items() if not CHUNK.fullmatch(number) or not isinstance(text, str)]:
        raise InputError(f"{where}: prompts of {short(odd[0])}; expected words for the numbers of chunks")
    check_written(held, source=where)
    return Unfinished(
        held,
        receipt.with_name(str(video)),
        None if world is None else path_from(receipt, world),
        {int(number): text for number, text in prompts.items()},
        {name: check_number(f"{where}: seconds of {name}", seconds.get(name), low=0, high=1e12) for name in SPENT},
    )


def path_in(receipt: Path, path: str | Path) -> str:
    """How a receipt names a file."""
    where = Path(path).expanduser()
    if where.is_absolute():
        return str(where)
    return os.path.relpath(where.parent.resolve() / where.name, receipt.parent.resolve())


def path_from(receipt: Path, text: str) -> Path:
    """The file that a receipt names: beside it, or, as receipts of before had it, from where one works."""
    beside = receipt.parent / text
    return beside if beside.exists() or not Path(text).exists() else Path(text)


def _there(receipt: Path, text: str) -> bool:
    return path_from(receipt, text).exists()


def _turned(values: dict[str, Any], turn: Callable[[str], str], there: Callable[[str], bool]) -> dict[str, Any]:
    """Plain choices with every path turned; of a word those that are `there`."""

    def word(text: str) -> str:
        name, colon, file = text.partition(":")
        if len(text) < 1000 and text not in BUNDLED and there(text):
            return turn(text)
        return f"{name}:{turn(file)}" if colon and len(file) < 1000 and file and there(file) else text

    def one(name: str, value: Any) -> Any:
        if value is None:
            return None
        if name in PATHS:
            return [turn(str(path)) for path in value] if isinstance(value, list | tuple) else turn(str(value))
        if name in WORDS:
            return word(value)
        if name == "lora":
            return [str(LoraSpec(Path(turn(str(spec.path))), spec.strength)) for spec in lora_specs(value)]
        return value

    return {name: one(name, value) for name, value in values.items()}
