"""Files from nobody knows whom: forged with care, so that they come past digests and parsers and into the code.

A file that is right is taken apart into what it is made of (JSON, arrays, tensors, lines), one to three of its parts
are exchanged for something that no program of ours would write, and it is put together again, with right seals. The
law: it is read, or refused in one line, and soon. `MIRAGE_FUZZ` says how many cases there are over all kinds of files.
"""

import copy
import json
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from mirage.cli import generate
from mirage.cli.arguments import Generate
from mirage.cli.receipts import written
from mirage.errors import LONGEST, InputError
from mirage.evaluation.folder import load_rollout, save_rollout
from mirage.evaluation.re10k import load_index
from mirage.evaluation.runner import Task, _digest, run_tasks
from mirage.evaluation.worldscore import load_instances
from mirage.formats.cameras import read_cameras, save_cameras
from mirage.formats.depth import load_depth
from mirage.formats.image import save_image
from mirage.formats.prompts import load_prompts
from mirage.formats.receipt import write_receipt
from mirage.geometry.camera import Camera
from mirage.geometry.depthmap import DepthMap
from mirage.geometry.trajectory import orbit
from mirage.memory import LatentSpatialMemory, MemoryPolicy, statefile
from mirage.memory.worldfile import save_world
from mirage.request import ModelRequest, Request
from mirage.rollout.history import History
from mirage.rollout.saved import Saved, load_session, save_session
from mirage.rollout.settings import Settings
from mirage.training import checkpoints

CASES, SECONDS = int(os.environ.get("MIRAGE_FUZZ", "5000")), 2.0
PATH = orbit(Camera.looking(horizontal_fov=65, aspect=1.5), 5)
DEEP: Any = json.loads("[" * 900 + "]" * 900)
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 0.5, -0.0, 1e-320, 1e30, 1e300, 2**31, 2**31 - 1, -(2**63), 2**64, 10**400,
    float("nan"), float("inf"), "", "0", "nan", "a\nb", "\ud800", "\0", "x" * 5000, [], {}, [[]], [None], {"": None},
    {"a": {"b": 1}}, DEEP, [0] * 10_000, "../../../etc/passwd", "🙂",
]  # fmt: skip
NUMBERS = [0.0, -0.0, -1.0, 1.0, 1e-38, 1e-30, 1e9, 1e20, 3e38, float("nan"), float("inf"), float("-inf")]
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int8, torch.uint8,
          torch.int32, torch.int64, torch.bool]  # fmt: skip


# -- changes to what a file is made of --------------------------------------------------------------------------------


def changed(document: Any, rng: random.Random) -> Any:
    """JSON with one value, somewhere, exchanged, taken out, doubled or wrapped."""
    if rng.random() < 0.03 or not isinstance(document, dict | list) or not document:
        return copy.deepcopy(rng.choice(ODD))
    document = copy.copy(document)
    place = rng.choice(list(document) if isinstance(document, dict) else range(len(document)))
    kind = rng.randrange(8)
    if kind == 0:
        del document[place]
    elif kind == 1 and isinstance(document, dict):
        document[rng.choice(["", "x", "_", str(place).upper(), "seed\n"])] = document[place]
    elif kind == 1 and isinstance(document, list):
        document.insert(place, document[place])
    elif kind == 2:
        document[place] = [document[place]]
    elif kind == 3:
        document[place] = copy.deepcopy(rng.choice(ODD))
    else:
        document[place] = changed(document[place], rng)
    return document


def text_of(document: Any, rng: random.Random) -> str:
    """Of JSON; now and then nested far deeper than its parser goes, or cut."""
    text = json.dumps(document)
    kind = rng.randrange(40)
    if kind == 0:
        return text.replace("{", '{"deep": ' + "[" * 50_000 + "]" * 50_000 + ", ", 1)
    if kind == 1:
        return text[: rng.randrange(len(text) + 1)]
    return text


