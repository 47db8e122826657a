"""`mirage evaluate synthetic | revisit | real`: a folder per task, resumable; exit code 1 if any task failed."""

import sys
from pathlib import Path
from typing import Any

from mirage.cli.arguments import EvaluateReal, EvaluateRevisit, EvaluateSynthetic
from mirage.cli.terminal import Result, progress
from mirage.errors import InputError


def run(asked: EvaluateSynthetic | EvaluateRevisit | EvaluateReal) -> Result:
    """Run what is not done yet, then print the report of all."""
    if asked.out.exists() and not asked.out.is_dir():
        raise InputError(f"--out {asked.out} is a file; expected a folder")
    match asked:
        case EvaluateSynthetic():
            results = _synthetic(asked)
        case EvaluateRevisit():
            results = _revisit(asked)
        case EvaluateReal():
            results = _real(asked)
    failures = results["failures"]
    print((asked.out / "report.md").read_text(encoding="utf-8"))
    print(f"wrote {asked.out}/results.json, report.md and a folder per task")
    for name, reason in failures.items():
        print(f"mirage: task {name} failed: {reason}", file=sys.stderr)
    return Result({name: value for name, value in results.items() if name != "tasks"}, 1 if failures else 0)


def _synthetic(asked: EvaluateSynthetic) -> dict[str, Any]:
    from mirage.evaluation import synthetic
    from mirage.models.world import load_world_model

    memories = asked.memories or tuple(m for m in synthetic.SyntheticOptions.memories if m in synthetic.VARIANTS)
    options = synthetic.SyntheticOptions(out=asked.out, worlds=asked.worlds, chunks=asked.chunks, seed=asked.seed,
                                         memories=memories, moving=asked.moving, model=asked.model)
    world = load_world_model(asked.model)
    with progress("evaluating", total=asked.worlds) as show:
        return synthetic.run_synthetic(world, options, steps=asked.steps,
                                       progress=lambda name, number, of: show(number - 1, name))


def _revisit(asked: EvaluateRevisit) -> dict[str, Any]:
    from mirage.evaluation import revisit

    options = revisit.RevisitOptions(rollouts=tuple(Path(path) for path in asked.rollouts), out=asked.out,
                                     metres=asked.metres, lpips=asked.lpips, seed=asked.seed)
    with progress("evaluating", total=len(asked.rollouts)) as show:
        return revisit.run_revisit(options, progress=lambda name, number, of: show(number - 1, name))


def _real(asked: EvaluateReal) -> dict[str, Any]:
    from mirage.evaluation import scenes7
    from mirage.models.world import load_world_model

    options = scenes7.RealOptions(frames=asked.frames, out=asked.out, gaps=asked.gaps, pairs=asked.pairs,
                                  model=asked.model)
    scenes7.check(options)
    world = load_world_model(asked.model)
    with progress("evaluating", total=len(asked.gaps) * asked.pairs) as show:
        return scenes7.run_real(world, options, progress=lambda name, number, of: show(number - 1, name))
