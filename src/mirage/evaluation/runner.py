"""Many tasks, one folder each, in an order that may be broken off and taken up again.

    out/options.json          what was asked; other options in the same folder are refused
    out/TASK/...              whatever the task leaves: frames, cameras, sheet.png
    out/TASK/done.json        its results and their digest; written last and whole: where it is, the task is finished
    out/TASK/.lock            held by the process that works on it
    out/results.json, report.md

The same command started a second time beside the first takes tasks that nobody works on, so two share them out. Who
gives tasks to several processes asks each for a `part`.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mirage.errors import InputError
from mirage.evaluation.report import markdown_table, plain
from mirage.files import replacing
from mirage.formats.source import read_json

# What a task may fail by without taking the others down: bad input, a full disk, a device out of memory, arithmetic.
# A mistake of ours (TypeError, AttributeError, ...) is none of these and stops the run with its traceback.
FAILS = (ValueError, OSError, RuntimeError, ArithmeticError, MemoryError, LookupError)


Progress = Callable[[str, int, int], None]
"""(name of the task that begins, its number from 1, how many there are)."""


@dataclass(frozen=True)
class Task:
    """`name` is the folder ("a/b": a folder in a folder); `work(folder)` leaves files there and returns results."""

    name: str
    work: Callable[[Path], Mapping[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """Results by task in the order given, and one line per task that failed."""

    results: dict[str, dict[str, Any]]
    failures: dict[str, str]


class Parted(Exception):
    """A part was asked for, and is done as far as it can be: `names` of all tasks; nothing is summed up."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"a part of {len(names)} tasks")
        self.names = names


_PART: ContextVar[Collection[str] | None] = ContextVar("part", default=None)


def part(evaluate: Callable[[], object], names: Collection[str]) -> Parted:
    """Of an evaluation, a function that comes to `run_tasks`, only the tasks of these names; none: what there are."""
    token = _PART.set(names)
    try:
        evaluate()
    except Parted as parted:
        return parted
    finally:
        _PART.reset(token)
    raise RuntimeError("the evaluation has no tasks")


def run_tasks(
    tasks: Sequence[Task],
    out: str | os.PathLike[str],
    *,
    options: Mapping[str, Any],
    progress: Progress | None = None,
) -> Outcome:
    """Run what is not done yet. `progress` is called before each task, finished ones included.

    `options` are remembered: results of one setting are never mixed with those of another.
    """
    _check_names(tasks)
    out = Path(out)
    _claim(out, plain(options))
    if (wanted := _PART.get()) is not None:
        token = _PART.set(None)
        try:
            some = [task for task in tasks if task.name in wanted]
            run_tasks(some, out, options=options, progress=progress)
        finally:
            _PART.reset(token)
        raise Parted([task.name for task in tasks])
    results: dict[str, dict[str, Any]] = {}
    failures: dict[str, str] = {}
    elsewhere: list[Task] = []
    for number, task in enumerate(tasks, start=1):
        if progress is not None:
            progress(task.name, number, len(tasks))
        try:
            results[task.name] = _done(task, out / task.name, wait=False)
        except Timeout:
            elsewhere.append(task)
        except FAILS as error:
            failures[task.name] = _line(error)
    for task in elsewhere:
        try:
            results[task.name] = _done(task, out / task.name, wait=True)
        except FAILS as error:
            failures[task.name] = _line(error)
    return Outcome({task.name: results[task.name] for task in tasks if task.name in results}, failures)


def write_results(
    out: str | os.PathLike[str], outcome: Outcome, summary: Mapping[str, Any], *, title: str, tables: Mapping[str, str]
) -> dict[str, Any]:
    """results.json (the dict that is returned: summary, tasks, failures) and report.md (`tables` by heading, then
    failures) in `out`."""
    out = Path(out)
    content = plain({**summary, "tasks": outcome.results, "failures": outcome.failures})
    write_json(out / "results.json", content)
    parts = [f"# {title}\n"] + [f"## {heading}\n\n{table}" for heading, table in tables.items()]
    if outcome.failures:
        rows = [{"task": name, "reason": reason} for name, reason in outcome.failures.items()]
        parts.append("## Failures\n\n" + markdown_table(rows))
    with replacing(out / "report.md") as beside:
        beside.write_text("\n".join(parts), encoding="utf-8")
    return content


def write_json(path: Path, content: Any) -> None:
    """Whole or not at all; no NaN."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(plain(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _done(task: Task, folder: Path, *, wait: bool) -> dict[str, Any]:
    """A task's results, worked out if they are not there; `Timeout` where another process is at it."""
    done = folder / "done.json"
    if not done.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", blocking=wait):
            if not done.is_file():
                results = plain(dict(task.work(folder)))
                write_json(done, results | {"digest": _digest(results)})
    results = _read(done)
    if results.pop("digest", None) != _digest(results):
        raise InputError(f"{done} was altered, or is of an earlier version; remove it to run its task again")
    return results


def _digest(results: Mapping[str, Any]) -> str:
    """Of results as JSON has them."""
    return hashlib.blake2b(json.dumps(results, sort_keys=True).encode(), digest_size=16).hexdigest()


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: " + " ".join(str(error).split())[:300]


def _claim(out: Path, options: dict[str, Any]) -> None:
    marker = out / "options.json"
    if marker.is_file():
        before = _read(marker)
        if before != options:
            changed = sorted(key for key in {**before, **options} if before.get(key) != options.get(key))
            raise InputError(
                f"{out} holds results of other options (differing: {', '.join(changed)}); "
                "expected the same options, or another folder"
            )
        return
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; expected a folder for results")
    out.mkdir(parents=True, exist_ok=True)
    write_json(marker, options)


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path, accepts="what a run has left; remove it to run its task again")
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}; remove it to run its task again")
    return content


def _check_names(tasks: Sequence[Task]) -> None:
    names = [task.name for task in tasks]
    for name in names:
        if not re.fullmatch(r"[\w+=,@-][\w.+=,@ -]*(/[\w+=,@-][\w.+=,@ -]*)*", name):
            raise InputError(f"a task's name becomes a folder; {name!r} cannot be one")
    if len(set(names)) != len(names):
        twice = sorted(name for name in set(names) if names.count(name) > 1)
        raise InputError(f"task names must differ, got {twice[:4]} more than once")