def bent(tensor: torch.Tensor, rng: random.Random) -> torch.Tensor:
    """A tensor with another dtype, shape, sign or size, or with one number that nobody expects."""
    kind = rng.randrange(9)
    if kind == 0:
        return tensor.to(rng.choice(DTYPES))
    if kind == 1:
        return tensor.reshape(-1)
    if kind == 2 and tensor.ndim:
        return tensor.narrow(rng.randrange(tensor.ndim), 0, 0)
    if kind == 3:
        return tensor[None]
    if kind == 4 and tensor.ndim:
        return torch.cat([tensor, tensor[:1]])
    if kind == 5 and tensor.ndim:
        return tensor.transpose(0, -1)
    if kind == 6:
        return torch.zeros_like(tensor)
    if kind == 7 and tensor.dtype not in (torch.bool, torch.float8_e4m3fn):
        return tensor * -1
    tensor = tensor.clone()
    if tensor.numel():
        value = rng.choice(NUMBERS)
        if tensor.is_floating_point():
            tensor.view(-1)[rng.randrange(tensor.numel())] = value
        else:
            least = rng.choice([-(2**63), 2**31 - 1, 2**30 + 1, 2**62, -1, 0, 7])
            tensor.view(-1)[rng.randrange(tensor.numel())] = torch.tensor(least).to(tensor.dtype)
    return tensor


def of_tensors(tensors: dict[str, torch.Tensor], rng: random.Random) -> dict[str, torch.Tensor]:
    """Tensors of which one is bent, gone, there twice or called otherwise."""
    name, kind, held = rng.choice(list(tensors)), rng.randrange(8), dict(tensors)
    if kind == 0:
        del held[name]
    elif kind == 1:
        held[rng.choice(["x", "extra.", "memory.", "extra.beside.x", name + ".y"])] = held[name].clone()
    else:
        held[name] = bent(held[name], rng)
    return {key: tensor.contiguous() for key, tensor in held.items()}


def of_array(array: np.ndarray, rng: random.Random) -> np.ndarray:
    """The same for numpy."""
    bent_ = bent(torch.from_numpy(np.ascontiguousarray(array)), rng)
    return bent_.float().numpy() if bent_.dtype in (torch.bfloat16, torch.float8_e4m3fn) else bent_.numpy()


def of_lines(text: str, rng: random.Random) -> str:
    """Lines of words with one of them exchanged, gone or doubled."""
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    words = lines[at].split(" ")
    kind = rng.randrange(5)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(at, lines[at])
    elif kind == 2:
        lines[at] = rng.choice(["", " ", ":", "frame 0", "#" * 3000, "\0", "[" * 3000, "1 " * 3000])
    else:
        words[rng.randrange(len(words))] = rng.choice(
            ["nan", "-inf", "1e400", "9" * 5000, "", "-", "0x7", "é", "\0", ":"]
        )
        lines[at] = " ".join(words)
    return "\n".join(lines)


def repeatedly(change: Callable[[Any, random.Random], Any], value: Any, rng: random.Random) -> Any:
    """One to three changes."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        value = change(value, rng)
    return value


# -- the kinds of files: (what is right, where it is made wrong, how it is read) ---------------------------------------


def memory(features: Any = "int8") -> LatentSpatialMemory:
    generator = torch.Generator().manual_seed(0)
    held = LatentSpatialMemory(3, policy=MemoryPolicy(features=features))
    latents, z = torch.randn(2, 3, 4, 6, generator=generator), 2 + torch.rand(2, 4, 6, generator=generator)
    held.write(latents, DepthMap(z), PATH[:2])
    return held


class World:
    """A saved session; what is read is walked on from, as far as that goes without a model."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "w.safetensors"
        past = History(torch.randn(2, 3, 4, 6), DepthMap(torch.ones(2, 4, 6)), PATH[:2], torch.arange(2))
        save_session(
            self.path, Saved(memory(), past, "a room", 3, 1, Settings(), torch.ones(3, 4, 4), {"done": torch.tensor(1)})
        )
        self.tensors, self.header = statefile._read(self.path)
        self.read()  # what is compiled now is no part of a case's time

    def forge(self, rng: random.Random) -> None:
        tensors, header = dict(self.tensors), {key: value for key, value in self.header.items() if key != "seal"}
        if rng.random() < 0.6:
            tensors = repeatedly(of_tensors, tensors, rng)
        if rng.random() < 0.6 or tensors.keys() == self.tensors.keys():
            name = rng.choice(["memory", "extra"])
            header[name] = text_of(repeatedly(changed, json.loads(header[name]), rng), rng)
        digests: Any = {name: statefile._digest(tensor) for name, tensor in tensors.items()}
        if rng.random() < 0.05:
            digests = changed(digests, rng)
        header["digests"] = json.dumps(digests)
        if rng.random() < 0.05:
            header[rng.choice(["version", "conventions", "format", "more"])] = str(rng.choice(ODD))[:100]
        header = {key: value.encode("utf-8", "replace").decode() for key, value in header.items()}
        save_file(tensors, self.path, metadata=header | {"seal": statefile._seal(header)})

    def read(self) -> None:
        saved = load_session(self.path, device=torch.device("cpu"), channels=3)
        saved.memory.read(saved.history.camera[:1], (4, 6))
        saved.memory.write(torch.ones(1, 3, 4, 6), DepthMap(torch.ones(1, 4, 6)), PATH[:1])
        save_world(self.path.with_name("again.safetensors"), saved.memory)


