"""A run has one owner: two processes that train in one folder would mix their curves and checkpoints."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mirage.errors import InputError
from mirage.files import replacing


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Within the block the run in `folder` belongs to this process and to those that it started; the lock lies beside
    it (.NAME.lock, and who holds it in .NAME.owner) and ends with its process, however that ends.

    Raises `InputError` that names the owner where there is another one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    owner = folder.with_name(f".{folder.name}.owner")
    try:
        with FileLock(folder.with_name(f".{folder.name}.lock"), blocking=False):
            try:
                with replacing(owner) as beside:
                    beside.write_text(json.dumps({"process": os.getpid(), "machine": socket.gethostname()}))
                yield
            finally:
                owner.unlink(missing_ok=True)
    except Timeout as error:
        raise InputError(
            f"{folder} is being trained by {_who(owner)}; expected one at a time: wait for it, end it, or use another "
            "folder"
        ) from error


def _who(owner: Path) -> str:
    try:
        its = json.loads(owner.read_text())
        return f"process {its['process']} on {its['machine']}"
    except (OSError, ValueError, KeyError):  # it has just begun, or just ended
        return "another process"
