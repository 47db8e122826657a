"""Every example runs, as it is, with a tiny random model where it needs one."""

import re
import runpy
import sys
from pathlib import Path

import pytest
import torch

from mirage.formats.image import load_image, save_image
from mirage.formats.video import load_video
from mirage.models.tiny import tiny_world

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(name, *argv):
        monkeypatch.setattr(sys, "argv", [name, *argv])
        return runpy.run_path(str(EXAMPLES / name))

    return call


def test_every_example_is_tried_here():
    tried = Path(__file__).read_text()
    assert all(path.name in tried for path in EXAMPLES.glob("*.py"))


def test_hello_memory(run):
    left = run("00_hello_memory.py")
    known = left["readout"].mask.float().mean((1, 2))
    assert known[0] > 0.99  # where it was written, all is known
    assert known[3] < known[2] < known[1] < 1  # the further it turns the less
    assert load_image("hello_memory.png").shape[0] == 3


def test_the_memory_in_a_loop_of_diffusers(run):
    left = run("02_memory_in_your_loop.py")
    change = (left["latents"][:, :, 0] - left["known"].latents) * left["known"].mask[:, None]
    assert change.abs().max() < 1e-5  # what is known comes through the loop as it was
    assert 0.5 < left["known"].mask.float().mean() < 1
    assert left["added"] < 0.5 * left["known"].mask.numel()  # only what was a hole is new


def test_first_world(run, tmp_path):
    tiny_world().save_pretrained(tmp_path / "tiny")
    run("01_first_world.py", str(tmp_path / "tiny"), "walk.mp4")
    assert len(load_video("walk.mp4")) == 25


def test_the_ten_lines_of_the_readme(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny_world().save_pretrained("tiny")
    save_image("photo.jpg", torch.rand(3, 96, 144))
    found = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert found is not None
    code = found[1].replace('"mini"', '"tiny"').replace("frames=97", "frames=9")
    exec(compile(code, "README.md", "exec"), {})
    assert "[9, 3, 64, 96]" in capsys.readouterr().out
    assert Path("here.safetensors").is_file()