class Cameras:
    """Text, JSON and arrays of several tools."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "none"
        save_cameras(folder / "ours.npz", PATH)
        save_cameras(folder / "transforms.json", PATH, format="nerfstudio", size=(40, 60))
        self.arrays = dict(np.load(folder / "ours.npz"))
        record = {
            "poses": [[0, 0, 0, 1, i, 0, 0] for i in range(5)],
            "K": [9, 0, 0, 0, 9, 0, 8, 6, 1],
            "w": 16,
            "h": 12,
        }
        score = {"focal_length": 500, "cameras_interp": np.tile(np.eye(4), (5, 1, 1)).tolist()}
        self.documents = [json.loads((folder / "transforms.json").read_text()), record, score]
        self.texts = [
            "http\n" + "\n".join(f"{i} 0.5 0.9 0.5 0.5 0 0 1 0 0 0 0 1 0 {i} 0 0 1 0" for i in range(5)),
            "\n".join(f"{i}.5 {i} 0 0 0 0 0 1" for i in range(5)),
            "w 31, right 10",
        ]

    def forge(self, rng: random.Random) -> None:
        kind = rng.randrange(3)
        self.path = self.folder / ("forged.npz", "forged.json", "forged.txt")[kind]
        if kind == 0:
            arrays = dict(self.arrays)
            name = rng.choice(list(arrays))
            arrays[name] = of_array(arrays[name], rng) if arrays[name].dtype.kind in "fiub" else arrays[name]
            np.savez(self.path, allow_pickle=False, **arrays)
        elif kind == 1:
            text = text_of(repeatedly(changed, rng.choice(self.documents), rng), rng)
            self.path.write_text(text, encoding="utf-8", errors="replace")
        else:
            self.path.write_text(repeatedly(of_lines, rng.choice(self.texts), rng), encoding="utf-8")

    def read(self) -> None:
        camera = read_cameras(self.path).camera
        assert torch.isfinite(camera.c2w).all()
        assert torch.isfinite(camera.intrinsics).all()


class Depth:
    """.npy, .npz and 16-bit PNG."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "none"
        self.z = np.linspace(1, 5, 24, dtype=np.float32).reshape(4, 6)

    def forge(self, rng: random.Random) -> None:
        suffix = rng.choice(["npy", "npz", "png"])
        self.path = self.folder / f"depth.{suffix}"
        if suffix == "npy":
            np.save(self.path, repeatedly(of_array, self.z, rng))
        elif suffix == "npz":
            np.savez(self.path, **{rng.choice(["depth", "z", ""]): repeatedly(of_array, self.z, rng)})
        else:
            save_image(self.path, torch.rand(3, 4, 6))
            data = bytearray(self.path.read_bytes())
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            self.path.write_bytes(data)

    def read(self) -> None:
        assert torch.isfinite(load_depth(self.path).z).all()


