"""A film that grows in whole groups of frames and plays at any moment: a fragmented MP4. `F`: frames.

    ftyp moov | moof mdat | moof mdat | ...          a group: some frames that need no others, and where they lie

Each group comes from a muxer of its own, in memory, and is put behind the others with its data before its index: a
process that is killed while it writes leaves a file that ends with its last whole group. `finalised` makes the plain
file of it, without encoding again; `recover` does so for the file that a killed run left.
"""

import fcntl
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import av
from av.container import OutputContainer
from av.error import FFmpegError

from mirage.errors import InputError
from mirage.files import abandoned, replacing
from mirage.natural import natural

REORDERED = 2  # by so many frames x264's packets may come in another order than they are shown


class Fragments:
    """The growing file at `path` (it exists, and is empty); locked while it is open, so that a live one is known."""

    def __init__(self, path: Path) -> None:
        self.path, self.groups = path, 0
        self._head = b""
        self._file = path.open("r+b")
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def append(self, fill: Callable[[OutputContainer], None]) -> None:
        """Add a group: `fill` adds one video stream to the container it is given and muxes the group's packets.

        When this returns, the group is in the file. When it raises, the file is what it was.
        """
        end = self._file.seek(0, os.SEEK_END)
        content = io.BytesIO()
        options = {
            "movflags": "+frag_custom+delay_moov+default_base_moof+frag_discont",
            "fragment_index": str(self.groups + 1),
            "fflags": "+bitexact",
        }
        with av.open(content, "w", format="mp4", options=options) as container:
            fill(container)
        made = content.getvalue()
        found = {kind: made[start : start + length] for kind, start, length in boxes(content)}
        head, index, data = found[b"ftyp"] + found[b"moov"], found[b"moof"], found[b"mdat"]
        if self.groups and _decoder(head) != _decoder(self._head):
            raise InputError(f"the frames of {self.path.name} so far were encoded otherwise than those to add")
        before = index if self.groups else head + index
        try:
            for start, part in ((end + len(before), data), (end, before)):
                self._file.seek(start)
                self._file.write(part)
                self._file.flush()
        except BaseException:
            self._file.truncate(end)  # gives the room back
            raise
        self._head = self._head or head
        self.groups += 1

    def close(self) -> None:
        """The file stays."""
        self._file.close()


def finalised(source: Path, target: Path) -> int:
    """Write the packets of `source` as the plain file that the suffix of `target` says; how many frames there are.

    An .mp4 or .mov has its index in front, so that it plays while it loads. Nothing is decoded or encoded.
    """
    front = {"movflags": "+faststart"} if target.suffix.lower() in (".mp4", ".mov") else {}
    count = 0
    with av.open(str(source)) as film, av.open(str(target), "w", options={"fflags": "+bitexact", **front}) as plain:
        stream = plain.add_stream_from_template(film.streams.video[0])
        for packet in film.demux(film.streams.video[0]):
            if packet.size:
                packet.stream = stream
                plain.mux(packet)
                count += 1
    return count


def left_behind(target: str | os.PathLike[str]) -> list[Path]:
    """Files that writers of `target` which no longer run have left beside it."""
    target = Path(target)
    nested = target.with_name(f".{target.name}")  # the plain film of one that was growing
    return sorted([*abandoned(target), *abandoned(nested)], key=natural)


def recover(target: str | os.PathLike[str], *, least: int | None = None) -> int:
    """Give the name of `target` to the film of a writer of it that was killed; how many frames it has, 0: none left.

    Of several, the longest. What else such writers left is removed. Refuses where `target` is there already; but with
    `least`, a film of so many frames takes its place, and a shorter one is removed.
    """
    target = Path(target)
    left = left_behind(target)
    films = [path for path in left if _whole(path)]
    for path in films:
        with path.open("r+b") as file:
            file.truncate(_whole(path))
    # Killed between the end of its plain film and the renaming: that film is the only one.
    films = films or [path for path in left if not path.name.startswith("..") and _plain(path)]
    count = 0
    if least is not None:
        films = [path for path in films if _frames(path) >= least]
    if films:
        if target.exists() and least is None:
            raise InputError(f"{target} is there already, and {films[-1].name} beside it: move one of them away")
        with replacing(target, sweep=False) as beside:
            count = finalised(max(films, key=_frames), beside)
    for path in left:
        path.unlink(missing_ok=True)
    return count


def boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """(kind, where it begins, bytes with its header) of an MP4's outermost boxes; ends at one that is not whole."""
    size, at = file.seek(0, os.SEEK_END), 0
    while at + 8 <= size:
        file.seek(at)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:  # 64 bits of length follow
            length = int.from_bytes(header[8:], "big")
        if length < 8 or at + length > size:
            return
        yield header[4:8], at, length
        at += length


def _whole(path: Path) -> int:
    """Bytes of a growing film up to the end of its last whole group; 0: it has none."""
    whole, kinds = 0, []
    with path.open("rb") as file:
        for kind, start, length in boxes(file):
            kinds.append(kind)
            if kinds[:2] == [b"ftyp", b"moov"] and kinds[-2:] == [b"moof", b"mdat"]:
                whole = start + length
    return whole


def _plain(path: Path) -> bool:
    """It is a film, and none of groups."""
    with path.open("rb") as file:
        return all(kind != b"moof" for kind, _, _ in boxes(file)) and _frames(path) > 0


def _frames(path: Path) -> int:
    try:
        with av.open(str(path)) as film:
            return sum(1 for packet in film.demux(film.streams.video[0]) if packet.size)
    except (FFmpegError, IndexError):  # nothing that is a film yet
        return 0


def _decoder(head: bytes) -> bytes:
    """What a decoder is set up with: the parameter sets of H.264, the configuration of FFV1."""
    kind = b"avcC" if b"avcC" in head else b"glbl"
    start = head.index(kind) - 4
    return head[start : start + int.from_bytes(head[start : start + 4], "big")]
