"""Where results go and inputs come from: a folder, or by URL whatever fsspec reads and writes (s3://, gs://, ...).

    store = Store.of("s3://bucket/walks")
    with store.making("task") as folder:        # fill it; nothing of it is seen unless the block ends well
        (folder / DONE).write_text(...)
    store.done()                                # {task: what its done.json says}

In a folder a task appears by one rename. In an object store there is no such thing: its objects come whole one by one,
and done.json is the last of them; without it a task is not done, whatever else is there.
"""

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirage.errors import InputError
from mirage.files import held, making, replacing
from mirage.formats.remote import file_system, is_url, told

DONE = "done.json"


@dataclass(frozen=True)
class Store:
    """A folder here (`folder`), or below `root` of some file system of fsspec (`url`)."""

    url: str
    folder: Path | None

    @classmethod
    def of(cls, where: str) -> "Store":
        """By path or URL. `InputError` for a URL whose package is missing, and for a file."""
        if not is_url(where) or where.startswith("file://"):
            folder = Path(where.removeprefix("file://"))
            if folder.exists() and not folder.is_dir():
                raise InputError(f"{folder} is a file; expected a folder for results")
            return cls(where, folder.absolute())
        file_system(where)
        return cls(where.rstrip("/"), None)

    def done(self) -> dict[str, dict[str, Any]]:
        """What is finished, by task."""
        if self.folder is not None:
            found = {path.parent.name: path.read_text(encoding="utf-8") for path in self.folder.glob(f"*/{DONE}")}
        else:
            files, root = file_system(self.url)
            with told(self.url):
                files.invalidate_cache()
                paths = files.glob(f"{root}/*/{DONE}")
                found = {path.split("/")[-2]: text.decode() for path, text in files.cat(paths).items()} if paths else {}
        return {name: _marker(text, f"{self.url}/{name}/{DONE}") for name, text in found.items()}

    def finished(self, name: str) -> dict[str, Any] | None:
        """What one task's done.json says; None: it is not done."""
        where = f"{self.url}/{name}/{DONE}"
        if self.folder is not None:
            path = self.folder / name / DONE
            return _marker(path.read_text(encoding="utf-8"), where) if path.is_file() else None
        files, root = file_system(self.url)
        with told(where):
            try:
                return _marker(files.cat_file(f"{root}/{name}/{DONE}").decode(), where)
            except FileNotFoundError:
                return None

    @contextlib.contextmanager
    def making(self, name: str) -> Iterator[Path]:
        """Yields a folder to fill, `DONE` included; it becomes the task's when the block ends well."""
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            with making(self.folder / name) as beside:
                yield beside
            return
        with scratch() as beside:
            yield beside
            files, root = file_system(self.url)
            last = beside / DONE
            with told(f"{self.url}/{name}"):
                for path in sorted((path for path in beside.iterdir() if path != last), key=lambda path: path.name):
                    files.put_file(str(path), f"{root}/{name}/{path.name}")
                files.put_file(str(last), f"{root}/{name}/{DONE}")

    def write(self, name: str, text: str) -> None:
        """A file beside the tasks, whole."""
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(self.folder / name) as beside:
                beside.write_text(text, encoding="utf-8")
            return
        files, root = file_system(self.url)
        with told(f"{self.url}/{name}"):
            files.pipe_file(f"{root}/{name}", text.encode())


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for as long as the block lasts; those of processes that were killed are removed."""
    prefix = "mirage-batch-"
    for path in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(FileNotFoundError):  # somebody else removes it
            young = time.time() - path.stat().st_mtime < 60
            if not young and not held(path):
                shutil.rmtree(path, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix) as folder:
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
            yield Path(folder)
        finally:
            os.close(handle)


def _marker(text: str, where: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where} is not JSON ({error}); remove it to do its task again") from error
    if not isinstance(content, dict):
        raise InputError(f"{where} holds a {type(content).__name__}; remove it to do its task again")
    return content
