"""Every command of docs/wan22.md is typed as it stands there, at tiny size: what is left open is filled in, counts are
made small, and a depth model that would be downloaded becomes depth maps."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import published_layout as published
from helpers import random_image
from mirage.cli import main
from mirage.formats.image import save_image
from mirage.models.tiny import tiny_world, word_tokenizer

PAGE = Path(__file__).resolve().parents[1] / "docs" / "wan22.md"
SMALL = {"--steps": "1", "--scenes": "1", "--chunks": "1", "--height": "64", "--width": "96"}
OPEN = {"--image": "image.png", "--trajectory": "right 8", "--out": "walk.mp4"}


def commands() -> list[str]:
    """Those in blocks, with their continued lines, and those in the text."""
    text = PAGE.read_text().replace("\\\n", " ")
    blocks = [line.strip().partition(" #")[0] for line in text.splitlines() if line.startswith("    mirage ")]
    inline = [found.replace("\n", " ") for found in re.findall(r"`(mirage [a-z]+ [^`]*)`", text)]
    return list(dict.fromkeys(re.sub(r"\s+", " ", command).strip() for command in blocks + inline))


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """A folder with what the page speaks of: a model, the original release, a picture, prompts, depth maps."""
    folder = tmp_path_factory.mktemp("page")
    release, comfy = folder / "Wan2.2-TI2V-5B", data_dir / "inputs" / "convert_comfy_folder" / "comfy"
    release.mkdir()
    save_file(published.dit_state(), release / "diffusion_pytorch_model.safetensors")
    (release / "config.json").write_text('{"num_heads": 2}')
    text = load_file(comfy / "umt5_xxl_fp16.safetensors")
    text.pop("spiece_model")
    torch.save(load_file(comfy / "wan2.2_vae.safetensors"), release / "Wan2.2_VAE.pth")
    torch.save(text, release / "models_t5_umt5-xxl-enc-bf16.pth")
    word_tokenizer(("a", "red", "room")).save_pretrained(release / "google" / "umt5-xxl")
    (folder / "models").mkdir()
    tiny_world(drafts=False).save_pretrained(folder / "FOLDER")
    save_image(folder / "image.png", random_image(seed=0))
    (folder / "prompts.txt").write_text("frame 0: a red room\n")
    np.savez(folder / "depth.npz", depth=np.full((9, 64, 96), 3.0, dtype=np.float32))
    return folder


def filled(command: str) -> list[str]:
    """The words after `mirage`, at tiny size."""
    words = shlex.split(command)[1:]
    for at, word in enumerate(words[:-1]):
        small = SMALL | (OPEN if words[0] == "generate" else {})
        words[at + 1] = small.get(word, words[at + 1])
        if word == "--depth-model":
            words[at + 1] = "depth.npz"
    if words[0] == "evaluate":
        words += ["--model", "FOLDER", "--out", "results"]
        words += [word for name, small in SMALL.items() if name in ("--scenes", "--chunks") and name not in words
                  for word in (name, small)]  # fmt: skip
    if words[:2] == ["evaluate", "unseen"]:
        words += ["--gaps", "4"]  # a chunk of the tiny model has room for no more
    if words[:2] == ["convert", "FOLDER"]:
        words[1] = "Wan2.2-TI2V-5B"
    return words


def test_the_page_has_its_commands() -> None:
    kinds = [command.split()[1] for command in commands()]
    assert {"convert", "generate", "evaluate", "plan"} <= set(kinds), kinds


@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_page_runs(command: str, room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(room)
    for made in ("results", "models/wan22"):
        shutil.rmtree(room / made, ignore_errors=True)
    assert main(filled(command)) == 0
