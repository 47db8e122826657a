"""A Ray to work on: one that is started here and gone afterwards, or one that runs somewhere.

with joined("local") as ray:
    ...

A local Ray asks every connection for a token that only this process and its children have, because it listens on all
of the machine's addresses whatever it is told (ray 2.60.0: `--node-ip-address=127.0.0.1` does not change that). It is
ended by its own processes' mark (guard.py), never by `ray stop`, which ends every Ray of the machine.
"""

import contextlib
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

from mirage.distributed import guard
from mirage.errors import InputError
from mirage.optional import optional

LOCAL = "local"
OBJECT_STORE = 256 * 2**20
"""Bytes of shared memory: results are numbers and words, files go from disk to disk."""

SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
"""Of a local Ray: it calls nobody, and its workers have the priority of who started them, where Ray's own choice is a
niceness of 15 (2.60.0), with which they get nothing done beside other work."""

_AUTH: dict[str, str] = {}
"""How Ray's processes know each other: read once by a process, when it imports Ray. Who has imported it before us has
said how. Said outright here: by itself it depends on whether a token file lies in the home folder."""


@contextlib.contextmanager
def joined(address: str) -> Iterator[Any]:
    """Yields the module `ray`, connected to a new local one, or to that at `address` ("auto", HOST:PORT).

    What Ray prints of its workers' deaths is left out: whoever gives out the work says what becomes of it.
    """
    with contextlib.ExitStack() as stack:
        start: dict[str, Any] = {"address": address}
        if address == LOCAL:
            folder = stack.enter_context(_guarded())
            store = {"object_store_memory": OBJECT_STORE, "_temp_dir": folder, "include_dashboard": False}
            start = {"address": LOCAL, "num_cpus": os.cpu_count(), **store}
        elif address != "auto":
            _answers(address)
        with optional("ray", wanted="work on several processes"):
            import ray
            from ray._private import worker
        stack.enter_context(_silent(worker))
        try:
            with _own_answers():
                ray.init(**start, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
        except (OSError, ValueError, RuntimeError) as error:  # also where the temporary folder's name is too long
            why = " ".join(str(error).split())[:300]
            raise InputError(f"no Ray at {address} ({why}); accepted: {LOCAL}, auto, HOST:PORT") from error
        try:
            yield ray
        finally:
            ray.shutdown()


def _answers(address: str) -> None:
    """Somebody listens there, for Ray itself waits minutes for one."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if not (host and port.isdecimal() and int(port) < 2**16):
            raise ValueError("it names no host and port")
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise InputError(f"no Ray at {address} ({error}); accepted: {LOCAL}, auto, HOST:PORT") from error


@contextlib.contextmanager
def _own_answers() -> Iterator[None]:
    """Afterwards SIGTERM is answered as before: `ray.init` has its own answer, which ends the driver with code 1."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _silent(worker: Any) -> Iterator[None]:
    """Ray's module `worker` prints no death of a process to stdout within, which it does whatever it is told."""
    before = getattr(worker, "print_to_stdstream", None)
    worker.print_to_stdstream = lambda *said, **how: None
    try:
        yield
    finally:
        worker.print_to_stdstream = before


@contextlib.contextmanager
def _guarded() -> Iterator[str]:
    """A folder for a local Ray, in an environment that is private to it; what was started within is gone afterwards,
    also when this process is killed."""
    mark, folder = secrets.token_hex(8), tempfile.mkdtemp(prefix="mirage-ray-")
    watch = subprocess.Popen(
        [sys.executable, "-I", guard.__file__, mark, folder],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is not for it
    )
    if "ray" not in sys.modules:
        _AUTH.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    private = {guard.MARK: mark, **SETTINGS, **_AUTH}
    before = {name: os.environ.get(name) for name in private}
    os.environ.update(private)
    try:
        yield folder
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        watch.communicate()
