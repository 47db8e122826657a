"""What every subcommand takes. Imports nothing but tyro."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from tyro.conf import UseAppendAction, arg

from mirage.request import Says

T = TypeVar("T")


def unset(metavar: str, meaning: str) -> Any:
    """An option that may be left out: how its value is written, and what leaving it out means."""
    return arg(metavar=metavar, help_behavior_hint=f"(default: {meaning})")


def noun_of(asked: Any, noun: type[T]) -> T:
    """The part of a request that is a `noun` (a dataclass that it derives from), without what the command line adds."""
    return noun(**{field.name: getattr(asked, field.name) for field in fields(noun)})  # pyright: ignore


def speaking(cls: type[T]) -> type[T]:
    """A dataclass whose inherited fields are shown as `Says` has it: what requests know is handed on to tyro."""
    for name, hint in get_type_hints(cls, include_extras=True).items():
        if get_origin(hint) is Annotated and isinstance(says := get_args(hint)[1], Says):
            shown = arg(metavar=says.value) if says.unset is None else unset(says.value, says.unset)
            shown = (shown, UseAppendAction) if says.repeated else (shown,)
            cls.__annotations__[name] = Annotated[get_args(hint)[0], *shown]  # pyright: ignore[reportInvalidTypeForm]
    return cls


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every subcommand takes."""

    json: bool = False
    """Print a machine-readable last line on stdout."""


@dataclass(frozen=True, kw_only=True)
class Writing(Common):
    """What every subcommand takes that writes a file of a given name."""

    overwrite: bool = False
    """Replace files that are there already."""


@dataclass(frozen=True, kw_only=True)
class Walking(Common):
    """What every subcommand takes that walks with a model."""

    model: Annotated[str, arg(metavar="NAME|FOLDER|HUB-ID")] = "mini"
    """mini (bundled), a folder in diffusers layout, or a Hugging Face id owner/name (downloads)."""
    branch: Annotated[Path | None, unset("FILE", "the model's own, if it has one")] = None
    """A memory branch for the model: made by `mirage convert` or by training, or as published with the paper."""
    lora: Annotated[tuple[str, ...], unset("FILE[:STRENGTH]", "none"), UseAppendAction] = ()
    """A LoRA of the model's transformer, in any layout of docs/loras_and_checkpoints.md, with its alpha; :0.8 behind it
    is its strength. Repeated, they are summed."""
