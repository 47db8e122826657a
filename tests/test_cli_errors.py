"""Every wrong request: exit code 2, one line on stderr that says what was got, no traceback, nothing left behind."""

import importlib
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from mirage.cli import main
from mirage.formats.cameras import save_cameras
from mirage.formats.image import save_image
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import dolly
from mirage.models.tiny import tiny_world


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A tiny model and every file that the cases name, good ones and bad ones."""
    folder = tmp_path_factory.mktemp("given")
    tiny_world().save_pretrained(folder / "model")
    noise = torch.rand(3, 96, 144, generator=torch.Generator().manual_seed(0))
    save_image(folder / "good.png", noise)
    for suffix in ("png", "jpg"):
        save_image(folder / f"whole.{suffix}", noise)
        data = (folder / f"whole.{suffix}").read_bytes()
        (folder / f"cut.{suffix}").write_bytes(data[: len(data) // 2])
    (folder / "words.png").write_text("this is not a picture")
    (folder / "empty.png").write_bytes(b"")
    Image.new("RGB", (1, 1)).save(folder / "pixel.png")
    Image.new("1", (10_000, 10_000)).save(folder / "huge.png")

    path = dolly(Camera.looking(aspect=1.5), 16)
    save_cameras(folder / "path.txt", path, format="re10k")
    save_cameras(folder / "short.txt", path[:3], format="re10k")
    lines = (folder / "path.txt").read_text().splitlines()
    (folder / "empty.txt").write_text("")
    (folder / "header.txt").write_text(lines[0] + "\n")
    (folder / "late.prompts").write_text("chunk 0: a room\nchunk 2: a garden\n")
    (folder / "prose.txt").write_text("walk forward\nthen turn left\n")
    (folder / "cut.txt").write_text("\n".join([*lines[:5], lines[5][:40]]))
    for name, column, value in (("nan", 10, "nan"), ("mirror", 7, "-1.0"), ("scale", 7, "3.0"), ("focal", 1, "0")):
        words = lines[4].split()
        words[column] = value
        (folder / f"{name}.txt").write_text("\n".join([*lines[:4], " ".join(words), *lines[5:]]))
    np.savez(folder / "unsaid.npz", poses=path.c2w.numpy())

    np.save(folder / "other.npy", np.ones((50, 300), np.float32))
    np.save(folder / "nan.npy", np.full((96, 144), np.nan, np.float32))
    np.save(folder / "cube.npy", np.ones((2, 96, 144), np.float32))
    (folder / "words.npy").write_text("not an array")
    (folder / "broken" / "vae").mkdir(parents=True)
    (folder / "broken" / "model_index.json").write_text("{")
    (folder / "words.safetensors").write_text("not a world")
    (folder / "folder.mp4").mkdir()
    return folder


WRONG = {
    "no such image": "--image {given}/none.png",
    "not an image": "--image {given}/words.png",
    "an empty image": "--image {given}/empty.png",
    "a folder as image": "--image {given}",
    "a truncated png": "--image {given}/cut.png",
    "a truncated jpeg": "--image {given}/cut.jpg",
    "a one-pixel image": "--image {given}/pixel.png",
    "a 100-megapixel image": "--image {given}/huge.png",
    "no such trajectory": "--trajectory {given}/none.txt",
    "an unknown preset": "--trajectory zigzag",
    "wrong keys": "--trajectory w+x_5",
    "an empty trajectory": "--trajectory {given}/empty.txt",
    "a trajectory of a header": "--trajectory {given}/header.txt",
    "a trajectory of prose": "--trajectory {given}/prose.txt",
    "a cut trajectory": "--trajectory {given}/cut.txt",
    "NaN poses": "--trajectory {given}/nan.txt",
    "a mirror": "--trajectory {given}/mirror.txt",
    "a scale": "--trajectory {given}/scale.txt",
    "zero focal length": "--trajectory {given}/focal.txt",
    "matrices of unsaid convention": "--trajectory {given}/unsaid.npz",
    "a path of three poses": "--trajectory {given}/short.txt",
    "frames not 1 + 4k": "--frames 10",
    "no frames": "--frames 0",
    "frames below 0": "--frames -3",
    "one frame": "--frames 1",
    "more frames than the path has": "--frames 33",
    "depth of another aspect": "--depth {given}/other.npy",
    "depth of NaN": "--depth {given}/nan.npy",
    "depth of a cube": "--depth {given}/cube.npy",
    "depth of words": "--depth {given}/words.npy",
    "no such depth": "--depth {given}/none.npy",
    "an unknown model": "--model gigantic",
    "a folder without a model": "--model {given}",
    "a broken model": "--model {given}/broken",
    "output in no folder": "--out {given}/none/walk.mp4",
    "output onto a folder": "--out {given}/folder.mp4",
    "output of no format": "--out walk.txt",
    "output where nobody can write": "--out /proc/walk.mp4",
    "a saved world in no folder": "--save-world {given}/none/w.safetensors",
    "image and world": "--world {given}/words.safetensors",
    "steps 0": "--steps 0",
    "steps of words": "--steps many",
    "a budget of words": "--memory-budget lots",
    "a budget beyond every machine": "--memory-budget 99999999999999GiB",
    "a budget too small for one frame": "--memory-budget 10B",
    "a budget of no memory": "--memory none --memory-budget 8MiB",
    "a field of view of a half turn": "--fov 180",
    "guidance of NaN": "--guidance-scale nan",
    "an unknown conditioning": "--conditioning magic",
    "a flow shift of 0": "--flow-shift 0",
    "a flow shift of NaN": "--flow-shift nan",
    "a noise scale of 2": "--noise-scale 2",
    "a negative prompt for nothing": "--negative-prompt blurred",
    "a cache beside the branch": "--cache 0.05",
    "a cache threshold below 0": "--conditioning guidance --cache -1",
    "no such prompts": "--prompts {given}/none.txt",
    "prompts of prose": "--prompts {given}/prose.txt",
    "a prompt beyond the path": "--prompts {given}/late.prompts",
    "frames per second below 0": "--fps -1",
    "a seed of 100 bits": f"--seed {2**100}",
    "an unknown memory": "--memory elephant",
    "an unknown option": "--colour blue",
}


@pytest.mark.parametrize("options", WRONG.values(), ids=WRONG.keys())
def test_generate_refuses(options, given, tmp_path, monkeypatch, capsys):
    right = {
        "--image": f"{given}/good.png",
        "--trajectory": f"{given}/path.txt",
        "--model": f"{given}/model",
        "--out": "walk.mp4",
        "--steps": "1",
    }
    words = [word.replace("_", " ") for word in options.format(given=given).split()]
    wrong = dict(zip(words[::2], words[1::2], strict=True))
    refused(
        ["generate", *(word for pair in (right | wrong).items() for word in pair)], given, tmp_path, monkeypatch, capsys
    )


@pytest.mark.parametrize(
    "argv",
    [
        "generate --trajectory w_8 --out w.mp4",
        "generate --image {given}/good.png --trajectory w_8 --out w.mp4 --model {given}/model --cache 0.05 --compile",
        "generate --world {given}/words.safetensors --trajectory w_8 --out w.mp4 --model {given}/model",
        "generate --world {given}/none.safetensors --trajectory w_8 --out w.mp4 --model {given}/model",
        "camera {given}/nan.txt",
        "camera {given}/path.txt --format colmap --out cams",
        "inspect {given}/words.safetensors",
        "inspect {given}/none.safetensors",
        "export {given}/words.safetensors --ply x.ply",
        "export {given}/words.safetensors",
        "bench memory --points 0",
        "evaluate synthetic --model {given}/model --scenes 0",
        "evaluate synthetic --model {given}/model --memories elephant",
        "evaluate synthetic --model {given}/model --kinds hop",
        "evaluate unseen --model {given}/model --moves hop",
        "evaluate unseen --model {given}/model --memories elephant",
        "evaluate prompted --model {given}/model --colours red",
        "train --recipe none --out runs",
        "train --recipe mini_denoiser --out runs --processes 0",
        "evaluate unseen --model {given}/model --gaps 4 100",
        "generate --image {given}/good.png --trajectory w_8 --out w.mp4 --model {given}/model --moving dog --segmenter "
        "{given}/broken",
        "demo --seed 1000000",
        "demo --chunks 0",
        "demo --model gigantic",
        "paint",
        "",
    ],
)
def test_subcommands_refuse(argv, given, tmp_path, monkeypatch, capsys):
    words = [word.replace("_8", " 8") for word in argv.format(given=given).split()]
    refused(words, given, tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize(
    "wrong",
    [
        "evaluate synthetic --scenes 0",
        "evaluate synthetic --chunks 0",
        "evaluate synthetic --memories elephant",
        "evaluate synthetic --kinds hop",
        "evaluate synthetic --seed 1000",
        "evaluate synthetic --steps 0",
        "evaluate unseen --scenes 0",
        "evaluate unseen --chunks 0",
        "evaluate unseen --memories elephant",
        "evaluate unseen --moves hop",
        "evaluate unseen --gaps 0",
        "evaluate unseen --seed -1",
        "evaluate unseen --steps 0",
        "evaluate prompted --scenes 0",
        "evaluate prompted --colours red",
        "evaluate prompted --colours red mauve",
        "evaluate prompted --steps 5000",
        "evaluate re10k {given} --steps 0",
        "evaluate worldscore {given} --steps 0",
        "generate --moving _",
        "generate --moving ask:nowhere",
        "generate --segmenter x/y",
        "generate --moving dog --static-mask x.mp4",
        "generate --branch {given}/none.safetensors",
        "generate --cache -1 --conditioning guidance",
        "generate --cache 0.05 --conditioning branch",
        "generate --lora {given}/none.safetensors",
        "evaluate unseen --branch {given}/none.safetensors",
    ],
)
def test_no_model_is_read_for_a_wrong_request(wrong, given, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mirage.models.world.WorldModel.from_pretrained", lambda *_, **__: pytest.fail("was read"))
    words = wrong.format(given=given).split()
    if words[0] == "generate":
        words += f"--image {given}/good.png --trajectory {given}/path.txt --out w.mp4".split()
    refused(words, given, tmp_path, monkeypatch, capsys)


SET_UP = {  # what is done before the first step: of a walk, and of commands that answer no signal themselves
    "generate --image {given}/good.png --trajectory {given}/path.txt --model {given}/model --out walk.mp4 --steps 1": (
        "generate.open_request", "generate.load_model", "generate.begin", "generate.VideoWriter",
    ),
    "demo --model {given}/model --out demo": ("demo.load_world_model",),
    "evaluate synthetic --model {given}/model --out out": ("evaluate._look_ahead",),
    "camera {given}/path.txt --out path.tum": ("camera.read_cameras",),
}  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("words", "at"), [(words, at) for words, places in SET_UP.items() for at in places])
def test_a_signal_during_set_up_is_one_line_and_leaves_nothing(words, at, number, given, tmp_path, monkeypatch, capsys):
    module, name = at.split(".")
    module = importlib.import_module(f"mirage.cli.{module}")
    its = getattr(module, name)

    def pressed(*given, **choices):
        try:
            return its(*given, **choices)
        finally:
            signal.raise_signal(number)

    monkeypatch.setattr(module, name, pressed)
    refused(words.format(given=given).split(), given, tmp_path, monkeypatch, capsys, code=128 + number)


def refused(argv, given, tmp_path, monkeypatch, capsys, *, code=2):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    before = sorted(given.rglob("*"))
    its = main(argv)
    said = capsys.readouterr()
    assert its == code, said.err
    assert said.err.startswith("mirage: ")
    assert said.err.count("\n") == 1
    assert said.err.endswith("\n")
    assert "Traceback" not in said.err
    assert not [path for path in here.rglob("*") if path.is_file()]
    assert sorted(given.rglob("*")) == before


@pytest.fixture
def full_disk():
    """A limit on the size of files stands in for one: the system refuses the same writes, with its own words."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("before", [None, b"an older video"])
def test_a_full_disk_leaves_what_was_there(before, given, tmp_path, monkeypatch, capsys, full_disk):
    monkeypatch.chdir(tmp_path)
    if before is not None:
        (tmp_path / "walk.mp4").write_bytes(before)
    code = main(
        [
            "generate",
            "--image",
            f"{given}/good.png",
            "--trajectory",
            f"{given}/path.txt",
            "--model",
            f"{given}/model",
            "--out",
            "walk.mp4",
            "--steps",
            "1",
            *([] if before is None else ["--overwrite"]),
        ]
    )
    said = capsys.readouterr()
    assert code == 2, said.err
    assert said.err.startswith("mirage: cannot write walk.mp4")
    assert said.err.count("\n") == 1
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([] if before is None else [before])


def test_a_reader_who_has_left_is_no_fault():
    reads, writes = os.pipe()
    os.close(reads)
    try:
        done = subprocess.run([sys.executable, "-m", "mirage", "generate", "--help"], stdout=writes,
                              stderr=subprocess.PIPE, timeout=60, check=False)  # fmt: skip
    finally:
        os.close(writes)
    assert (done.returncode, done.stderr) == (141, b"")
