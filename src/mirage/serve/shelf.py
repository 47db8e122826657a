"""Files that go in and out of the server: uploads and downloads, each under a name that the server chose.

    ticket = await shelf.take(request.stream())         bounded in bytes, whatever its length says; its kind by content
    with shelf.taken(ticket) as upload: ...             a picture or a world, gone afterwards
    url = shelf.offer(path, "walk.mp4")                 fetched once, by whoever has the name

No path of a client is ever opened, and no name of its own is used.
"""

import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mirage.errors import InputError
from mirage.files import full
from mirage.formats.image import open_image

Kind = Literal["image", "world"]
MOST_PIXELS = 40_000_000
LASTS = 300.0  # seconds that a file waits to be fetched or used
PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*")


class TooLarge(InputError):
    """More bytes than are taken."""


class WrongKind(InputError):
    """Neither a picture nor a world."""


@dataclass(frozen=True)
class Item:
    """A file on the shelf, and the name that a browser gives it."""

    path: Path
    name: str
    kind: Kind | None = None
    since: float = 0.0


class Shelf:
    """A temporary folder of them. `limit`: most bytes of an upload; `most`: files that wait at once."""

    def __init__(self, *, limit: int = 256 << 20, most: int = 64) -> None:
        self.limit, self.most = limit, most
        self.folder = Path(tempfile.mkdtemp(prefix="mirage-serve-"))
        self._items: dict[str, Item] = {}

    async def take(self, body: AsyncIterator[bytes], *, length: int | None = None) -> str:
        """Keep a body; the ticket that stands for it. Refuses by `length` where that is said, else while it counts."""
        if length is not None and length > self.limit:
            raise self._too_large()
        path, size = self.room(), 0
        try:
            with path.open("wb") as file:
                async for part in body:
                    size += len(part)
                    if size > self.limit:
                        raise self._too_large()
                    file.write(part)
            kind = kind_of(path)
            if kind == "image":
                open_image(path, max_pixels=MOST_PIXELS, accepts="a picture").close()
        except BaseException as error:
            path.unlink(missing_ok=True)
            if full(error):
                raise InputError("there is no room here for an upload of this size; nothing of it was kept") from error
            raise
        return self._put(Item(path, "", kind, time.monotonic()))

    @contextmanager
    def taken(self, ticket: object) -> Iterator[Item]:
        """The upload of a ticket, for as long as the block lasts; then it is gone."""
        item = self._items.pop(ticket, None) if isinstance(ticket, str) else None
        if item is None or item.kind is None:
            raise InputError("there is no such upload, or no longer; upload it again")
        try:
            yield item
        finally:
            item.path.unlink(missing_ok=True)

    def offer(self, path: Path, name: str) -> str:
        """The ticket of a file in `folder` that was written for a client; it is removed when it was fetched."""
        return self._put(Item(path, name, None, time.monotonic()))

    def fetched(self, ticket: str) -> Item | None:
        """What is offered under a ticket, once. Who gets it removes the file."""
        item = self._items.get(ticket)
        return self._items.pop(ticket) if item is not None and item.kind is None else None

    def room(self, suffix: str = "") -> Path:
        """A new name in the folder."""
        return self.folder / f"{secrets.token_hex(16)}{suffix}"

    def close(self) -> None:
        """Remove all."""
        self._items.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _put(self, item: Item) -> str:
        now = time.monotonic()
        old = [ticket for ticket, its in self._items.items() if now - its.since > LASTS]
        crowd = list(self._items)[: max(0, len(self._items) - len(old) - self.most + 1)]
        for ticket in {*old, *crowd}:
            self._items.pop(ticket).path.unlink(missing_ok=True)
        ticket = secrets.token_urlsafe(24)
        self._items[ticket] = item
        return ticket

    def _too_large(self) -> TooLarge:
        return TooLarge(f"at most {self.limit / 2**20:.0f} MiB are taken here")


def kind_of(path: Path) -> Kind:
    """What a file is by its first bytes; `WrongKind` for all but pictures and world files."""
    with path.open("rb") as file:
        start = file.read(16)
    webp, heif = start[:4] == b"RIFF" and start[8:12] == b"WEBP", start[4:8] == b"ftyp"
    if start.startswith(PICTURES) or webp or heif:
        return "image"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return "world"
    raise WrongKind("it is neither a picture (PNG, JPEG, WebP, TIFF, HEIC) nor a world file (.safetensors)")
