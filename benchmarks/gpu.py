"""What a GPU makes of Wan2.2-TI2V-5B with a latent spatial memory: full size, 704x1280, random weights.

    make bench-gpu                                 # or: python benchmarks/gpu.py [--seconds 510] [--only step walk]
    python benchmarks/gpu.py --tiny                # a toy model on a CPU; what needs CUDA is left out, and it says so
    python benchmarks/gpu.py --record outputs/gpu  # measured here or elsewhere: results/gpu/CARD.json, for render.py

The sections (gpu_sections.py), most wanted first:

    zbuffer   Triton against torch to the bit, microseconds, share of the memory bandwidth
    step      a denoising step with the branch, eager and compiled, bf16 and fp8
    codec     encode and decode of a chunk, whole and in tiles
    walk      latent memory against the published loop (rgb: decode, lift, render, encode), by stage and end to end
    peaks     the most memory of a walk against `mirage plan`, with and without offload
    mini      frames per second of the bundled model from a photograph
    long      the walk at 20 steps, and decoding beside the next chunk

Each is a process of its own and leaves NAME.json in --out, row by row: one that fails, or is stopped because its time
is up, costs what it had not yet measured. What one leaves of its time the next ones have. Random weights are as slow as
real ones; pictures mean nothing. The model takes 27 GB of the GPU, its walks up to 70, and offload 30 of main memory.
"""

import argparse
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import records
from mirage.files import replacing

LIMITS = {"zbuffer": 40, "step": 140, "codec": 30, "walk": 45, "peaks": 130, "mini": 40, "long": 85}
"""Seconds of each section; of another --seconds the same shares."""
FOLDER = records.ROOT / "results" / "gpu"
WHOLE = "whole"
LOADING = 150.0
"""Seconds that the first section may take to load its libraries, off a disk that nothing was read from; not counted."""


def main(argv: list[str]) -> int:
    """Measure, or record what was measured; the exit code."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--tiny", action="store_true", help="a toy model, on a CPU where there is no GPU")
    parser.add_argument("--seconds", type=float, default=510, help="for all sections together")
    parser.add_argument(
        "--only", nargs="+", choices=LIMITS, default=list(LIMITS), metavar="SECTION", help="in this order"
    )
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu"))
    parser.add_argument(
        "--record", type=Path, metavar="FOLDER", help="only make results/gpu/CARD.json of such an --out"
    )
    parser.add_argument("--commit", help="with --record: what was measured, where it is not this checkout")
    parser.add_argument("--section", choices=LIMITS, help=argparse.SUPPRESS)
    asked = parser.parse_args(argv)
    if asked.record is not None:
        print(recorded(asked.record, commit=asked.commit).save(FOLDER))
        return 0
    if asked.section is not None:
        return section(asked.section, asked.out, tiny=asked.tiny)
    import torch

    if not torch.cuda.is_available() and not asked.tiny:
        print("benchmarks/gpu.py: torch finds no CUDA device; expected one, or --tiny for a toy model", file=sys.stderr)
        return 2
    asked.out.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(asked.only))
    for name in names:
        (asked.out / f"{name}.json").unlink(missing_ok=True)
    same = [sys.executable, __file__, "--out", str(asked.out), *["--tiny"] * asked.tiny]
    share = asked.seconds / sum(LIMITS[name] for name in names)
    ended = in_turn(
        {name: [*same, "--section", name] for name in names}, {name: share * LIMITS[name] for name in names}
    )
    for name, how in ended.items():
        note_end(asked.out / f"{name}.json", how)
    print(document(asked.out))
    return 0 if set(ended.values()) == {WHOLE} else 1


def section(name: str, folder: Path, *, tiny: bool) -> int:
    """One section: it says that it has loaded, and begins when a line on standard input says that its turn has come."""
    import gpu_sections  # seconds, spent while the section before still measures

    print("loaded", flush=True)
    if sys.stdin.readline():
        gpu_sections.run(name, folder / f"{name}.json", tiny=tiny)
    return 0


def in_turn(commands: Mapping[str, Sequence[str]], limits: Mapping[str, float]) -> dict[str, str]:
    """Run commands one after the other; how each ended, by name. The next one is started beside the one that runs, to
    load what it needs; it prints a line when it has, and reads one when it may begin. From when the first has loaded
    each must end by the sum of the limits up to its own, else it is stopped with all that it started."""
    ended: dict[str, str] = {}
    names, due = list(commands), 0.0
    processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(name: str) -> None:
        processes[name] = subprocess.Popen(
            commands[name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
        )

    try:
        start(names[0])
        select.select([processes[names[0]].stdout or 0], [], [], LOADING)
        started = time.monotonic()
        for name, following in zip(names, [*names[1:], None], strict=True):
            if following is not None:
                start(following)
            due += limits[name]
            begun, left = time.monotonic(), started + due - time.monotonic()
            print(f"{time.strftime('%X')} {name}: {left:.0f} s at most", file=sys.stderr, flush=True)
            try:
                processes[name].communicate(b"begin\n", timeout=max(left, 0.01))
                code = processes[name].returncode
                ended[name] = WHOLE if code == 0 else f"failed (exit code {code})"
            except subprocess.TimeoutExpired:
                ended[name] = f"stopped, its time was up, after {time.monotonic() - begun:.0f} s"
            _stop(processes[name])
    finally:
        for process in processes.values():
            _stop(process)
    return ended


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """It and what it started, such as the compiler's workers; none may be left."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def note_end(path: Path, how: str) -> None:
    """Into a section's file, which is not there if it measured nothing."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"tables": {}, "notes": []}
    with replacing(path) as beside:
        beside.write_text(json.dumps({**found, "ended": how}, indent=1), encoding="utf-8")


def sections_of(folder: Path) -> dict[str, dict[str, Any]]:
    """What the sections left, in their order."""
    paths = {name: folder / f"{name}.json" for name in LIMITS}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.is_file()}


def document(folder: Path) -> str:
    """All tables and notes, with how each section ended."""
    parts = []
    for name, found in sections_of(folder).items():
        parts.append(f"## {name}: {found['ended']}\n")
        parts += [f"{heading}:\n\n{records.markdown(rows)}" for heading, rows in found["tables"].items()]
        parts += [f"{note}\n" for note in found["notes"]]
    return "\n".join(parts)


def recorded(folder: Path, *, commit: str | None = None) -> records.Record:
    """What the sections of one card measured, as a record under the card's name."""
    sections = sections_of(folder)
    its = next(found["environment"] for found in sections.values() if "environment" in found)
    short = [f"{name}: {found['ended']}" for name, found in sections.items() if found["ended"] != WHOLE]
    return records.Record(
        name=re.sub(r"\W+", "-", its["device"].lower()),
        command="make bench-gpu",
        weights="none",
        machine=f"{its['device']}, {its['cpus']} cores, torch {its['torch']}, Triton {its['triton']}",
        how="a process for each section",
        date=its["date"],
        commit=commit or records.this_commit(),
        seconds=round(sum(found.get("seconds", 0) for found in sections.values())),
        tables={heading: rows for found in sections.values() for heading, rows in found["tables"].items()},
        notes=[note for found in sections.values() for note in found["notes"]] + short,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