class Prompts:
    """Lines and JSON."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "prompts.txt"

    def forge(self, rng: random.Random) -> None:
        said = {"frame 0": "a red room", "chunk 2": "a garden", "frame 90": "sea"}
        lines = "\n".join(f"{key}: {value}" for key, value in said.items())
        text = text_of(repeatedly(changed, said, rng), rng) if rng.random() < 0.5 else repeatedly(of_lines, lines, rng)
        self.path.write_text(text, encoding="utf-8", errors="replace")

    def read(self) -> None:
        load_prompts(self.path).by_chunk(97, 33)


class Manifests:
    """What says which tasks an evaluation has: pixelSplat's index and WorldScore's rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "static").mkdir()
        self.index = {"scene": {"context": [0, 9], "target": [1, 2, 3]}, "other": None}
        row = {"image": "a.png", "visual_movement": "static", "visual_style": "photorealistic", "scene_type": "indoor",
               "category": "kitchen", "camera_path": ["push_in", "pan_left"], "content_list": ["sink", "door"],
               "prompt_list": ["A sink.", "A door."], "style": "photo"}  # fmt: skip
        self.rows = [row, row]

    def forge(self, rng: random.Random) -> None:
        for path, right in ((self.folder / "index.json", self.index), (self.folder / "static/static.json", self.rows)):
            path.write_text(text_of(repeatedly(changed, right, rng), rng), encoding="utf-8", errors="replace")

    def read(self) -> None:
        refused = []
        for read in (lambda: load_index(self.folder / "index.json"), lambda: load_instances(self.folder, "static")):
            try:
                read()
            except InputError as error:
                refused.append(str(error))
        if refused:
            raise InputError("; ".join(refused))


class Checkpoints:
    """Of a training run, with a right digest and without."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.right = {"step": torch.tensor(4), "seconds": torch.tensor(1.5), "averaged.w": torch.randn(3, 4),
                      "weights.w": torch.randn(3, 4), "optimizer.m": torch.zeros(2)}  # fmt: skip

    def forge(self, rng: random.Random) -> None:
        tensors = repeatedly(of_tensors, self.right, rng)
        digest = checkpoints._digest(tensors.items()) if rng.random() < 0.7 else rng.choice(["", "0" * 64, "x"])
        save_file(tensors, self.folder / checkpoints.CHECKPOINT, metadata={"digest": digest})
        if rng.random() < 0.2:
            path = self.folder / checkpoints.CHECKPOINT
            path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])

    def read(self) -> None:
        path = checkpoints.newest_checkpoint(self.folder)
        assert path is not None
        checkpoints.progress(path)
        checkpoints.averaged_weights(self.folder)


class Rollouts:
    """Frames and cameras in a folder."""

    def __init__(self, folder: Path) -> None:
        self.path, self.right = folder / "walk", folder / "right"
        save_rollout(self.right, torch.rand(5, 3, 16, 16), PATH, known=torch.ones(5, 4, 4, dtype=torch.bool))

    def forge(self, rng: random.Random) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.copytree(self.right, self.path)
        frames = sorted((self.path / "frames").iterdir())
        kind = rng.randrange(7)
        if kind == 0:
            rng.choice(frames).unlink()
        elif kind == 1:
            for frame in rng.sample(frames, 4):
                frame.unlink()
        elif kind == 2:
            frame = rng.choice(frames)
            frame.rename(
                frame.with_name(rng.choice(["7.png", "x.png", "00.jpg", "-1.png", "9" * 99 + ".png", "²3.png"]))
            )
        elif kind == 3:
            os.mkfifo(self.path / "frames" / "005.png")
        elif kind == 4:
            arrays = dict(np.load(self.path / "cameras.npz"))
            np.savez(self.path / "cameras.npz", allow_pickle=False, **arrays | {"c2w": of_array(arrays["c2w"], rng)})
        elif kind == 5:
            np.savez(self.path / "known.npz", mask=of_array(np.ones((5, 4, 4), bool), rng))
        else:
            frame = rng.choice(frames)
            frame.write_bytes(frame.read_bytes()[: rng.randrange(200)])

    def read(self) -> None:
        rollout = load_rollout(self.path)
        assert len(rollout.frames) == len(PATH)


class Results:
    """done.json of an evaluation, whose digest somebody has looked up in our code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.task = Task("one", lambda folder: {"psnr": 20.0, "families": {"a": [1, 2]}})
        run_tasks([self.task], folder, options={"seed": 0})
        self.path = folder / "one" / "done.json"
        self.right = {"psnr": 20.0, "families": {"a": [1, 2]}}

    def forge(self, rng: random.Random) -> None:
        document = repeatedly(changed, self.right, rng)
        if isinstance(document, dict) and rng.random() < 0.5:
            document = document | {"digest": _digest(document)}
        elif isinstance(document, dict) and rng.random() < 0.5:
            document = document | {"digest": rng.choice(ODD)}
        self.path.write_text(text_of(document, rng), encoding="utf-8", errors="replace")

    def read(self) -> None:
        outcome = run_tasks([self.task], self.folder, options={"seed": 0})
        for line in outcome.failures.values():
            assert line.startswith("InputError: "), line
            raise InputError(line)


