"""No pipe and no device is opened, whichever option of whichever command names it: one would wait for ever, and the
other has no end. The options are found in what can be typed, so that a new one is tried too."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
import torch

from mirage.cli import main
from mirage.cli.arguments import COMMANDS
from mirage.evaluation.folder import save_rollout
from mirage.formats.cameras import save_cameras
from mirage.formats.image import save_image
from mirage.formats.video import VideoWriter
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import orbit
from mirage.memory import LatentSpatialMemory
from mirage.models.tiny import tiny_world

FILES = ("FILE", "FOLDER", "PATH", "VIDEO", "RECEIPT", "MANIFEST")
RIGHT = {  # a request for which all else is right; {} stands for what a positional argument names
    "Generate": "generate --image good.png --trajectory orbit --frames 5 --steps 1 --model model --out w.mp4",
    "Explore": "explore --model model --port 0",
    "Serve": "serve --model model --port 0",
    "Plan": "plan --model model",
    "CameraFile": "camera path.txt",
    "Inspect": "inspect w.safetensors",
    "Export": "export w.safetensors --ply new.ply",
    "Convert": "convert model/transformer --out new",
    "BenchMemory": "bench memory --points 100 --repeats 1",
    "BenchEfficiency": "bench efficiency --model model --chunks 1",
    "BenchGenerate": "bench generate --frames 5 --runs 1 --model model --against HEAD --builds builds",
    "EvaluateSynthetic": "evaluate synthetic --model model --out out --scenes 1 --chunks 1",
    "EvaluateUnseen": "evaluate unseen --model model --out out --scenes 1",
    "EvaluatePrompted": "evaluate prompted --model model --out out --scenes 1",
    "EvaluateRevisit": "evaluate revisit walk --out out",
    "EvaluateReal": "evaluate real frames --model model --out out",
    "EvaluatePhotos": "evaluate photos --model model --out out",
    "EvaluateRe10k": "evaluate re10k clips --model model --out out",
    "EvaluateWorldScore": "evaluate worldscore dataset --model model --out out",
    "Prepare": "prepare footage --out out --model model",
    "Train": "train --recipe wan:branch --out out",
    "Batch": "batch m.jsonl --model model --out out",
    "Demo": "demo --model model --out out",
}
POSITIONAL = {"CameraFile": "path", "Inspect": "world", "Export": "world", "Convert": "sources", "EvaluateRevisit":
              "rollouts", "EvaluateReal": "frames", "EvaluateRe10k": "clips", "EvaluateWorldScore": "dataset",
              "Prepare": "footage", "Batch": "manifest"}  # fmt: skip


# other data are looked at first, of which there are none here
OTHERWISE = ("Convert", "EvaluatePhotos", "EvaluateReal", "EvaluateWorldScore", "Train")
LATER = {("Batch", option) for option in ("model", "branch", "lora")}  # opened by a cluster's workers, as generate does


def options() -> Iterator[tuple[str, str]]:
    """(command, option) of all that names a file or a folder."""
    for kind in COMMANDS:
        for name, hint in get_type_hints(kind, include_extras=True).items():
            said = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
            shown = " ".join(str(getattr(one, "metavar", "")) for one in said)
            if name in {item.name for item in fields(kind)} and ("Path" in str(hint) or any(w in shown for w in FILES)):
                yield kind.__name__, name


INSTEAD = {  # where another request needs the option
    ("Generate", "world"): "generate --trajectory orbit --frames 5 --steps 1 --model model --out w.mp4",
    ("Generate", "resume"): "generate",
    ("Generate", "again"): "generate --out w.mp4",
    ("Generate", "segmenter"): f"{RIGHT['Generate']} --moving dog",
    ("Generate", "image_cameras"): RIGHT["Generate"].replace("good.png", "good.png good.png"),
    ("EvaluateRe10k", "generated"): f"{RIGHT['EvaluateRe10k']} --size 64 96",
    ("Export", "cameras"): "export w.safetensors",
}


def line(command: str, option: str, file: str) -> list[str]:
    """A request that is right but for this file."""
    words = INSTEAD.get((command, option), RIGHT[command]).split()
    if POSITIONAL.get(command) == option:
        words[2 if words[0] == "evaluate" else 1] = file
        return words
    flag = f"--{option.replace('_', '-')}"
    if flag in words:
        words[words.index(flag) + 1] = file
        return words
    return [*words, flag, file]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that the requests name."""
    folder = tmp_path_factory.mktemp("given")
    tiny_world().save_pretrained(folder / "model")
    save_image(folder / "good.png", torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0)))
    path = orbit(Camera.looking(aspect=1.5), 5)
    save_cameras(folder / "path.txt", path)
    LatentSpatialMemory(3).save(folder / "w.safetensors")
    save_rollout(folder / "walk", torch.rand(5, 3, 16, 16), path)
    for name in ("frames", "clips", "dataset", "footage"):
        (folder / name).mkdir()
    save_cameras(folder / "clips" / "a.txt", orbit(Camera.looking(aspect=1.5), 21))
    with VideoWriter(folder / "clips" / "a.mp4") as video:
        video.write(torch.rand(21, 3, 64, 96))
    (folder / "m.jsonl").write_text('{"image": "good.png", "trajectory": "orbit", "frames": 5}\n')
    (folder / "index.json").write_text("{}")
    os.mkfifo(folder / "pipe")
    return folder


def run(words: list[str], folder: Path) -> None:
    os.chdir(folder)
    with (folder / "said").open("w") as said, contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        signal.alarm(60)  # ends the process, also where it waits for what never comes
        code = main(words)
    os._exit(code)


CONTEXT: Any = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["mirage.cli.generate", "mirage.cli.evaluate", "mirage.models.world"])


def cases() -> Iterator[Any]:
    """Each option with a pipe in its first command at once; all the others, and devices, in the long run."""
    seen: set[str] = set()
    for command, option in options():
        for device in (False, True):
            marks = [pytest.mark.slow] if device or option in seen else []
            if (command, option) not in LATER:
                kind = "device" if device else "pipe"
                yield pytest.param(command, option, device, marks=marks, id=f"{command}-{option}-{kind}")
        seen.add(option)


@pytest.mark.parametrize(("command", "option", "device"), cases())
def test_no_pipe_and_no_device_is_opened(command: str, option: str, device: bool, given: Path) -> None:
    file = "/dev/zero" if device else str(given / "pipe")
    process = CONTEXT.Process(target=run, args=(line(command, option, file), given))
    before = sorted(given.rglob("*"))
    process.start()
    process.join()
    said = (given / "said").read_text()
    (given / "said").unlink()
    assert (process.exitcode, said.count("\n")) == (2, 1), said
    assert file in said or command in OTHERWISE
    assert sorted(given.rglob("*")) == before
