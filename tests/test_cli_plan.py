"""`mirage plan`: tables for people, the same as JSON, and which options fit a GPU."""

import json

import pytest

from mirage.cli import main
from mirage.cli.plan import fits
from mirage.models.tiny import tiny_world


def said(argv, capsys) -> dict:
    assert main(["plan", *argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_folder_of_configurations_is_enough(tmp_path, capsys) -> None:
    tiny_world().save_pretrained(tmp_path)
    for weights in tmp_path.rglob("*.safetensors"):
        weights.unlink()
    one = said(["--model", str(tmp_path), "--frames", "17", "--gpu", "2GiB"], capsys)
    assert (one["height"], one["width"], one["memory"]["chunks"]) == (64, 96, 2)
    assert all(option["fits"] == fits(option["peak"], 2 * 2**30) for option in one["options"])
    assert {(o["offload"], o["quantize"]) for o in one["options"]} >= {("none", "none"), ("group", "nf4")}
    chosen = said(["--model", str(tmp_path), "--frames", "33", "--offload", "model", "--memory-budget", "1KB"], capsys)
    assert chosen["memory"]["memory"] == 1000 < one["memory"]["memory"]
    assert chosen["peak"] < one["peak"]


@pytest.mark.parametrize(
    "argv",
    [
        "--model gigantic",
        "--height 64",
        "--model mini --frames 6",
        "--model mini --gpu much",
        "--model mini --tile 0",
        "--memory-budget lots",
        "--model mini --height 100 --width 100",
    ],
)
def test_wrong_requests(argv, capsys) -> None:
    assert main(["plan", *argv.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mirage: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("argv", ["--offload model", "--offload group", "--quantize nf4", "--device cuda", "--tile 0"])
def test_generate_says_what_this_machine_lacks(argv, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    out = tmp_path / "w.mp4"
    assert main(["generate", "--image", "none.png", "--trajectory", "w 8", "--out", str(out), *argv.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"mirage: {argv.split()[0][2:]}")
    assert error.count("\n") == 1
