"""A full disk, under everything that writes: one line that says what is there now, and no half file.

The writers are found by walking the code, so one that is new fails here until it is tried too. The disk is a limit on
the size of files (RLIMIT_FSIZE): none, half of what the writer would write, all but a byte.
"""

import ast
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import mirage
from helpers import random_image, room, walls
from mirage.distributed.store import Store
from mirage.errors import InputError
from mirage.evaluation import unseen
from mirage.evaluation.folder import save_rollout
from mirage.evaluation.runner import Outcome, Task, run_tasks, write_results
from mirage.files import FULL
from mirage.formats.cameras import save_cameras
from mirage.formats.image import save_image
from mirage.formats.ply import Points, save_ply
from mirage.formats.receipt import write_receipt
from mirage.formats.video import VideoWriter
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import orbit
from mirage.memory import LatentSpatialMemory
from mirage.models.files.branchfile import save_branch
from mirage.models.tiny import tiny_world
from mirage.show.shown import Animation, Shown
from mirage.training import checkpoints, clips, loop, parts, prepare
from mirage.training.owner import owned
from mirage.training.schedule import Schedule

SOURCE = Path(mirage.__file__).parent
SAFE = {"replacing", "making", "appending"}
"""The three ways to write: whole files, whole folders, whole lines."""
RAW = {"write_text", "write_bytes", "savez", "savez_compressed", "save_file", "save_pretrained", "tofile", "dump"}
ALLOWED = {  # raw writers outside those three, and why
    "formats/cameras/writers/arrays.py": "makes bytes in memory",
    "files.py": "the three ways themselves",
    "formats/fragments.py": "the film that grows, and that of its writer's replacing()",
    "models/files/convert.py": "called within the folder of its making()",
    "serve/shelf.py": "an upload, which is removed where there is no room (tests/serve/test_app.py)",
    "models/wan22.py": "an empty folder of configurations for a plan, in a temporary folder",
    "models/world.py": "diffusers' own verb, which a caller points at a folder",
}
PATH = orbit(Camera.looking(horizontal_fov=65, aspect=1.5), 5)


def calls(node: ast.AST) -> set[str]:
    """Names of what is called in there: `a.b(...)` is b."""
    found = (one.func for one in ast.walk(node) if isinstance(one, ast.Call))
    return {func.attr if isinstance(func, ast.Attribute) else ast.unparse(func) for func in found}


def opens(node: ast.AST) -> bool:
    """Whether a file is opened to be written: `path.open("wb")`, `open(path, mode="a")`."""
    modes = (
        value
        for one in ast.walk(node)
        if isinstance(one, ast.Call) and ast.unparse(one.func).split(".")[-1] == "open"
        for value in [*one.args, *(given.value for given in one.keywords)]
    )
    return any(
        isinstance(mode, ast.Constant) and re.fullmatch("[rbt+]*[wax][rbt+]*", str(mode.value)) for mode in modes
    )


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield str(path.relative_to(SOURCE)), node


def test_every_writer_is_known_and_writes_whole_files():
    every = [(path, node.name, calls(node) | ({"savez"} if opens(node) else set())) for path, node in functions()]
    found = {f"{path}:{name}" for path, name, called in every if called & SAFE and path != "files.py"}
    assert found == {name for names in WRITERS.values() for name in names.split()} | set(ALIKE)
    raw = {path for path, _, called in every if called & RAW and not called & SAFE}
    assert raw == set(ALLOWED)


# -- what writes: each prepares a folder and returns the write to try --------------------------------------------------


def of_formats(folder: Path) -> Iterator[Callable[[], object]]:
    yield lambda: save_image(folder / "a.png", random_image())
    yield lambda: save_ply(
        folder / "a.ply", Points(torch.rand(50, 3), torch.zeros(50, 3, dtype=torch.uint8), torch.zeros(50, 3), {})
    )
    yield lambda: write_receipt(folder / "a.json", {"seed": 0})
    yield lambda: save_cameras(folder / "a.npz", PATH)
    yield lambda: save_cameras(folder / "a.txt", PATH, format="re10k")
    yield lambda: save_cameras(folder / "model", PATH, format="colmap", size=(32, 48))


def of_shows(folder: Path) -> Iterator[Callable[[], object]]:
    pixels = torch.linspace(0, 1, 3 * 16 * 16).view(3, 16, 16)
    yield lambda: Shown(pixels, "<p>what moves</p>").save(folder / "a.html")
    yield lambda: Animation(torch.stack([pixels, 1 - pixels]), 4.0).save(folder / "a.gif")


def of_videos(folder: Path) -> Iterator[Callable[[], object]]:
    def film() -> None:
        with VideoWriter(folder / "a.mp4") as video:
            video.write(torch.rand(20, 3, 32, 48))

    yield film


def of_memories(folder: Path) -> Iterator[Callable[[], object]]:
    memory = LatentSpatialMemory(3)
    memory.write(torch.ones(5, 3, 4, 6), walls(5, (4, 6)), PATH)
    yield lambda: memory.save(folder / "a.safetensors")


def of_evaluations(folder: Path) -> Iterator[Callable[[], object]]:
    task = Task("one", lambda place: {"psnr": 20.0})
    yield lambda: run_tasks([task], folder / "out", options={})
    yield lambda: write_results(folder, Outcome({}, {}), {"n": 0}, title="T", tables={"a": "b"})
    yield lambda: save_rollout(folder / "walk", torch.rand(5, 3, 16, 16), PATH, known=torch.ones(5, 4, 4) > 0)
    yield lambda: unseen._save_cells(folder, {"a": torch.arange(360.0).view(90, 4)})


