"""`mirage train`: run a recipe; what is done already is not done again."""

import time
from pathlib import Path

from mirage.cli.arguments import Train
from mirage.cli.terminal import Result
from mirage.errors import InputError
from mirage.evaluation.validation import look
from mirage.formats.remote import is_url
from mirage.training.recipe import train
from mirage.training.runs import Changes


def run(asked: Train) -> Result:
    """Train in `asked.out`; the loop itself tells how it goes, on stderr."""
    for name, value, least in (
        ("processes", asked.processes, 1),
        ("steps", asked.steps, 1),
        ("workers", asked.workers, 0),
    ):
        if value is not None and value < least:
            raise InputError(f"--{name} {value}: expected {least} or more")
    if asked.minutes is not None and not 0 < asked.minutes < float("inf"):
        raise InputError(f"--minutes {asked.minutes}: expected more than 0")
    if asked.out.exists() and not asked.out.is_dir():
        raise InputError(f"--out {asked.out} is a file; expected a folder")
    started = time.perf_counter()
    changes = Changes(
        steps=asked.steps,
        minutes=asked.minutes,
        workers=asked.workers,
        tensorboard=asked.tensorboard,
        model=asked.model,
        branch=asked.branch,
        data=Path(asked.data) if asked.data is not None and not is_url(asked.data) else asked.data,
    )
    folder = train(
        asked.recipe,
        asked.out,
        changes=changes,
        processes=asked.processes,
        look=look if asked.pictures else None,
    )
    seconds = time.perf_counter() - started
    print(f"{asked.recipe} is done, in {folder}, after {seconds:.0f} s")
    return Result({"recipe": asked.recipe, "run": str(folder), "seconds": seconds})
