"""Throughput of `mirage batch`, and a soak: what one process does against two, and walks whose workers are killed.

    python benchmarks/batch.py throughput --walks 12        two replicas of one thread against one, in one run
    python benchmarks/batch.py soak --walks 2000            a worker is killed at random every 20 s

Other work on the machine slows both, so the ratio is of one run, in alternating rounds, and is also told in seconds of
CPU: what a core did for a walk.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from mirage.distributed.guard import MARK
from mirage.formats.image import save_image
from mirage.models.tiny import tiny_world
from scale import check

FRAMES, STEPS = 9, 1
EVERY = 20.0
"""Seconds between two kills."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["throughput", "soak"])
    parser.add_argument("--walks", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--model", help="a folder or name; a tiny one of random weights, if left out")
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--steps", type=int, default=STEPS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mirage-bench-") as place:
        folder = Path(place)
        work = throughput if asked.what == "throughput" else soak
        print(json.dumps(work(folder, asked), indent=1))


def throughput(folder: Path, asked: argparse.Namespace) -> dict[str, object]:
    """Walks per second between the first and the last that are done: loading and starting are not in it."""
    command = _given(folder, asked)
    rates: dict[int, list[float]] = {1: [], 2: []}
    costs: dict[int, list[float]] = {1: [], 2: []}
    simulated: dict[int, float] = {}
    for number in range(asked.rounds):
        for replicas in (1, 2):
            out = folder / f"{number}-{replicas}"
            process = subprocess.run([*command, "--out", str(out), "--replicas", str(replicas)], env=_environment())
            assert process.returncode == 0
            done = [json.loads(path.read_text()) for path in out.glob("*/done.json")]
            ends = sorted(path.stat().st_mtime for path in out.glob("*/done.json"))
            first = replicas  # those whose walks began while others still loaded
            rates[replicas].append((len(ends) - first) / (ends[-1] - ends[first - 1]))
            costs[replicas].append(sum(one["seconds"]["cpu"] for one in done) / len(done))
            simulated[replicas] = check(out, replicas)["ratio"]
    rate = {replicas: sorted(some)[len(some) // 2] for replicas, some in rates.items()}
    cost = {replicas: sorted(some)[len(some) // 2] for replicas, some in costs.items()}
    return {
        "walks": asked.walks,
        "rounds": asked.rounds,
        "load_average": os.getloadavg(),
        "walks_per_second": rate,
        "ratio": rate[2] / rate[1],
        "cpu_seconds_per_walk": cost,
        "ratio_by_cpu": 2 * cost[1] / cost[2],
        "simulated_over_measured": simulated,  # of the last round; see scale.py
    }


def soak(folder: Path, asked: argparse.Namespace) -> dict[str, object]:
    """Every walk is done once, and the driver's memory stays what it was."""
    out, started, killed = folder / "out", time.monotonic(), 0
    process = subprocess.Popen(
        [*_given(folder, asked), "--out", str(out), "--replicas", "2", "--retries", "5"], env=_environment()
    )
    memory: list[tuple[int, float]] = []
    made: dict[str, int] = {}
    twice: list[str] = []
    due, chance = time.monotonic() + EVERY, random.Random(0)
    while process.poll() is None:
        for path in out.glob("*/done.json"):
            stamp = path.stat().st_mtime_ns
            if made.setdefault(path.parent.name, stamp) != stamp:
                twice.append(path.parent.name)
        memory.append((len(made), _resident(process.pid)))
        if time.monotonic() > due and (workers := _workers(process.pid)):
            os.kill(chance.choice(workers), signal.SIGKILL)
            killed, due = killed + 1, time.monotonic() + EVERY
        time.sleep(2)
    names = {path.parent.name for path in out.glob("*/done.json")}
    late = [size for count, size in memory if count > asked.walks / 4]
    return {
        "code": process.returncode,
        "walks": asked.walks,
        "done": len(names),
        "lost": asked.walks - len(names),
        "twice": len(twice),
        "killed": killed,
        "seconds": time.monotonic() - started,
        "driver_MiB_after_a_quarter": late[0] if late else None,
        "driver_MiB_at_the_end": late[-1] if late else None,
        "left_in_folder": sorted(path.name for path in out.iterdir() if path.name not in names),
    }


def _given(folder: Path, asked: argparse.Namespace) -> list[str]:
    """A manifest of so many walks, and the command that makes them."""
    model = asked.model
    if model is None:
        tiny_world().save_pretrained(folder / "model")
        model = str(folder / "model")
    save_image(folder / "a.png", torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(1)))
    line = {"image": "a.png", "trajectory": f"w {asked.frames - 1}", "frames": asked.frames, "steps": asked.steps}
    lines = [json.dumps(line | {"seed": number}) for number in range(asked.walks)]
    (folder / "m.jsonl").write_text("\n".join(lines) + "\n")
    return [sys.executable, "-m", "mirage", "batch", str(folder / "m.jsonl"), "--model", model]


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _resident(process: int) -> float:
    """MiB of a process."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):  # it has just ended
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _workers(driver: int) -> list[int]:
    """The processes of a driver's Ray that do the walks: of its mark, those with the name that Ray gives them."""
    found, mark = [], None
    marks: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "environ").read_bytes().split(b"\0")
            name = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        its = next((word.decode() for word in words if word.startswith(f"{MARK}=".encode())), None)
        if its is None:
            continue
        marks[int(folder.name)] = its
        if parent == driver:
            mark = its
        if name.startswith(b"ray::_Replica.do"):  # at a walk; one that loads is of no interest
            found.append(int(folder.name))
    return [process for process in found if marks[process] == mark]


if __name__ == "__main__":
    main()
