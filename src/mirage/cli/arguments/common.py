"""What every subcommand takes. Imports nothing but tyro."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

from tyro.conf import arg

T = TypeVar("T")


def unset(metavar: str, meaning: str):
    """An option that may be left out: how its value is written, and what leaving it out means."""
    return arg(metavar=metavar, help_behavior_hint=f"(default: {meaning})")


def noun_of(asked: Any, noun: type[T]) -> T:
    """The part of a request that is a `noun` (a dataclass that it derives from), without what the command line adds."""
    return noun(**{field.name: getattr(asked, field.name) for field in fields(noun)})  # pyright: ignore


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every subcommand takes."""

    json: bool = False
    """Print a machine-readable last line on stdout."""


@dataclass(frozen=True, kw_only=True)
class Walking(Common):
    """What every subcommand takes that walks with a model."""

    model: Annotated[str, arg(metavar="NAME|FOLDER|HUB-ID")] = "mini"
    """mini (bundled), a folder in diffusers layout, or a Hugging Face id owner/name (downloads)."""
    branch: Annotated[Path | None, unset("FILE", "the model's own, if it has one")] = None
    """A memory branch for the model: made by `mirage convert` or by training, or as published with the paper."""
    lora: Annotated[Path | None, unset("FILE", "none")] = None
    """A LoRA of the model's transformer: diffusers, PEFT or published layout, with its alpha."""
