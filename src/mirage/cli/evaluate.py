"""`mirage evaluate synthetic | unseen | prompted | revisit | real | re10k | worldscore`: a folder per task, resumable;
exit code 1 if any task failed."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from mirage.cli.arguments import (
    EvaluatePrompted,
    EvaluateRe10k,
    EvaluateReal,
    EvaluateRevisit,
    EvaluateSynthetic,
    EvaluateUnseen,
    EvaluateWorldScore,
    Walking,
)
from mirage.cli.terminal import Result, progress
from mirage.errors import InputError
from mirage.sampler import Sampler

Evaluate = (
    EvaluateSynthetic
    | EvaluateUnseen
    | EvaluatePrompted
    | EvaluateRevisit
    | EvaluateReal
    | EvaluateRe10k
    | EvaluateWorldScore
)


def run(asked: Evaluate) -> Result:
    """Run what is not done yet, then print the report of all."""
    steps = None if isinstance(asked, EvaluateRevisit | EvaluateReal) else asked.steps
    if steps is not None and not 1 <= steps <= 1000:
        raise InputError(f"--steps {steps}: expected 1 to 1000")
    if asked.out.exists() and not asked.out.is_dir():
        raise InputError(f"--out {asked.out} is a file; expected a folder")
    match asked:
        case EvaluateSynthetic():
            results = _synthetic(asked)
        case EvaluateUnseen():
            results = _unseen(asked)
        case EvaluatePrompted():
            results = _prompted(asked)
        case EvaluateRevisit():
            results = _revisit(asked)
        case EvaluateReal():
            results = _real(asked)
        case EvaluateRe10k():
            results = _re10k(asked)
        case EvaluateWorldScore():
            results = _worldscore(asked)
    failures = results["failures"]
    print((asked.out / "report.md").read_text(encoding="utf-8"))
    print(f"wrote {asked.out}/results.json, report.md and a folder per task")
    for name, reason in failures.items():
        print(f"mirage: task {name} failed: {reason}", file=sys.stderr)
    return Result({name: value for name, value in results.items() if name != "tasks"}, 1 if failures else 0)


def _synthetic(asked: EvaluateSynthetic) -> dict[str, Any]:
    from mirage.evaluation import synthetic
    from mirage.models.loading import load_world_model

    memories = asked.memories or tuple(m for m in synthetic.SyntheticOptions.memories if m in synthetic.VARIANTS)
    options = synthetic.SyntheticOptions(
        out=asked.out,
        scenes=asked.scenes,
        chunks=asked.chunks,
        seed=asked.seed,
        memories=memories,
        kinds=asked.kinds or synthetic.SyntheticOptions.kinds,
        moving=asked.moving,
        keep=asked.keep_frames,
        model=_model(asked),
    )
    synthetic.check(options)
    synthetic.check_variants(options.memories)
    model = load_world_model(asked.model, branch=asked.branch, lora=asked.lora)
    with progress("evaluating", total=asked.scenes) as show:
        return synthetic.run_synthetic(
            model, options, steps=asked.steps, progress=lambda name, number, of: show(number - 1, name)
        )


def _unseen(asked: EvaluateUnseen) -> dict[str, Any]:
    from mirage.evaluation import synthetic, unseen
    from mirage.models.loading import load_world_model

    defaults = unseen.UnseenOptions
    options = defaults(
        out=asked.out,
        scenes=asked.scenes,
        chunks=asked.chunks,
        seed=asked.seed,
        memories=asked.memories or defaults.memories,
        moves=asked.moves or defaults.moves,
        gaps=asked.gaps,
        model=_model(asked),
    )
    unseen.check(options)
    synthetic.check_variants(options.memories)
    model = load_world_model(asked.model, branch=asked.branch, lora=asked.lora)
    with progress("evaluating", total=asked.scenes) as show:
        return unseen.run_unseen(
            model, options, steps=asked.steps, progress=lambda name, number, of: show(number - 1, name)
        )


def _prompted(asked: EvaluatePrompted) -> dict[str, Any]:
    from mirage.evaluation import prompted
    from mirage.models.loading import load_world_model

    options = prompted.PromptedOptions(
        out=asked.out, scenes=asked.scenes, seed=asked.seed, colours=asked.colours, model=_model(asked)
    )
    prompted.check(options)
    model = load_world_model(asked.model, branch=asked.branch, lora=asked.lora)
    with progress("evaluating", total=asked.scenes) as show:
        return prompted.run_prompted(
            model, options, steps=asked.steps, progress=lambda name, number, of: show(number - 1, name)
        )


def _revisit(asked: EvaluateRevisit) -> dict[str, Any]:
    from mirage.evaluation import revisit

    options = revisit.RevisitOptions(
        rollouts=tuple(Path(path) for path in asked.rollouts),
        out=asked.out,
        metres=asked.metres,
        lpips=asked.lpips,
        dino=asked.dino,
        seed=asked.seed,
    )
    with progress("evaluating", total=len(asked.rollouts)) as show:
        return revisit.run_revisit(options, progress=lambda name, number, of: show(number - 1, name))


def _real(asked: EvaluateReal) -> dict[str, Any]:
    from mirage.evaluation import scenes7
    from mirage.models.loading import load_world_model

    options = scenes7.RealOptions(
        frames=asked.frames, out=asked.out, gaps=asked.gaps, pairs=asked.pairs, model=asked.model
    )
    scenes7.check(options)
    model = load_world_model(asked.model)
    with progress("evaluating", total=len(asked.gaps) * asked.pairs) as show:
        return scenes7.run_real(model, options, progress=lambda name, number, of: show(number - 1, name))


def _re10k(asked: EvaluateRe10k) -> dict[str, Any]:
    from mirage.evaluation import re10k
    from mirage.models.loading import load_world_model

    if asked.generated is not None and asked.size is None:
        raise InputError("--generated needs --size H W, the size of its pictures")
    options = re10k.Re10kOptions(
        clips=asked.clips,
        out=asked.out,
        frames=asked.frames,
        start=asked.start,
        stride=asked.stride,
        index=asked.index,
        scale=asked.scale,
        loop=not asked.one_way,
        limit=asked.limit,
        generated=asked.generated,
        lpips=asked.lpips,
        model=_made_by(asked),
    )
    tasks = re10k.tasks_of(options)
    generate = None
    if asked.generated is None:
        model = load_world_model(asked.model, branch=asked.branch, lora=asked.lora)
        options, generate = replace(options, size=asked.size or model.size), _generator(model, asked)
    elif asked.size is not None:
        options = replace(options, size=asked.size)
    with progress("evaluating", total=len(tasks)) as show:
        return re10k.run_re10k(options, generate, progress=lambda name, number, of: show(number - 1, name))


def _worldscore(asked: EvaluateWorldScore) -> dict[str, Any]:
    from mirage.evaluation import worldscore
    from mirage.models.loading import load_world_model

    options = worldscore.WorldScoreOptions(
        dataset=asked.dataset,
        out=asked.out,
        movement=asked.movement,
        frames=asked.frames,
        speed=asked.speed,
        fps=asked.fps,
        limit=asked.limit,
        model=_made_by(asked),
    )
    count = len(worldscore.check(options))
    model = load_world_model(asked.model, branch=asked.branch, lora=asked.lora)
    with progress("evaluating", total=count) as show:
        return worldscore.run_worldscore(
            replace(options, size=model.size),
            _generator(model, asked),
            progress=lambda name, number, of: show(number - 1, name),
        )


def _generator(model: Any, asked: EvaluateRe10k | EvaluateWorldScore) -> Any:
    from mirage.evaluation import walk
    from mirage.rollout.memories import make_memory
    from mirage.rollout.settings import Settings

    return walk.generator(
        model,
        memory=lambda model: make_memory(asked.memory, model),
        settings=Settings(sampler=Sampler(steps=asked.steps)),
        seed=asked.seed,
    )


def _made_by(asked: EvaluateRe10k | EvaluateWorldScore) -> str:
    """What tells one set of results from another, for the record."""
    return f"{_model(asked)} memory={asked.memory} steps={asked.steps or 'own'} seed={asked.seed}"


def _model(asked: Walking) -> str:
    """The model with what was put into it."""
    parts = {"branch": asked.branch, "lora": asked.lora}
    return " ".join([asked.model, *(f"{name}={file}" for name, file in parts.items() if file is not None)])
