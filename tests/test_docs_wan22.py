"""Every command of the pages about what people bring is typed as it stands there, at tiny size: what is left open is
filled in, counts are made small, and a depth model that would be downloaded becomes depth maps."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import published_layout as published
from helpers import random_image
from mirage.cli import main
from mirage.formats.cameras import save_cameras
from mirage.formats.image import save_image
from mirage.formats.video import VideoWriter
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import orbit
from mirage.models.tiny import tiny_world, word_tokenizer
from mirage.training.published import prepare_published

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = ("wan22.md", "published_code.md", "loras_and_checkpoints.md", "inputs.md")
SMALL = {"--steps": "1", "--scenes": "1", "--chunks": "1", "--frames": "9", "--height": "64", "--width": "96"}
OPEN = {"--image": "image.png", "--trajectory": "right 8", "--out": "walk.mp4"}
GIVEN = ("data/", "room.mp4", "a.png")  # pictures that are there


def commands(page: str) -> list[str]:
    """Those in blocks, with their continued lines, and those in the text; once each."""
    text = (DOCS / page).read_text().replace("\\\n", " ")
    blocks = [line.strip().partition(" #")[0] for line in text.splitlines() if line.startswith("    mirage ")]
    inline = [found.replace("\n", " ") for found in re.findall(r"`(mirage [a-z]+ [^`]*)`", text)]
    typed = (re.sub(r"\s+", " ", command).strip() for command in blocks + inline)
    return [one for one in dict.fromkeys(typed) if not re.search(r" N | FILE | \.\.\.|camera FILE|convert --", one)]


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
    _brought(folder)
    (folder / "prompts.txt").write_text("frame 0: a red room\n")
    np.savez(folder / "depth.npz", depth=np.full((9, 64, 96), 3.0, dtype=np.float32))
    return folder


def _brought(folder: Path) -> None:
    """LoRAs, a sample of the published code, several views with their cameras."""
    path = orbit(Camera.looking(aspect=1.5), 9)
    sample, release = folder / "data" / "sample", folder / "data" / "Wan-AI"
    for made in (sample, release, folder / "outputs"):
        made.mkdir(parents=True)
    (release / "Wan2.2-TI2V-5B").symlink_to(folder / "Wan2.2-TI2V-5B")
    save_image(sample / "first_frame.png", random_image(seed=1))
    geometry: dict[str, Any] = {"poses_c2w": path.c2w.numpy(), "intrinsics": path.pixel_matrix((64, 96)).numpy()}
    np.savez(
        sample / "geometry.npz",
        depths=np.full((9, 64, 96), 3.0, dtype=np.float32),
        processed_size=np.array([64, 96]),
        **geometry,
    )
    for number in range(4):
        _training_sample(folder / "data" / "train" / f"sample-{number}", number)
    prepare_published(folder / "data" / "train", folder / "runs" / "shards")
    save_file(published.branch_state(), folder / "outputs" / "vace.safetensors")
    save_file(published.lora_state(), folder / "outputs" / "lora.safetensors")
    for number, name in enumerate(("style", "other", "steps", "lora")):
        save_file(published.lora_state(number), folder / f"{name}.safetensors")
    for number, name in enumerate("abc"):
        save_image(folder / f"{name}.png", random_image(seed=number))
    save_cameras(folder / "poses.txt", path[:3], format="re10k")
    with VideoWriter(folder / "room.mp4") as film:
        film.write(torch.stack([random_image(seed=number) for number in range(3)]))
    save_cameras(folder / "room.txt", path[:3], format="re10k")


def _training_sample(folder: Path, seed: int) -> None:
    """One of the published training data, before it is packed."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    shapes = {"target": (3, 48), "target_scene_proj": (3, 48), "preceding": (2, 48), "preceding_scene_proj": (2, 48)}
    for name, shape in (shapes | {"reference": (48, 1)}).items():
        torch.save({"latent": torch.randn(*shape, 4, 6, generator=generator)}, folder / f"train_{name}_rgb.pt")
    (folder / "train_target_rgb.txt").write_text("a room")


def filled(command: str) -> list[str]:
    """The words after `mirage`, at tiny size."""
    words = shlex.split(command)[1:]
    for at, word in enumerate(words[:-1]):
        small = SMALL | (OPEN if words[0] == "generate" else {})
        if not words[at + 1].startswith(GIVEN):
            words[at + 1] = small.get(word, words[at + 1])
        if word == "--depth-model":
            words[at + 1] = "depth.npz"
    if words[0] == "generate":
        words += ["--overwrite"] + ["--model", "FOLDER"] * ("--model" not in words)
        words += ["--size", "64", "96"] * ("models/wan22" in words)
        words += ["--steps", "1"] * (not {"--steps", "--timesteps"} & set(words))
    if words[0] == "train":
        words += ["--steps", "1"]
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
    kinds = [command.split()[1] for command in commands("wan22.md")]
    assert {"convert", "generate", "evaluate", "plan"} <= set(kinds), kinds


@pytest.mark.parametrize("command", list(dict.fromkeys(one for page in PAGES for one in commands(page))))
def test_every_command_of_the_page_runs(command: str, room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(room)
    shutil.rmtree(room / "results", ignore_errors=True)
    for made in ("models/wan22", "folder"):
        if "convert" in command:
            shutil.rmtree(room / made, ignore_errors=True)
    (room / "ours.safetensors").unlink(missing_ok=True)
    if "models/wan22" in command and "convert" not in command and not (room / "models" / "wan22").exists():
        made = next(one for one in commands("wan22.md") if "convert" in one and one.endswith("models/wan22"))
        assert main(filled(made)) == 0  # which another process has run for itself
    assert main(filled(command)) == 0
