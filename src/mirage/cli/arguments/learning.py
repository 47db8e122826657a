"""`prepare` and `train`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from mirage.cli.arguments.common import Common, speaking, unset
from mirage.cli.arguments.crews import Crewed
from mirage.request import CameraReading


@speaking
@dataclass(frozen=True, kw_only=True)
class Prepare(Crewed, CameraReading, Common):
    """Footage becomes clips to train on: latents, cameras, depth, what stands still, words. Run again to go on.

    NAME.mp4 (or a folder NAME of pictures) with its cameras NAME.txt, .npz or .json, one pose per frame
    (RealEstate10K, TUM, ...); NAME.caption.txt or captions.json; NAME.depth/ or NAME.depth.npz. Or the published
    training data (LMDB). What cannot be used is listed in report.txt, with the reason.
    """

    footage: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """Videos or folders of pictures with what belongs to them, or shard_000.lmdb, ... of the published code."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Where the clips go: one .safetensors each, report.json and report.txt."""
    model: Annotated[str, arg(metavar="NAME|FOLDER|HUB-ID")] = "mini"
    """Whose latents; see generate."""
    frames: Annotated[int | None, unset("N", "two chunks of the model")] = None
    """Video frames per clip, 1 + 4k, at least one chunk."""
    stride: int = 1
    """Take every frame (1), every second one (2), ..."""
    depth: Annotated[str, arg(metavar="auto|head|files|NAME")] = "auto"
    """Where depth comes from. files: beside the footage; head: the model's latent depth head; auto: files where there
    are any, else the head; or an estimator of frames by name, as --depth-model of generate takes it."""
    poses: Literal["auto", "fit", "keep"] = "auto"
    """fit: scale translations until they agree with the depth; keep: they are in its units; auto: keep with depth
    from files, else fit."""
    keep_moving: bool = False
    """Let what moves enter the memory too."""
    cameras: Annotated[Path | None, unset("FOLDER", "beside the footage")] = None
    """Camera files by name, where they lie elsewhere."""
    captions: Annotated[Path | None, unset("FILE|FOLDER", "beside the footage")] = None
    """{NAME: words} as JSON, or a folder of NAME.txt."""
    limit: Annotated[int | None, unset("N", "all")] = None
    """Only the first so many videos."""
    processes: int = 1
    """Processes that share the clips."""


@dataclass(frozen=True, kw_only=True)
class Train(Common):
    """Train by a recipe; a run that was stopped or killed goes on from its last checkpoint, by the same command.

    A recipe is a function that returns a whole run: see recipes/mini.py (the bundled model, from nothing) and
    recipes/wan.py (a memory for a released model). On several GPUs: torchrun --nproc-per-node 8 -m mirage train ...
    """

    recipe: Annotated[str, arg(metavar="NAME|MODULE:FUNCTION")]
    """mini:denoiser, wan:branch, ... (a mistyped name lists all), or a function of any module of yours."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Folder of all runs: each recipe has its own in it, and finds there what earlier ones left."""
    processes: int = 1
    """Processes of one thread each: they average their gradients, or share out the clips to make."""
    workers: Annotated[int | None, unset("N", "the recipe's, 0 in ours")] = None
    """Processes that make batches ahead, for each of those; the curve is the same with any number of them."""
    steps: Annotated[int | None, unset("N", "the recipe's")] = None
    """Training steps."""
    minutes: Annotated[float | None, unset("M", "the recipe's")] = None
    """The run ends after so long, learning rate and all, if its steps do not end it sooner."""
    model: Annotated[str | None, unset("NAME|FOLDER|HUB-ID", "the recipe's")] = None
    """Which released model learns; for wan:branch, wan:lora and wan:published."""
    branch: Annotated[Path | None, unset("FILE|FOLDER", "the recipe's")] = None
    """Memory branch that it begins with, in any layout that generate --branch reads; for the same recipes."""
    data: Annotated[str | None, unset("FOLDER|URL", "the recipe's: shards or latents, in --out")] = None
    """Latent clips, such as `mirage prepare` makes; for denoisers and depth heads. A URL (s3://...) is read clip by
    clip as training goes."""
    pictures: bool = False
    """With every evaluation of a denoiser, walk through held-out clips and back: validation/step-*.png."""
    tensorboard: bool = False
    """Keep the curve for TensorBoard too (needs the package tensorboard)."""
