"""Measure again: run commands, keep what they print as results/WEIGHTS/NAME.json (records.py), render the pages.

    python benchmarks/results.py [NAME ...]        # all short ones: under 20 minutes on 2 idle cores, two at a time
    python benchmarks/results.py worlds            # the long ones only if asked for: two processes on each

Needs real frames (MIRAGE_DATA, else ../shared/data) for "real", "re10k" and "photos", which are left as they were
without them; of the photographs those that are held out are linked into outputs/held-out.
Frames and reports go to outputs/results/NAME, which is emptied first.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

import render
from mirage.training.photographs import Photographs
from records import FOLDER, ROOT, measured, read_report

OUT = Path("outputs") / "results"
DATA = Path(os.environ.get("MIRAGE_DATA", ROOT.parent / "shared" / "data"))
SECTIONS = {
    "real-scale": "mirage bench efficiency --real-scale",
    "synthetic": "mirage evaluate synthetic --scenes 2 --chunks 3 --memories latent rgb rgb-voxel frames none "
    "--keep-frames --out outputs/results/synthetic",
    "efficiency": "mirage bench efficiency --chunks 3 --memories latent rgb --plot docs/efficiency.png --overwrite",
    "ablations": "mirage evaluate synthetic --scenes 1 --chunks 3 --memories latent 'latent, no lock' "
    "'latent, no gate' 'latent, nearest' --out outputs/results/ablations",
    "revisit": "mirage evaluate revisit outputs/results/synthetic/scene-*/latent --out outputs/results/revisit",
    "real": "mirage evaluate real $MIRAGE_DATA/rgbd_7scenes --pairs 4 --out outputs/results/real",
    "re10k": "mirage evaluate re10k $MIRAGE_DATA/re10k_poses --frames 13 --out outputs/results/re10k",
}
"""The longest first; revisit looks at what synthetic left, so it waits for it."""
LONG = {
    "worlds": "mirage evaluate synthetic --scenes 50 --chunks 3 --memories latent rgb none "
    "--out outputs/results/worlds",
    "autoencoder": "python benchmarks/autoencoder.py --scenes 24",
    "chunks": "mirage evaluate synthetic --scenes 1 --chunks 21 --kinds back_and_forth --memories latent "
    "--out outputs/results/chunks",
    "depth": "mirage evaluate synthetic --scenes 4 --chunks 3 --memories latent 'latent, true depth' "
    "--out outputs/results/depth",
    "free-space": "mirage evaluate synthetic --scenes 12 --chunks 3 --memories 'latent, no free space' "
    "--out outputs/results/free-space",
    "steps": "mirage evaluate synthetic --scenes 12 --chunks 3 --memories latent --steps 8 --out outputs/results/steps",
    "steps-16": "mirage evaluate synthetic --scenes 6 --chunks 3 --memories latent --steps 16 "
    "--out outputs/results/steps-16",
    "moving": "mirage evaluate synthetic --scenes 3 --chunks 3 --moving --memories 'latent, filter' "
    "'latent, no filter' none --out outputs/results/moving",
    "unseen": "mirage evaluate unseen --scenes 12 --memories latent 'latent, no draft' --out outputs/results/unseen",
    "prompted": "mirage evaluate prompted --scenes 6 --out outputs/results/prompted",
    "photos": "mirage evaluate photos --stills outputs/held-out/stills --panoramas outputs/held-out/panoramas "
    "--rgbd $MIRAGE_DATA/rgbd_7scenes --every 2 --memories latent rgb none --out outputs/results/photos",
}
"""One to twenty minutes each on 2 idle cores; a run that was broken off goes on when its command is given again (not
through this script)."""
ALONE = {
    "speed": "mirage bench memory --points 316800 3168000 --repeats 5 --json",
    "growth": "python benchmarks/growth.py growth",
    "long": "python benchmarks/growth.py long",
    "world": "python benchmarks/growth.py world",
    "bounds": "python benchmarks/bounds.py",
}
"""Of the memory, without weights: results/memory. They want the machine for themselves."""
AFTER = {"revisit": "synthetic"}
PAIRED = {
    "worlds": "python benchmarks/differences.py outputs/results/worlds",
    "steps": "python benchmarks/differences.py outputs/results/worlds outputs/results/steps",
    "steps-16": "python benchmarks/differences.py outputs/results/worlds outputs/results/steps-16",
}
"""What compares walks scene by scene once a measurement is there; its table is kept with it."""


def main(asked: Sequence[str]) -> int:
    unknown = [name for name in asked if name not in SECTIONS | LONG | ALONE]
    if unknown:
        print(f"no section {unknown[0]!r}; there are {', '.join(SECTIONS | LONG | ALONE)}", file=sys.stderr)
        return 2
    names = list(asked or SECTIONS)
    if not DATA.is_dir():
        tell(f"no real data at {DATA}: real, re10k and photos are left as they were")
        names = [name for name in names if "$MIRAGE_DATA" not in (SECTIONS | LONG | ALONE)[name]]
    started, done, failed = time.monotonic(), 0, 0
    with ThreadPoolExecutor(1 if (LONG | ALONE).keys() & set(names) else 2) as pool:
        running = {pool.submit(run, name): name for name in names if AFTER.get(name) not in names}
        while running:
            future = next(as_completed(running))
            name = running.pop(future)
            code, said, seconds = future.result()
            done, failed = done + 1, failed + (code != 0)
            if code == 0:
                keep(name, said, seconds)
            tell(
                f"[{done}/{len(names)}] {name}: {'done' if code == 0 else f'failed with {code}'} in {seconds:.0f} s, "
                f"{time.monotonic() - started:.0f} s in all"
            )
            running |= {pool.submit(run, later): later for later in names if AFTER.get(later) == name and code == 0}
    render.main()
    return 1 if failed else 0


def run(name: str) -> tuple[int, str, float]:
    """One command, each process on one thread: its exit code, what it printed, and the seconds it took. What it says on
    stderr is shown."""
    command = (SECTIONS | LONG | ALONE)[name]
    tell(f"{name}: {command}")
    shutil.rmtree(ROOT / OUT / name, ignore_errors=True)
    if name == "photos":
        hold_out()
    program, *words = [
        str(path)
        for word in shlex.split(command.replace("$MIRAGE_DATA", str(DATA)))
        for path in (sorted(ROOT.glob(word)) if "*" in word else [word])
    ]
    together = program == "mirage" and name in LONG  # two processes share out the walks of an evaluation
    started = time.monotonic()
    processes = [
        subprocess.Popen(
            [sys.executable, *(["-m", "mirage"] if program == "mirage" else []), *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for _ in range(1 + together)
    ]
    told = [process.communicate()[0] for process in processes]
    return max(process.returncode for process in processes), told[0], time.monotonic() - started


def hold_out() -> None:
    """Links to the photographs that are held out, in outputs/held-out."""
    photographs = Photographs(DATA / "photos")
    for kind, paths in (("stills", photographs.held_out_pictures), ("panoramas", photographs.held_out_panoramas)):
        folder = ROOT / "outputs" / "held-out" / kind
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for path in paths:
            (folder / path.name).symlink_to(path)


def keep(name: str, said: str, seconds: float) -> None:
    """As a record, with the paired differences where there are some to make."""
    command = (SECTIONS | LONG | ALONE)[name]
    how = (
        "one thread, beside another command"
        if name in SECTIONS
        else "two processes of one thread each"
        if name in LONG and command.startswith("mirage")
        else "one thread"
    )
    printed = "\n".join(line for line in said.splitlines() if not line.startswith(("wrote ", "# ")))
    record = measured(name, command, printed, how=how, seconds=round(seconds))
    if name in PAIRED:
        words = shlex.split(PAIRED[name])
        paired = subprocess.run([sys.executable, *words[1:]], cwd=ROOT, capture_output=True, text=True)
        if paired.returncode == 0:
            record = replace(
                record, tables=record.tables | {render.PAIRED: next(iter(read_report(paired.stdout)[0].values()))}
            )
        else:
            tell(f"{name}: no differences, {paired.stderr.strip()}")
    if name in ALONE:
        replace(record, weights="none").save(FOLDER.parent / "memory")
    else:
        record.save()


def tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