def of_batches(folder: Path) -> Iterator[Callable[[], object]]:
    store = Store.of(str(folder / "batch"))
    yield lambda: store.write("failures.json", "x" * 200)

    def task() -> None:
        shutil.rmtree(folder / "batch" / "walk", ignore_errors=True)
        with store.making("walk") as beside:
            (beside / "walk.txt").write_text("x" * 200)

    yield task


def of_models(folder: Path) -> Iterator[Callable[[], object]]:
    branch = tiny_world().memory_branch
    assert branch is not None
    yield lambda: save_branch(folder / "a.safetensors", branch)
    yield lambda: parts.leave(branch, folder / "part")


def of_training(folder: Path) -> Iterator[Callable[[], object]]:
    yield lambda: checkpoints.save_checkpoint(folder, {"step": torch.tensor(1), "weights.w": torch.rand(50)})
    yield lambda: clips._save(folder / "clip-a.safetensors", {"rgb": torch.rand(50)}, {"caption": ""})
    yield lambda: prepare._save(folder / "part.safetensors", {"c2w": torch.rand(50)})
    options = prepare.PrepareOptions(folder, folder)
    yield lambda: prepare._claim(options)
    yield lambda: prepare.report(options, {})

    def curve() -> None:
        loop._Curve(folder, Schedule(steps=4), 1).add({"step": 1, "loss": 0.5})

    yield curve

    def own() -> None:
        with owned(folder / "run"):
            pass

    yield own


WRITERS = {
    of_formats: """formats/image.py:save_image formats/ply.py:save_ply formats/receipt.py:write_receipt
        formats/cameras/save.py:save_cameras formats/cameras/save.py:_write_folder""",
    of_shows: "show/shown.py:save",
    of_videos: "formats/video.py:__enter__ formats/video.py:__exit__",
    of_memories: "memory/statefile.py:write_state",
    of_evaluations: """evaluation/runner.py:write_json evaluation/runner.py:write_results
        evaluation/folder.py:save_rollout evaluation/unseen.py:_save_cells""",
    of_batches: "distributed/store.py:write distributed/store.py:making",
    of_models: "models/files/branchfile.py:save_branch training/parts.py:leave",
    of_training: """training/checkpoints.py:save_checkpoint training/clips.py:_save training/prepare.py:_save
        training/prepare.py:_claim training/prepare.py:report training/loop.py:__init__ training/loop.py:add
        training/owner.py:owned""",
}
ALIKE = {  # take more than a folder to call, and write by the same line as one that is tried
    "distributed/walks.py:_begun": "formats/video.py:__enter__",
    "distributed/walks.py:finish": "distributed/store.py:write",
    "evaluation/worldscore.py:write_instance": "write_json",
    "formats/fragments.py:recover": "formats/video.py:__exit__",
    "models/files/convert.py:convert": "training/parts.py:leave",
    "models/files/lorafile.py:save_lora": "save_branch",
    "training/prepare.py:_skip": "training/prepare.py:_claim",
    "training/published.py:prepare_published": "training/prepare.py:report",
    "training/recipe.py:_work": "training/prepare.py:_claim",
    "training/runs.py:_leave_learnt": "save_branch",
}


def inside(folder: Path) -> dict[str, bytes]:
    """Every file below a folder; locks that a process holds are none of what it writes."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("writers", WRITERS, ids=lambda of: of.__name__)
def test_a_full_disk_is_one_line_and_leaves_no_half_file(writers: Any, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    count = len(list(writers(tmp_path / "whole")))
    for number in range(count):
        whole = tmp_path / f"whole-{number}"
        whole.mkdir()
        list(writers(whole))[number]()
        written = inside(whole)
        largest = max(map(len, written.values()), default=1)
        for most in sorted({0, largest // 2, largest - 1}):
            for over in (False, True):
                folder = tmp_path / f"{number}-{most}-{over}"
                folder.mkdir()
                write = list(writers(folder))[number]
                if over and writers is not of_videos:  # what is there stays what it is
                    write()
                before = inside(folder)
                with room(most):
                    said = tried(write)
                if said is None and writers is of_videos:
                    continue  # there was no room to write it once more as a plain film
                assert said is None or (said.count("cannot write") == 1 and "\n" not in said), said
                assert said is not None or most > 0 or over, f"{writers.__name__}, {number}: nothing was said"
                after = inside(folder)
                for name, content in after.items():
                    right = (before.get(name), written.get(name))
                    half = content not in right and len(content) < len(written.get(name, b""))
                    assert writers is of_videos or not half, f"{name} is half there: {said}"
                    assert not Path(name).name.startswith("."), f"{name} is left over: {said}"


def tried(write: Callable[[], object]) -> str | None:
    """What is said; the outcome of tasks says it too."""
    try:
        result = write()
    except InputError as error:
        return str(error)
    except OSError as error:  # of a folder or a lock, which the command says in one line (mirage.cli.REFUSED)
        if error.errno not in FULL:
            raise
        return f"cannot write: {error.strerror}"
    return next(iter(result.failures.values()), None) if isinstance(result, Outcome) else None
