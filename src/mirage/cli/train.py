"""`mirage train`: run a recipe; what is done already is not done again."""

import time

from mirage.cli.arguments import Train
from mirage.cli.terminal import Result
from mirage.errors import InputError
from mirage.evaluation.validation import look
from mirage.training import run as training


def run(asked: Train) -> Result:
    """Train in `asked.out`; the loop itself says how it goes, on stderr."""
    if asked.processes < 1:
        raise InputError(f"--processes {asked.processes}: expected 1 or more")
    if asked.steps is not None and asked.steps < 1:
        raise InputError(f"--steps {asked.steps}: expected 1 or more")
    if asked.minutes is not None and not 0 < asked.minutes < float("inf"):
        raise InputError(f"--minutes {asked.minutes}: expected more than 0")
    if asked.out.exists() and not asked.out.is_dir():
        raise InputError(f"--out {asked.out} is a file; expected a folder")
    started = time.perf_counter()
    training.run(
        asked.recipe,
        asked.out,
        processes=asked.processes,
        steps=asked.steps,
        minutes=asked.minutes,
        model=asked.model,
        data=asked.data,
        tensorboard=asked.tensorboard,
        look=look if asked.pictures else None,
    )
    seconds = time.perf_counter() - started
    print(f"{asked.recipe} is done, in {asked.out}, after {seconds:.0f} s")
    return Result({"recipe": asked.recipe, "home": str(asked.out), "seconds": seconds})
