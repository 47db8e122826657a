"""`mirage bench generate`: what a walk takes, of this build and of others in turn; a table, JSON."""

import statistics
import tempfile
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console

from mirage.cli.arguments import BenchGenerate
from mirage.cli.arguments.common import noun_of
from mirage.cli.terminal import Result, progress
from mirage.errors import InputError
from mirage.evaluation.options import GenerateOptions
from mirage.evaluation.report import markdown_table
from mirage.evaluation.speed.builds import Build
from mirage.evaluation.speed.generating import run_generate


def run(asked: BenchGenerate) -> Result:
    """Install what is compared with, measure, print the table."""
    if asked.builds is not None and not asked.against:
        raise InputError("--builds is of what --against names; got no --against")
    if asked.builds is not None and asked.builds.exists() and not asked.builds.is_dir():
        raise InputError(f"{asked.builds} is no folder; expected one for builds")
    options = noun_of(asked, GenerateOptions)
    kept = tempfile.TemporaryDirectory(prefix="mirage-builds-") if asked.builds is None else nullcontext(asked.builds)
    with kept as place, progress("measuring") as show:
        builds = [Build.running()]
        for commit in asked.against:
            show(0, f"installing {commit}")
            builds.append(Build.of_commit(commit, Path(place)))
        measured = run_generate(builds, options, progress=lambda what, done, of: show(done, what, of))
    rows = [
        {
            "build": name,
            "generate, s": _spread(its["seconds"]),
            "generate, times": f"{its.get('times', 1.0):.2f}",
            "decode 33 frames, one thread, s": _spread(its["decode_seconds"]),
            "decode, times": f"{its.get('decode_times', 1.0):.2f}",
            "peak memory, MiB": f"{max(its['peak_bytes']) / 2**20:.0f}",
        }
        for name, its in measured["builds"].items()
    ]
    console = Console(soft_wrap=True, markup=False, highlight=False)
    console.print(markdown_table(rows))
    console.print(
        f"Medians (least to most) of {asked.runs} turns, {asked.frames} frames; times: over this build's, turn by turn."
    )
    return Result(measured)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
