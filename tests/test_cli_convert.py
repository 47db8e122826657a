"""`mirage convert`, `--branch` and `--lora` as they are typed."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mirage.cli import main
from mirage.models.tiny import tiny_world

sys.path.insert(0, str(Path(__file__).parent / "models"))
import published_layout as published


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    tiny_world().save_pretrained(folder / "model")
    save_file(published.branch_state(), folder / "vace.safetensors")
    save_file(published.branch_state(seen=32), folder / "seen.safetensors")
    save_file(published.lora_state(), folder / "pipe_lora.safetensors")
    image = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0))
    from mirage.formats.image import save_image

    save_image(folder / "image.png", image)

    class Runs:
        def __reduce__(self):
            return os.system, (f"touch {folder}/ran",)

    torch.save({"conv1.weight": Runs()}, folder / "evil.pth")
    return folder


def said(capsys, *argv):
    code = main([str(word) for word in argv])
    out, err = capsys.readouterr()
    return code, out, err


def test_convert_then_generate(given, tmp_path, capsys):
    """What convert writes is what --branch and --lora take; the receipt names both."""
    for name, file in (("branch", "vace"), ("lora", "pipe_lora")):
        code, out, _ = said(
            capsys,
            "convert",
            given / f"{file}.safetensors",
            "--out",
            tmp_path / f"{name}.safetensors",
            "--heads",
            2,
            *(("--branch-layers", 0, 2) if name == "branch" else ()),
            "--json",
        )
        assert code == 0
        summary = json.loads(out.splitlines()[-1])
        assert summary["written"] == {name: str(tmp_path / f"{name}.safetensors")}
        assert summary["bytes"][name] == (tmp_path / f"{name}.safetensors").stat().st_size
        assert f"--{name} " in out
    code, _, err = said(
        capsys,
        "generate",
        "--image",
        given / "image.png",
        "--trajectory",
        "right 8",
        "--model",
        given / "model",
        "--branch",
        tmp_path / "branch.safetensors",
        "--lora",
        tmp_path / "lora.safetensors",
        "--steps",
        1,
        "--out",
        tmp_path / "walk.mp4",
    )
    assert (code, err.count("\n")) == (0, 1)  # a line for the chunk
    receipt = json.loads((tmp_path / "walk.receipt.json").read_text())
    assert receipt["branch"].endswith("branch.safetensors")
    assert [Path(one["file"]).name for one in receipt["lora"]] == ["lora.safetensors"]


WRONG = {
    "no such file": "convert {given}/none.pth --out {out}",
    "code in a pickle": "convert {given}/evil.pth --out {out}",
    "a model of ours": "convert {given}/model --out {out}",
    "32 channels": "convert {given}/seen.safetensors --out {out}.safetensors --heads 2",
    "heads that do not divide": "convert {given}/vace.safetensors --out {out}.safetensors --heads 5",
    "no heads": "convert {given}/vace.safetensors --out {out}.safetensors --heads 0",
    "a folder that is there": "convert {given}/vace.safetensors --out {given} --heads 2",
    "no folder to write in": "convert {given}/vace.safetensors --out {out}/a/b.safetensors --heads 2",
    "no number": "convert {given}/pipe_lora.safetensors --out {out}.safetensors --alpha nan",
    "no branch": "generate {walk} --branch {given}/none.safetensors",
    "a LoRA as branch": "generate {walk} --branch {given}/pipe_lora.safetensors",
    "a branch as LoRA": "generate {walk} --lora {given}/vace.safetensors",
    "a branch of too many channels": "generate {walk} --branch {given}/seen.safetensors",
    "a pickle as branch": "generate {walk} --branch {given}/evil.pth",
    "an image as LoRA": "generate {walk} --lora {given}/image.png",
}


@pytest.mark.parametrize("words", WRONG.values(), ids=WRONG.keys())
def test_wrong_requests_get_one_line_and_leave_nothing(words, given, tmp_path, capsys):
    walk = f"--image {given}/image.png --trajectory orbit --frames 9 --model {given}/model --out {tmp_path}/w.mp4"
    code, out, err = said(capsys, *words.format(given=given, out=tmp_path / "out", walk=walk).split())
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
    assert not (given / "ran").exists()
