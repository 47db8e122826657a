"""A manifest: a line of JSON a walk, each a `Request`, with a name if it is to have one.

    {"image": "photos/7.jpg", "trajectory": "w 31, right 10", "seed": 3}
    {"name": "attic", "image": "s3://bucket/attic.png", "trajectory": "orbit", "frames": 49}

Paths are relative to the manifest; files may be URLs. A walk without a name is called by the number of its line, from
0.
"""

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirage.distributed.store import scratch
from mirage.errors import InputError
from mirage.formats.remote import brought, is_url, read_text
from mirage.request import Request

FILES = ("image", "image_cameras", "world", "prompts", "depth", "static_mask")
NAMED = ("trajectory", "depth_model")
"""Fields that may name a file, and other things."""


@dataclass(frozen=True)
class Entry:
    """One walk. `said`: its line without the name, which is what was asked; `source`: where that stands; `base`: what
    paths are relative to."""

    name: str
    said: Mapping[str, Any]
    source: str
    base: str

    @contextlib.contextmanager
    def request(self) -> Iterator[Request]:
        """The request with its files here; those that came from elsewhere go when the block ends."""
        with contextlib.ExitStack() as stack:

            def bring(url: str) -> str:
                return str(brought(url, stack.enter_context(scratch())))

            values = dict(self.said)
            for name in (*FILES, *NAMED):
                value, sure = values.get(name), name in FILES
                if isinstance(value, str):
                    values[name] = self._here(value, bring, sure=sure)
                elif isinstance(value, list) and all(isinstance(one, str) for one in value):
                    values[name] = [self._here(one, bring, sure=sure) for one in value]
            yield Request.from_plain(values, source=self.source)

    @property
    def shape(self) -> tuple[str, ...]:
        """Walks that are alike in this may be denoised together, chunk by chunk."""
        return tuple(json.dumps(self.said.get(name)) for name in SHAPE)

    def _here(self, value: str, bring: Callable[[str], str], *, sure: bool) -> str:
        """A file's name on this machine; words that name no file stay as they are."""
        if is_url(value):
            return bring(value)
        if is_url(self.base):
            return bring(f"{self.base}/{value}") if sure or re.search(r"\.\w+$", value) else value
        path = Path(self.base) / value
        return str(path) if sure or (len(value) < 1000 and path.exists()) else value


SHAPE = ("frames", "steps", "size", "memory", "guidance_scale", "conditioning", "draft")


def read_manifest(where: str) -> list[Entry]:
    """Every line of a path or URL, each a request by itself; its files are not looked at yet. `InputError` names the
    first line that is none."""
    base = where.rpartition("/")[0] if is_url(where) else str(Path(where).absolute().parent)
    try:
        text = read_text(where, accepts="a manifest: a request as JSON on each line")
    except OSError as error:
        raise InputError(f"cannot read the manifest {where}: {error}") from error
    lines = [(number, line) for number, line in enumerate(text.splitlines()) if line.strip()]
    entries = [_entry(line, number, where, base) for number, line in lines]
    if not entries:
        raise InputError(f"{where} has no lines; expected a request as JSON on each")
    seen: dict[str, str] = {}
    for entry in entries:
        if entry.name in seen:
            raise InputError(
                f"{entry.source} and {seen[entry.name]} are both called {entry.name!r}; expected two names"
            )
        seen[entry.name] = entry.source
    return entries


def _entry(line: str, number: int, where: str, base: str) -> Entry:
    source = f"line {number + 1} of {os.path.basename(where)}"
    try:
        said = json.loads(line, object_pairs_hook=_once)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source} is not JSON ({error}); expected an object such as {EXAMPLE}") from error
    if not isinstance(said, dict):
        raise InputError(f"{source} is {type(said).__name__}; expected an object such as {EXAMPLE}")
    name = said.pop("name", f"{number:06d}")
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise InputError(f"{source}: a name becomes a folder; {name!r} cannot be one")
    try:
        Request.from_plain(said, source=source)
    except InputError as error:
        raise InputError(str(error) if source in str(error) else f"{source}: {error}") from error
    return Entry(name, said, source, base)


NAME = r"(?!failures\.json$)(?!.*\.task$)[\w+=,@-][\w.+=,@ -]{0,199}"
"""Of a folder, beside failures.json and the claims on tasks (batch.py)."""
EXAMPLE = '{"image": "photo.jpg", "trajectory": "orbit"}'


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of a name that stands there twice, Python would take the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for number, (name, _) in enumerate(pairs) if name in dict(pairs[:number]))
        raise InputError(f"{twice!r} is given twice; accepted: once")
    return found
