"""`mirage prepare`: footage, or the published data, becomes clips to train on; what is done already stays."""

import functools
import json
import sys
import time
from collections.abc import Sequence

import torch

from mirage.cli.arguments import Prepare
from mirage.cli.crews import crew_of
from mirage.cli.stopping import stoppable
from mirage.cli.terminal import Result, Wrote, progress
from mirage.depth.protocol import DepthEstimator
from mirage.distributed.crew import Job, drive
from mirage.errors import InputError
from mirage.formats.cameras import camera_options
from mirage.formats.published import is_published
from mirage.models.world import WorldModel
from mirage.rollout.estimators import check_estimator, make_estimator
from mirage.training import parallel
from mirage.training.prepare import PrepareOptions, footage_of, prepare, prepare_part, report
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
    wrote = Wrote(asked.out / "report.json", asked.out / "report.txt")
    failed: dict[str, str] = {}
    if asked.ray is not None:
        failed = _shared(asked)
    elif is_published(asked.footage):
        parallel.launch(_published, asked, processes=asked.processes)
    else:
        parallel.launch(_filmed, asked, processes=asked.processes)
    print((asked.out / "report.txt").read_text(), end="")
    wrote(f"{asked.out / 'report.json'} and {asked.out / 'report.txt'}")
    content = json.loads((asked.out / "report.json").read_text())
    summary = {k: content[k] for k in ("clips", "skipped", "bytes", "seconds")}
    if not content["clips"]:
        print("mirage: no clip can be used; the report says why", file=sys.stderr)
    for name, reason in failed.items():
        print(f"mirage: {name} failed: {reason}", file=sys.stderr)
    return Result({"out": str(asked.out), **summary, "failed": failed}, 0 if content["clips"] and not failed else 1)


def _published(asked: Prepare) -> None:
    prepare_published(asked.footage, asked.out)


def _filmed(asked: Prepare) -> None:
    model, options, depth = _tools(asked)
    prepare(model, options, depth=depth)


def _shared(asked: Prepare) -> dict[str, str]:
    """Footage by footage, on several processes; what failed after all tries, and why."""
    if is_published(asked.footage):
        raise InputError("--ray is for footage; the published data is only read, for which --processes is there")
    if asked.processes != 1:
        raise InputError("--ray and --processes are two ways to share the work; expected one")
    options = _options(asked)
    names = list(footage_of(options))[: options.limit]
    failed, started = dict[str, str](), time.perf_counter()
    with stoppable(), progress("preparing", total=len(names)) as show:
        turns = [[Job(name, name)] for name in names]
        done = (one for one in drive(turns, functools.partial(_Part, asked), crew=crew_of(asked)) if one is not None)
        for number, one in enumerate(done, start=1):
            show(number, one.job.name)
            if one.error is not None:
                failed[one.job.name] = one.error
    report(options, {"all": time.perf_counter() - started})
    return failed


class _Part:
    """A worker: it prepares the footage of a name."""

    def __init__(self, asked: Prepare) -> None:
        self.model, self.options, self.depth = _tools(asked)

    def __call__(self, names: Sequence[str]) -> list[dict[str, float]]:
        return [prepare_part(self.model, self.options, {name}, depth=self.depth) for name in names]


def _tools(asked: Prepare) -> tuple[WorldModel, PrepareOptions, DepthEstimator | None]:
    from mirage.models.loading import load_world_model

    device = "cuda" if torch.cuda.is_available() else "cpu"
    named = None if asked.depth in OURS else make_estimator(asked.depth, device=device)
    return load_world_model(asked.model, device=device), _options(asked), named


def _options(asked: Prepare) -> PrepareOptions:
    return PrepareOptions(
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
