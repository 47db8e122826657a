"""`bench` and `evaluate`: the nouns of evaluation/options.py, with what the command line adds to them.

A field that is named again here is typed without its name; its help is the noun's.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitSubcommandPrefixes, Positional, UseAppendAction, arg, subcommand

from mirage.cli.arguments.common import Common, Walking, Writing, speaking, unset
from mirage.cli.arguments.crews import Crewed
from mirage.evaluation.options import (
    EfficiencyOptions,
    GenerateOptions,
    PhotosOptions,
    PromptedOptions,
    Re10kOptions,
    RealOptions,
    RevisitOptions,
    SyntheticOptions,
    UnseenOptions,
    WorldScoreOptions,
)


@dataclass(frozen=True, kw_only=True)
class BenchMemory(Writing):
    """Speed of the memory's read and write against the published algorithm, one thread; hole share; a plot."""

    points: Annotated[tuple[int, ...], arg(metavar="N [N ...]")] = (31_680, 316_800, 3_168_000)
    """Numbers of points in the memory."""
    repeats: int = 7
    """Timed turns of each contender; medians are compared."""
    plot: Annotated[Path | None, unset("FILE", "no plot")] = None
    """Draw read time over points (PNG)."""


@speaking
@dataclass(frozen=True, kw_only=True)
class BenchEfficiency(EfficiencyOptions, Walking, Writing):
    __doc__ = EfficiencyOptions.__doc__

    real_scale: bool = False
    """Instead of a model's walk: 704x1280 with the sizes of Wan2.2-TI2V-5B and random weights; memory read and write,
    the autoencoder, one transformer block (six minutes of one idle core, 12 GB)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of those networks."""
    plot: Annotated[Path | None, unset("FILE", "no plot")] = None
    """Draw seconds per frame and MiB over chunks (PNG)."""


@speaking
@dataclass(frozen=True, kw_only=True)
class BenchGenerate(GenerateOptions, Common):
    __doc__ = GenerateOptions.__doc__

    against: Annotated[tuple[str, ...], unset("COMMIT", "this build alone"), UseAppendAction] = ()
    """A commit, tag or branch of this checkout, installed in an environment of its own and timed in turn. Repeated:
    several."""
    builds: Annotated[Path | None, unset("FOLDER", "a temporary one")] = None
    """Where those builds are kept, a gigabyte each, and found again."""


@speaking
@dataclass(frozen=True, kw_only=True)
class EvaluateSynthetic(Crewed, SyntheticOptions, Walking):
    __doc__ = SyntheticOptions.__doc__


@speaking
@dataclass(frozen=True, kw_only=True)
class EvaluateUnseen(Crewed, UnseenOptions, Walking):
    __doc__ = UnseenOptions.__doc__


@speaking
@dataclass(frozen=True, kw_only=True)
class EvaluatePrompted(Crewed, PromptedOptions, Walking):
    __doc__ = PromptedOptions.__doc__


@speaking
@dataclass(frozen=True, kw_only=True)
class EvaluateRevisit(Crewed, RevisitOptions, Common):
    __doc__ = RevisitOptions.__doc__

    rollouts: Annotated[Positional[tuple[Path, ...]], arg(metavar="FOLDER [FOLDER ...]")]


@speaking
@dataclass(frozen=True, kw_only=True)
class EvaluateReal(Crewed, RealOptions, Common):
    __doc__ = RealOptions.__doc__

    frames: Annotated[Positional[Path], arg(metavar="FOLDER")]
    model: Annotated[str, arg(metavar="NAME|FOLDER|HUB-ID")] = "mini"
    """Whose autoencoder; see generate."""


@speaking
@dataclass(frozen=True, kw_only=True)
class EvaluatePhotos(Crewed, PhotosOptions, Walking):
    __doc__ = PhotosOptions.__doc__


@speaking
@dataclass(frozen=True, kw_only=True)
class EvaluateRe10k(Crewed, Re10kOptions, Walking):
    __doc__ = Re10kOptions.__doc__

    clips: Annotated[Positional[Path], arg(metavar="FOLDER")]


@speaking
@dataclass(frozen=True, kw_only=True)
class EvaluateWorldScore(Crewed, WorldScoreOptions, Walking):
    __doc__ = WorldScoreOptions.__doc__

    dataset: Annotated[Positional[Path], arg(metavar="FOLDER")]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure speed and size on this machine."""

    what: OmitSubcommandPrefixes[
        Annotated[BenchMemory, subcommand("memory")]
        | Annotated[BenchEfficiency, subcommand("efficiency")]
        | Annotated[BenchGenerate, subcommand("generate")]
    ]


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Make the tables: on procedural scenes, real frames, RealEstate10K, WorldScore, or anybody's rollouts."""

    what: OmitSubcommandPrefixes[
        Annotated[EvaluateSynthetic, subcommand("synthetic")]
        | Annotated[EvaluateUnseen, subcommand("unseen")]
        | Annotated[EvaluatePrompted, subcommand("prompted")]
        | Annotated[EvaluateRevisit, subcommand("revisit")]
        | Annotated[EvaluateReal, subcommand("real")]
        | Annotated[EvaluatePhotos, subcommand("photos")]
        | Annotated[EvaluateRe10k, subcommand("re10k")]
        | Annotated[EvaluateWorldScore, subcommand("worldscore")]
    ]
