"""`mirage serve`: the API, for programs."""

import math
from pathlib import Path

from mirage.cli.arguments import Serve
from mirage.cli.arguments.common import noun_of
from mirage.cli.listening import said
from mirage.cli.terminal import Result
from mirage.errors import InputError, check_number
from mirage.request import ModelRequest
from mirage.rollout.begin import load_model
from mirage.serve.access import Access
from mirage.serve.api import create_api
from mirage.serve.app import Served
from mirage.serve.app import run as serve
from mirage.serve.kept import Kept, Limits
from mirage.serve.sessions import Sessions
from mirage.serve.shelf import Shelf
from mirage.serve.worker import Worker
from mirage.units import parse_bytes


def run(asked: Serve) -> Result:
    """Serve until Ctrl-C or SIGTERM; then every session is on disk."""
    check_number("--port", asked.port, kind=int, low=0, high=65535)
    limits = Limits(
        idle=check_number("--idle", asked.idle, low=1.0, high=math.inf),
        asleep=check_number("--asleep", asked.asleep, kind=int, low=0),
        step=check_number("--step-seconds", asked.step_seconds, low=0.1),
        memory=parse_bytes(asked.memory, what="a session's memory"),
    )
    if asked.keep.exists() and not asked.keep.is_dir():
        raise InputError(f"--keep {asked.keep} is no folder; expected one, or the name of a new one")
    access, upload = Access(asked.host, asked.token), parse_bytes(asked.upload, what="an upload")
    model = load_model(noun_of(asked, ModelRequest))
    worker = Worker()
    served = Served(Sessions(model, worker, limit=asked.sessions), Shelf(limit=upload), access)
    kept = Kept(served.sessions, Path(asked.keep), limits)
    serve(create_api(served, kept), served, host=asked.host, port=asked.port, ready=said(asked, page=False))
    worker.close()
    return Result({"served": True, "kept": kept.asleep})
