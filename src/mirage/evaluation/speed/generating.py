"""What `mirage generate` takes: seconds and memory of the whole command, and seconds of decoding; of builds in turn.

In every turn each build has one go, so that what slows the machine slows them all. The first turn is not counted: it
compiles kernels and fills caches.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mirage.errors import InputError
from mirage.evaluation.options import GenerateOptions
from mirage.evaluation.speed.builds import Build, apart
from mirage.formats.image import save_image
from mirage.scenes import sample_clip, training_seed

PATH = "w 48, right 48"
"""The walk: on, and then around; it is cut to as many frames as are asked for."""
DECODES = """
import sys, time, torch, mirage
torch.set_num_threads(1)
model = mirage.load_world_model(sys.argv[1])
with torch.inference_mode():
    grid = model.encode(torch.full((1, 3, model.height, model.width), 0.5)).shape[-2:]
    latents = torch.randn(9, model.channels, *grid, generator=torch.Generator().manual_seed(0))
    model.decode(latents[:2])
    started = time.perf_counter()
    model.decode(latents)
print(time.perf_counter() - started)
"""
"""Seconds that one thread takes to decode 33 frames; in words that every build knows."""
WATCHES = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, flush=True)
sys.exit(code)
"""
"""Runs a command and adds its memory to what it says, from a process that is small itself: what a process held before
it became another counts as the other's."""


def run_generate(
    builds: Sequence[Build], options: GenerateOptions, *, progress: Callable[[str, int, int], None] | None = None
) -> dict[str, Any]:
    """For each build by name: `seconds`, `peak_bytes` of the command and `decode_seconds`, a number for each turn; and
    for those after the first `times`: the median over the turns of its seconds over the first one's.

    Raises `InputError` where a build's command fails, with the last line that it said."""
    found: dict[str, dict[str, Any]] = {
        build.name: {"seconds": [], "peak_bytes": [], "decode_seconds": []} for build in builds
    }
    of, done = (options.runs + 1) * len(builds), 0
    with tempfile.TemporaryDirectory(prefix="mirage-bench-") as place:
        image = options.image or _scene(Path(place))
        for turn in range(options.runs + 1):
            for build in builds:
                if progress is not None:
                    progress(f"turn {turn} of {options.runs}, {build.name}", done, of)
                taken, peak = _generated(build, options, image, Path(place) / "walk.mp4")
                decoded = float(_ran(build, options, "-c", DECODES, options.model)[0])
                if turn:
                    for name, value in zip(found[build.name], (taken, peak, decoded), strict=True):
                        found[build.name][name].append(value)
                done += 1
    first, *others = found.values()
    for other in others:
        for name, ratio in (("seconds", "times"), ("decode_seconds", "decode_times")):
            other[ratio] = statistics.median(its / ours for its, ours in zip(other[name], first[name], strict=True))
    return {"builds": found, "frames": options.frames, "runs": options.runs, "threads": options.threads}


def _generated(build: Build, options: GenerateOptions, image: Path, out: Path) -> tuple[float, int]:
    """Seconds and bytes at most of one command."""
    words = ["--model", options.model, "--image", str(image), "--trajectory", PATH, "--frames", str(options.frames)]
    out.unlink(missing_ok=True)
    started = time.perf_counter()
    peak = _ran(build, options, "-m", "mirage", "generate", *words, "--seed", "0", "--out", str(out))[1]
    taken = time.perf_counter() - started
    for left in out.parent.glob(f"{out.stem}.*"):
        left.unlink()
    return taken, peak


def _ran(build: Build, options: GenerateOptions, *words: str) -> tuple[str, int]:
    """What a build's Python says when it runs these words, and bytes at most."""
    command = [sys.executable, "-S", "-c", WATCHES, *build.command(*words)]
    ran = subprocess.run(command, capture_output=True, text=True, env=apart(options.threads))
    *said, peak = ran.stdout.strip().splitlines() or ["0"]
    if ran.returncode:
        last = (ran.stderr.strip() or "\n".join(said) or "it said nothing").splitlines()[-1]
        raise InputError(f"{build.name} ended with exit code {ran.returncode}: {last}")
    return said[-1] if said else "", int(peak) * (1 if sys.platform == "darwin" else 1024)


def _scene(place: Path) -> Path:
    """A picture of a procedural scene."""
    image = place / "scene.png"
    save_image(image, sample_clip(training_seed(1), frames=1, size=(384, 512)).rgb[0].float() / 255)
    return image
