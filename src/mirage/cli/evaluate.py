"""`mirage evaluate synthetic | unseen | prompted | revisit | real | re10k | worldscore`: a folder per task, resumable;
exit code 1 if any task failed."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from mirage.cli.arguments import (
    EvaluatePrompted,
    EvaluateRe10k,
    EvaluateReal,
    EvaluateRevisit,
    EvaluateSynthetic,
    EvaluateUnseen,
    EvaluateWorldScore,
)
from mirage.cli.arguments.common import noun_of
from mirage.cli.terminal import Result, progress
from mirage.evaluation import options

Evaluate = (
    EvaluateSynthetic
    | EvaluateUnseen
    | EvaluatePrompted
    | EvaluateRevisit
    | EvaluateReal
    | EvaluateRe10k
    | EvaluateWorldScore
)
_TABLE: dict[type, tuple[type[options.Options], str, str]] = {
    EvaluateSynthetic: (options.SyntheticOptions, "synthetic", "run_synthetic"),
    EvaluateUnseen: (options.UnseenOptions, "unseen", "run_unseen"),
    EvaluatePrompted: (options.PromptedOptions, "prompted", "run_prompted"),
    EvaluateRevisit: (options.RevisitOptions, "revisit", "run_revisit"),
    EvaluateReal: (options.RealOptions, "scenes7", "run_real"),
    EvaluateRe10k: (options.Re10kOptions, "re10k", "run_re10k"),
    EvaluateWorldScore: (options.WorldScoreOptions, "worldscore", "run_worldscore"),
}
"""The noun, the module of `mirage.evaluation` and its function."""


def run(asked: Evaluate) -> Result:
    """Run what is not done yet, then print the report of all."""
    noun, module, function = _TABLE[type(asked)]
    chosen: Any = noun_of(asked, noun)
    _look_ahead(chosen)
    work = getattr(import_module(f"mirage.evaluation.{module}"), function)
    with progress("evaluating") as show:
        results = _run(work, asked, chosen, lambda name, number, of: show(number - 1, name, of))
    failures = results["failures"]
    print((asked.out / "report.md").read_text(encoding="utf-8"))
    print(f"wrote {asked.out}/results.json, report.md and a folder per task")
    for name, reason in failures.items():
        print(f"mirage: task {name} failed: {reason}", file=sys.stderr)
    return Result({name: value for name, value in results.items() if name != "tasks"}, 1 if failures else 0)


def _run(
    work: Callable[..., dict[str, Any]], asked: Evaluate, chosen: Any, show: Callable[[str, int, int], None]
) -> dict[str, Any]:
    if isinstance(asked, EvaluateRevisit):
        return work(chosen, progress=show)
    from mirage.models.loading import load_world_model

    if isinstance(asked, EvaluateRe10k) and asked.generated is not None:
        model = None
    elif isinstance(asked, EvaluateReal):
        model = load_world_model(asked.model)
    else:
        model = load_world_model(asked.model, branch=asked.branch, lora=asked.lora)
    return work(model, chosen, name=_name(asked), progress=show)


def _look_ahead(chosen: options.Options) -> None:
    """What can be refused before a model is loaded and is in no noun: names of ablations, files of a data set."""
    match chosen:
        case options.SyntheticOptions() | options.UnseenOptions():
            from mirage.evaluation.variants import check_variants

            check_variants(chosen.memories)
        case options.RealOptions():
            from mirage.evaluation.scenes7 import posed_frames

            posed_frames(chosen)
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
