"""`mirage evaluate synthetic | unseen | prompted | revisit | real | photos | re10k | worldscore`: a folder per task,
resumable; exit code 1 if any task failed. With --ray several processes share the tasks."""

import functools
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from mirage.cli.arguments import (
    EvaluatePhotos,
    EvaluatePrompted,
    EvaluateRe10k,
    EvaluateReal,
    EvaluateRevisit,
    EvaluateSynthetic,
    EvaluateUnseen,
    EvaluateWorldScore,
)
from mirage.cli.arguments.common import noun_of
from mirage.cli.crews import crew_of
from mirage.cli.stopping import stoppable
from mirage.cli.terminal import Result, progress
from mirage.distributed.crew import Job, Report, drive
from mirage.errors import InputError
from mirage.evaluation import options
from mirage.evaluation.runner import part

Evaluate = (
    EvaluateSynthetic
    | EvaluateUnseen
    | EvaluatePrompted
    | EvaluateRevisit
    | EvaluateReal
    | EvaluatePhotos
    | EvaluateRe10k
    | EvaluateWorldScore
)
_TABLE: dict[type, tuple[type[options.Options], str, str]] = {
    EvaluateSynthetic: (options.SyntheticOptions, "synthetic", "run_synthetic"),
    EvaluateUnseen: (options.UnseenOptions, "unseen", "run_unseen"),
    EvaluatePrompted: (options.PromptedOptions, "prompted", "run_prompted"),
    EvaluateRevisit: (options.RevisitOptions, "revisit", "run_revisit"),
    EvaluateReal: (options.RealOptions, "scenes7", "run_real"),
    EvaluatePhotos: (options.PhotosOptions, "photos", "run_photos"),
    EvaluateRe10k: (options.Re10kOptions, "re10k", "run_re10k"),
    EvaluateWorldScore: (options.WorldScoreOptions, "worldscore", "run_worldscore"),
}
"""The noun, the module of `mirage.evaluation` and its function."""


def run(asked: Evaluate) -> Result:
    """Run what is not done yet, then print the report of all."""
    _look_ahead(noun_of(asked, _TABLE[type(asked)][0]))
    with progress("evaluating") as show:
        if asked.ray is not None:
            results = _shared(asked, show)
        else:
            results = _evaluation(asked)(progress=lambda name, number, of: show(number - 1, name, of))
    failures = results["failures"]
    print((asked.out / "report.md").read_text(encoding="utf-8"))
    print(f"wrote {asked.out}/results.json, report.md and a folder per task")
    for name, reason in failures.items():
        print(f"mirage: task {name} failed: {reason}", file=sys.stderr)
    return Result({name: value for name, value in results.items() if name != "tasks"}, 1 if failures else 0)


def _evaluation(asked: Evaluate) -> Callable[..., dict[str, Any]]:
    """The evaluation as a function of `progress`; its model is loaded once."""
    noun, module, function = _TABLE[type(asked)]
    chosen: Any = noun_of(asked, noun)
    work = getattr(import_module(f"mirage.evaluation.{module}"), function)
    if isinstance(asked, EvaluateRevisit):
        return functools.partial(work, chosen)
    from mirage.models.loading import load_world_model

    if isinstance(asked, EvaluateRe10k) and asked.generated is not None:
        model = None
    elif isinstance(asked, EvaluateReal):
        model = load_world_model(asked.model)
    else:
        model = load_world_model(asked.model, branch=asked.branch, lora=asked.lora)
    return functools.partial(work, model, chosen, name=_name(asked))


def _shared(asked: Evaluate, show: Callable[..., None]) -> dict[str, Any]:
    """The tasks on several processes: one names them, all do them, one sums them up, which tries what failed again."""
    left: set[str] = set()

    def follow(report: Report) -> list[Job]:
        if report.job.name == NAMES and report.error is None:
            left.update(report.result)
            return [Job(name, name) for name in report.result] or [SUM]
        left.discard(report.job.name)
        return [] if left or report.job == SUM else [SUM]

    done = count = 0
    turns = [[Job(NAMES, NAMES)]]
    with stoppable():
        for report in drive(turns, functools.partial(_Part, asked), crew=crew_of(asked), follow=follow):
            if report is None:
                continue
            if report.job.name in (NAMES, SUM.name) and report.error is not None:
                raise InputError(f"the evaluation cannot be done: {report.error}")
            if report.job == SUM:
                return report.result
            done, count = (done + 1, count) if count else (0, len(report.result))
            show(done, f"{done} of {count}", count)
    raise RuntimeError("nobody has summed up")


NAMES, SUM = "names of all tasks", Job("sum of all tasks", "sum of all tasks")


class _Part:
    """A worker: its payload is a task's name, or what else is asked of an evaluation."""

    def __init__(self, asked: Evaluate) -> None:
        self.evaluation = _evaluation(asked)

    def __call__(self, payloads: Sequence[str]) -> list[Any]:
        return [self._one(payload) for payload in payloads]

    def _one(self, payload: str) -> Any:
        if payload == SUM.payload:
            return self.evaluation()
        return part(self.evaluation, () if payload == NAMES else {payload}).names


def _look_ahead(chosen: options.Options) -> None:
    """What can be refused before a model is loaded and is in no noun: names of ablations, files of a data set."""
    match chosen:
        case options.SyntheticOptions() | options.UnseenOptions():
            from mirage.evaluation.variants import check_variants

            check_variants(chosen.memories)
        case options.RealOptions():
            from mirage.evaluation.scenes7 import posed_frames

            posed_frames(chosen)
        case options.PhotosOptions():
            from mirage.evaluation.photos import check_photos
            from mirage.evaluation.variants import check_variants

            check_variants(chosen.memories)
            check_photos(chosen)
        case options.Re10kOptions():
            from mirage.evaluation.re10k import tasks_of

            tasks_of(chosen)
        case options.WorldScoreOptions():
            from mirage.evaluation.worldscore import instances_of

            instances_of(chosen)
        case _:
            pass


def _name(asked: Any) -> str:
    """The model with what was put into it: what distinguishes one set of results from another, for the record."""
    parts = {name: getattr(asked, name, None) for name in ("branch", "lora")}
    return " ".join([asked.model, *(f"{name}={file}" for name, file in parts.items() if file is not None)])
