"""Many programs at one server: clients that walk, some of them killed in the middle of a step, and what becomes of it.

    python benchmarks/load.py [--clients 50] [--minutes 5] [--model mini|FOLDER] [--json OUT]

Starts `mirage serve` as a user does, with room for as many sessions as there are clients and a fifth more, for those
whose client is gone while their step is not. A client begins a session in a scene, steps, looks, undoes and ends it,
then begins anew. Of its steps 5 % are killed: the connection is cut while the step is being made, and nobody ends that
session, which goes to disk as soon as its place is wanted. Without --model, one of random weights as small as the tests
have it, for it is the server that is measured. In the end a second server with room for two is asked for a third.

Every other answer than the one that was asked for is an error, and listed. Memory is the server's resident memory, as
/metrics says it.
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

STEPS = 3  # of a client's session
BEGIN = b'--cut\r\nContent-Disposition: form-data; name="walk"\r\n\r\n{"steps": 1}\r\n--cut--\r\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--killed", type=float, default=0.05, help="share of the steps whose client is killed")
    parser.add_argument("--model", default=None)
    parser.add_argument("--json", type=Path, default=None)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = asked.model or tiny(Path(folder))
        with serving(model, Path(folder) / "kept", sessions=asked.clients * 6 // 5, asleep=10**6) as (port, process):
            done = asyncio.run(load(port, asked.clients, 60 * asked.minutes, asked.killed))
            process.send_signal(signal.SIGTERM)
            exit_code = process.wait(120)
        kept = len(list((Path(folder) / "kept").iterdir()))
        with serving(model, Path(folder) / "few", sessions=1, asleep=1) as (port, _):
            full = asyncio.run(one_too_many(port))
    fifths = [done.resident[(len(done.resident) - 1) * part // 5] for part in range(6)]
    measured = {
        "clients": asked.clients, "minutes": asked.minutes, "model": asked.model or "tiny, of random weights",
        "sessions": done.sessions, "steps": len(done.seconds), "killed_in_mid_step": done.killed, "errors": done.errors,
        "step_seconds": {"median": round(median(done.seconds), 2), "p95": round(quantiles(done.seconds, n=20)[-1], 2)},
        "resident_mib": {"by fifths of the time": fifths, "most": max(done.resident)},
        "sigterm_exit_code": exit_code, "sessions_on_disk_afterwards": kept, "one_too_many": full,
        "cores": os.cpu_count(), "load_average": os.getloadavg()[0],
    }  # fmt: skip
    print(json.dumps(measured, indent=1))
    if asked.json:
        asked.json.write_text(json.dumps(measured, indent=1))


def tiny(folder: Path) -> str:
    """A model of random weights, saved there."""
    from mirage.models.tiny import tiny_world

    tiny_world().save_pretrained(folder / "tiny")
    return str(folder / "tiny")


@contextmanager
def serving(model: str, keep: Path, *, sessions: int, asleep: int) -> Iterator[tuple[int, Any]]:
    """(port, process) of `mirage serve`."""
    command = [sys.executable, "-m", "mirage", "serve", "--port", "0", "--model", model, "--keep", str(keep)]
    command += ["--sessions", str(sessions), "--asleep", str(asleep)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline().strip("/ \n").rpartition(":")[2]), process
        finally:
            process.terminate()


@dataclass
class Done:
    """What all clients did, and MiB of the server's memory, a sample a second."""

    sessions: int = 0
    killed: int = 0
    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)


async def load(port: int, clients: int, seconds: float, killed: float) -> Done:
    done, ends = Done(), time.monotonic() + seconds
    watch = asyncio.create_task(_watch(port, done))
    await asyncio.gather(*(_client(port, random.Random(seed), ends, killed, done) for seed in range(clients)))
    watch.cancel()
    return done


async def one_too_many(port: int) -> str:
    """What is answered where no more sessions fit, in memory and on disk."""
    for _ in range(10):
        status, said = await ask(port, "POST", "/sessions", BEGIN)
        if status != 201:
            return f"{status}: {said.decode()}"
    raise SystemExit("ten sessions fit where two should")


async def _client(port: int, rng: random.Random, ends: float, killed: float, done: Done) -> None:
    async def asked(method: str, path: str, body: bytes = b"", *, wanted: int = 200) -> Any:
        status, answer = await ask(port, method, path, body)
        if status != wanted:
            done.errors.append(f"{method} {path.rpartition('/')[2][:10]}: {status} {answer.decode()}")
            raise _Refused
        return json.loads(answer or b"null")

    while time.monotonic() < ends:
        try:
            here = "/sessions/" + (await asked("POST", "/sessions", BEGIN, wanted=201))["session"]
            done.sessions += 1
            for _ in range(STEPS):
                step = json.dumps({"move": {"yaw": rng.uniform(-12, 12)}, "frames": 4}).encode()
                if rng.random() < killed:
                    _, writer = await _sent(port, "POST", f"{here}/step", step)
                    while not (await asked("GET", here))["busy"]:
                        await asyncio.sleep(0.05)
                    writer.transport.abort()
                    done.killed += 1
                    break
                began = time.monotonic()
                await asked("POST", f"{here}/step", step)
                done.seconds.append(time.monotonic() - began)
                await asked("POST", f"{here}/look", b"{}")
                if time.monotonic() > ends:
                    return
            else:
                await asked("POST", f"{here}/undo", b"{}")
                await asked("DELETE", here, wanted=204)
        except (_Refused, OSError, asyncio.IncompleteReadError) as error:
            if not isinstance(error, _Refused):
                done.errors.append(repr(error))


class _Refused(Exception):
    pass


async def _watch(port: int, done: Done) -> None:
    while True:
        text = (await ask(port, "GET", "/metrics"))[1].decode()
        found = re.search(r"^process_resident_memory_bytes (\d+)", text, flags=re.MULTILINE)
        done.resident.append(int(found[1]) >> 20 if found else 0)
        await asyncio.sleep(1)


# -- HTTP, as little of it as is spoken here: the machine is the server's ----------------------------------------------


async def ask(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """(status, body) of an answer, by a connection of its own."""
    reader, writer = await _sent(port, method, path, body)
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), await reader.read()
    finally:
        writer.close()


async def _sent(port: int, method: str, path: str, body: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    kind = "multipart/form-data; boundary=cut" if path == "/sessions" else "application/json"
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()
    return reader, writer


if __name__ == "__main__":
    main()
