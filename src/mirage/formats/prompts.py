"""A prompt per part of a walk, from a file: what unseen places should look like from some frame or chunk on.

    frame 0: a red room                       or JSON:   {"frame 0": "a red room", "chunk 2": "a garden"}
    chunk 2: a garden with a wall

Frames and chunks count from 0, as in the receipt. A chunk has one prompt, so one that is given for a frame holds from
the chunk on that makes this frame. Empty lines and lines that begin with # are left out.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mirage.errors import InputError
from mirage.formats.source import read_text

ACCEPTS = "prompts: lines 'frame N: text' or 'chunk N: text', or a JSON object of the same"
_KEY = re.compile(r"(frame|chunk)\s*(\d{1,9})", re.IGNORECASE)


@dataclass(frozen=True)
class Prompts:
    """What a file says: (unit, number, text), and the file's name for messages."""

    source: str
    entries: tuple[tuple[Literal["frame", "chunk"], int, str], ...]

    def by_chunk(self, frames: int, chunk_frames: int) -> dict[int, str]:
        """Chunk number -> prompt, on a path of `frames` frames in chunks of `chunk_frames`, overlapping by one.

        Refused: a frame or chunk that the path does not have, and two prompts for one chunk.
        """
        each, found = chunk_frames - 1, dict[int, str]()
        chunks = -(-(frames - 1) // each)
        for unit, number, text in self.entries:
            count = frames if unit == "frame" else chunks
            if number >= count:
                raise InputError(f"{self.source}: {unit} {number} has a prompt, the path has {unit}s 0 to {count - 1}")
            chunk = max(number - 1, 0) // each if unit == "frame" else number
            if chunk in found:
                raise InputError(
                    f"{self.source}: {unit} {number} gives chunk {chunk} a second prompt; a chunk "
                    f"({each} frames) has one"
                )
            found[chunk] = text
        return dict(sorted(found.items()))


def load_prompts(path: Path) -> Prompts:
    """Read a prompt file, lines or JSON; what it is not is an `InputError` that names the line or the key."""
    text = read_text(path, accepts=ACCEPTS)
    pairs = _from_json(path, text) if text.lstrip().startswith(("{", "[")) else _from_lines(path, text)
    entries = tuple(_entry(path, where, key, value) for where, key, value in pairs)
    if not entries:
        raise InputError(f"{path} holds none; expected {ACCEPTS}")
    return Prompts(str(path), entries)


def _from_lines(path: Path, text: str) -> Iterable[tuple[str, str, object]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            key, colon, value = line.partition(":")
            if not colon:
                raise InputError(
                    f"{path}, line {number}: expected 'frame N: text' or 'chunk N: text', got {line[:60]!r}"
                )
            yield f"line {number}", key, value


def _from_json(path: Path, text: str) -> Iterable[tuple[str, str, object]]:
    try:
        read = json.loads(text, object_pairs_hook=list)  # as pairs: a key that is there twice is seen
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not text.lstrip().startswith("{"):
        raise InputError(f"""{path} is a JSON list; expected an object such as {{"frame 48": "a red room"}}""")
    return [(f"key {key[:60]!r}", key, value) for key, value in read]


def _entry(path: Path, where: str, key: str, value: object) -> tuple[Literal["frame", "chunk"], int, str]:
    matched = _KEY.fullmatch(key.strip())
    if not matched:
        raise InputError(f"{path}, {where}: expected 'frame N' or 'chunk N' with N from 0, got {key.strip()[:60]!r}")
    if not isinstance(value, str):
        raise InputError(f"{path}, {where}: a prompt is text, got {type(value).__name__}")
    return ("frame" if matched[1].lower() == "frame" else "chunk"), int(matched[2]), value.strip()
