"""`mirage prepare`: footage, or the published data, becomes clips to train on; what is done already stays."""

import json
import sys

import torch

from mirage.cli.arguments import Prepare
from mirage.cli.terminal import Result
from mirage.errors import InputError
from mirage.formats.cameras import camera_options
from mirage.formats.published import is_published
from mirage.rollout.estimators import check_estimator, make_estimator
from mirage.training import parallel
from mirage.training.prepare import PrepareOptions, prepare
from mirage.training.published import prepare_published

OURS = ("auto", "head", "files")
"""Sources of depth that need no estimator."""


def run(asked: Prepare) -> Result:
    """Prepare into `asked.out` and say what is there."""
    if asked.processes < 1:
        raise InputError(f"--processes {asked.processes}: expected 1 or more")
    if asked.out.exists() and not asked.out.is_dir():
        raise InputError(f"--out {asked.out} is a file; expected a folder")
    if not asked.footage.is_dir():
        raise InputError(f"there is no folder {asked.footage}; expected videos, folders of pictures, or an LMDB")
    if asked.depth not in OURS:
        check_estimator(asked.depth)
    if is_published(asked.footage):
        parallel.launch(_published, asked, processes=asked.processes)
    else:
        parallel.launch(_filmed, asked, processes=asked.processes)
    report = (asked.out / "report.txt").read_text()
    print(report, end="")
    print(f"wrote {asked.out / 'report.json'} and {asked.out / 'report.txt'}")
    content = json.loads((asked.out / "report.json").read_text())
    summary = {k: content[k] for k in ("clips", "skipped", "bytes", "seconds")}
    if not content["clips"]:
        print("mirage: no clip can be used; the report says why", file=sys.stderr)
    return Result({"out": str(asked.out), **summary}, 0 if content["clips"] else 1)


def _published(asked: Prepare) -> None:
    prepare_published(asked.footage, asked.out)


def _filmed(asked: Prepare) -> None:
    from mirage.models.loading import load_world_model

    device = "cuda" if torch.cuda.is_available() else "cpu"
    named = None if asked.depth in OURS else make_estimator(asked.depth, device=device)
    options = PrepareOptions(
        asked.footage,
        asked.out,
        model=asked.model,
        frames=asked.frames,
        stride=asked.stride,
        depth=asked.depth,
        poses=asked.poses,
        moving=not asked.keep_moving,
        cameras=asked.cameras,
        captions=asked.captions,
        reading=camera_options(asked),
        limit=asked.limit,
    )
    prepare(load_world_model(asked.model, device=device), options, depth=named)