class Receipts:
    """Of a walk to go on with, by which files are found, and overwritten."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "w.receipt.json"
        for name in ("w.mp4", "w.resume.safetensors", "good.png"):
            (folder / name).write_bytes(b"x")
        asked = Request(image=folder / "good.png", trajectory="orbit", frames=9, static_mask=folder / "good.png")
        self.right = {
            "request": {"walk": written(asked, self.path), "model": written(ModelRequest(lora=("a:0.5",)), self.path)},
            "video": "w.mp4", "world": "w.safetensors", "prompts": {"0": "a room", "2": "a garden"}, "fps": 16,
            "resume": {"file": "w.resume.safetensors", "frames": 9},
            "seconds": {"load": 1.0, "begin": 0.5, "walk": 3.0},
        }  # fmt: skip
        self.path.write_text(json.dumps(self.right))
        self.read()

    def forge(self, rng: random.Random) -> None:
        document = repeatedly(changed, self.right, rng)
        if rng.random() < 0.2:
            document = {**self.right, "world": rng.choice(["good.png", "w.mp4", "w.resume.safetensors", "/dev/zero"])}
        self.path.write_text(text_of(document, rng), encoding="utf-8", errors="replace")

    def read(self) -> None:
        asked = generate._to_resume(Generate(resume=self.path), self.path)
        asked.places.check(asked.inputs, overwrite=True)
        before = asked.before
        assert before is not None
        write_receipt(self.path.with_name("again.json"), {**before.said, "seconds": before.seconds})
        assert all(isinstance(text, str) for text in before.prompts.values())


# share of the cases, and how many of them at least are refused: a reader that believes all is no reader
KINDS = {World: (0.3, 0.8), Receipts: (0.1, 0.5), Cameras: (0.1, 0.3), Checkpoints: (0.1, 0.3), Results: (0.1, 0.4),
         Prompts: (0.1, 0.2), Manifests: (0.1, 0.4), Depth: (0.05, 0.2), Rollouts: (0.05, 0.4)}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_forged_file_is_read_or_refused_in_one_line(kind: Any, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    share, least = KINDS[kind]
    cases = max(20, round(share * CASES))
    file, tried, refused = kind(tmp_path), 0, 0

    @seed(0)
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(st.integers(0, 2**64 - 1))
    def law(number: int) -> None:
        nonlocal tried, refused
        file.forge(random.Random(number))
        tried += 1
        begun = time.process_time()
        try:
            file.read()
        except InputError as error:
            said = str(error)
            refused += 1
            assert "\n" not in said
            assert len(said) <= LONGEST
        assert time.process_time() - begun < SECONDS

    law()
    capsys.readouterr()
    print(f"{kind.__name__}: {tried} forged, {refused} refused, {tried - refused} read")
    assert tried >= 0.9 * cases
    assert least * tried <= refused
