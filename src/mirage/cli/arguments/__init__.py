"""All that can be typed after `mirage`: one frozen dataclass per subcommand, with units and defaults in its docstrings,
which are the help. Imports nothing but tyro, so help and mistakes are answered at once.

Defaults that a model or a file decides are None here, and their help says who decides.
"""

import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Annotated, Any, get_args, get_type_hints

import tyro
from tyro.conf import OmitArgPrefixes, UseAppendAction, subcommand

from mirage.cli.arguments.common import Common, Walking
from mirage.cli.arguments.crews import Batch
from mirage.cli.arguments.files import CameraFile, Convert, Export, Inspect, PathEdits
from mirage.cli.arguments.learning import Prepare, Train
from mirage.cli.arguments.measuring import (
    Bench,
    BenchEfficiency,
    BenchGenerate,
    BenchMemory,
    Evaluate,
    EvaluatePhotos,
    EvaluatePrompted,
    EvaluateRe10k,
    EvaluateReal,
    EvaluateRevisit,
    EvaluateSynthetic,
    EvaluateUnseen,
    EvaluateWorldScore,
)
from mirage.cli.arguments.numbers import number_registry
from mirage.cli.arguments.walking import Demo, Explore, Generate, Listening, Plan, Serve
from mirage.errors import InputError
from mirage.version import __version__

__all__ = [
    "COMMANDS",
    "Batch",
    "Bench",
    "BenchEfficiency",
    "BenchGenerate",
    "BenchMemory",
    "CameraFile",
    "Common",
    "Convert",
    "Demo",
    "Evaluate",
    "EvaluatePhotos",
    "EvaluatePrompted",
    "EvaluateRe10k",
    "EvaluateReal",
    "EvaluateRevisit",
    "EvaluateSynthetic",
    "EvaluateUnseen",
    "EvaluateWorldScore",
    "Explore",
    "Export",
    "Generate",
    "Inspect",
    "Listening",
    "PathEdits",
    "Plan",
    "Prepare",
    "Serve",
    "Train",
    "Walking",
    "parse",
]

COMMANDS: dict[type[Common], str] = {
    Generate: "generate",
    Explore: "explore",
    Serve: "serve",
    Plan: "plan",
    CameraFile: "camera",
    Inspect: "inspect",
    Export: "export",
    Convert: "convert",
    BenchMemory: "bench_memory",
    BenchEfficiency: "bench_efficiency",
    BenchGenerate: "bench_generate",
    EvaluateSynthetic: "evaluate",
    EvaluateUnseen: "evaluate",
    EvaluatePrompted: "evaluate",
    EvaluateRevisit: "evaluate",
    EvaluateReal: "evaluate",
    EvaluatePhotos: "evaluate",
    EvaluateRe10k: "evaluate",
    EvaluateWorldScore: "evaluate",
    Prepare: "prepare",
    Train: "train",
    Batch: "batch",
    Demo: "demo",
}
"""Which module of `mirage.cli` does it."""

_Typed = (
    Annotated[Generate, subcommand("generate")]
    | Annotated[Explore, subcommand("explore")]
    | Annotated[Serve, subcommand("serve")]
    | Annotated[Plan, subcommand("plan")]
    | Annotated[CameraFile, subcommand("camera")]
    | Annotated[Inspect, subcommand("inspect")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Convert, subcommand("convert")]
    | Annotated[Bench, subcommand("bench")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Prepare, subcommand("prepare")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Batch, subcommand("batch")]
    | Annotated[Demo, subcommand("demo")]
)


def parse(argv: Sequence[str]) -> Common:
    """The request that was typed. Leaves by `SystemExit` after help and version (0) and on a mistake (2), said on
    stderr."""
    if list(argv) == ["--version"]:
        print(f"mirage {__version__}")
        sys.exit(0)
    words = "Video world models that remember. `mirage SUBCOMMAND --help` shows units and defaults."
    typed: Any = tyro.cli(
        _Typed,
        prog="mirage",
        description=words,
        args=argv,  # pyright: ignore[reportArgumentType, reportCallIssue]
        config=(tyro.conf.FlagCreatePairsOff, OmitArgPrefixes),
        registry=number_registry(),
    )
    request: Any = typed.what if isinstance(typed, Bench | Evaluate) else typed
    names = _named(argv)
    if isinstance(request, Generate):
        request = replace(request, typed=frozenset(names))
    repeated = _appended(type(request))
    if twice := sorted({name for name in names if names.count(name) > 1} - repeated):
        flag = f"--{twice[0].replace('_', '-')}"
        raise InputError(f"{flag} is given {names.count(twice[0])} times; accepted: once")
    return request


def _named(argv: Sequence[str]) -> list[str]:
    """Names of the options, each time that they were typed."""
    words = list(argv[: argv.index("--")] if "--" in argv else argv)
    return [word[2:].partition("=")[0].replace("-", "_") for word in words if word.startswith("--")]


def _appended(kind: type[Common]) -> set[str]:
    """The options that are lists whose values come one by one."""
    hints = get_type_hints(kind, include_extras=True)
    return {item.name for item in fields(kind) if UseAppendAction in get_args(hints[item.name])[1:]}
