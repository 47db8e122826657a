"""What people bring, as they type it: LoRAs with strengths, several views, a receipt run again from elsewhere."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mirage.cli import main
from mirage.cli.arguments import parse
from mirage.cli.plan import what_fits
from mirage.formats.cameras import save_cameras
from mirage.formats.image import save_image
from mirage.formats.video import VideoWriter, load_video
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import orbit
from mirage.models.files.lora_spec import LoraSpec
from mirage.models.tiny import tiny_world
from mirage.request import ModelRequest
from mirage.rollout import Session

WALK = ("--image", "picture.png", "--trajectory", "pan", "--frames", "9", "--steps", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_world().save_pretrained(folder)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    noise = torch.rand(1, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    save_image("picture.png", torch.nn.functional.interpolate(noise, (64, 96), mode="bicubic")[0].clamp(0, 1))
    return tmp_path / "here"


@pytest.fixture
def walk(folder, here, capsys):
    """`mirage generate`: (exit code, its receipt, stderr)."""

    def run(*words, out="a.mp4"):
        code = main(["generate", *words, "--model", str(folder), "--out", out])
        receipt = Path(out).with_suffix(".receipt.json")
        return code, json.loads(receipt.read_text()) if receipt.exists() else None, capsys.readouterr().err

    return run


def lora(path, seed, width=48):
    """A LoRA of one layer of the tiny transformer, diffusers' layout."""
    draw = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, width, generator=draw), torch.randn(width, 2, generator=draw)
    name = "transformer.blocks.0.attn1.to_q"
    save_file({f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}, path)
    return b @ a


def test_loras_are_repeated_and_summed_and_the_receipt_has_their_strengths(walk, folder, here):
    one, two = lora("one.safetensors", 1), lora("two.safetensors", 2)
    code, receipt, _ = walk(*WALK, "--lora", "one.safetensors:0.5", "--lora", "two.safetensors:-2")
    assert code == 0
    assert receipt["lora"] == [
        {"file": "one.safetensors", "strength": 0.5},
        {"file": "two.safetensors", "strength": -2.0},
    ]
    summed = tiny_world()
    layer = summed.transformer.get_submodule("blocks.0.attn1.to_q")
    with torch.no_grad():
        layer.get_parameter("weight").add_(0.5 * one - 2 * two)
    summed.save_pretrained("summed")
    assert main(["generate", *WALK, "--model", "summed", "--out", "b.mp4"]) == 0
    difference = (load_video("a.mp4").int() - load_video("b.mp4").int()).abs()
    assert difference.max() <= 1
    assert walk(*WALK, out="plain.mp4")[0] == 0
    assert not torch.equal(load_video("plain.mp4"), load_video("a.mp4"))
    assert main(["generate", "--again", "a.receipt.json", "--out", "c.mp4"]) == 0
    assert torch.equal(load_video("c.mp4"), load_video("a.mp4"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--lora", "one.safetensors:much"), "expected a number such as 0.8"),
        (("--lora", "none.safetensors"), "none.safetensors"),
        (("--lora", "one.safetensors", "--lora", "one.safetensors:2"), "given twice"),
        (("--seed", "1", "--seed", "2"), "--seed is given 2 times; accepted: once"),
        (("--fps=8", "--fps", "9"), "--fps is given 2 times"),
        (("--prompt", "a", "--prompt=b"), "--prompt is given 2 times"),
        (("--image-size", "0", "5"), "image size"),
        (("--timesteps", "1000", "500", "--solver", "unipc"), "not for unipc"),
        (("--timesteps", "1000", "500", "--flow-shift", "3"), "one of them"),
        (("--fps", "0"), "frames per second"),
        (("--negative-prompt", "grey"), "guidance scale other than 1"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(walk, here, words, said):
    lora("one.safetensors", 1)
    base = [*WALK[:-2]] if "--timesteps" in words else [*WALK]
    before = sorted(here.iterdir())
    code, _, err = walk(*base, *words)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert sorted(here.iterdir()) == before


def test_one_option_twice_is_refused_by_every_subcommand():
    for words in (["camera", "a", "--to", "1", "--to", "2"], ["demo", "--seed", "1", "--seed=2"]):
        assert main(words) == 2
    asked = parse(["demo", "--lora", "a", "--lora", "b:2"])
    assert asked.lora == ("a", "b:2")  # pyright: ignore[reportAttributeAccessIssue]


def test_what_ran_is_in_the_receipt(walk):
    code, receipt, _ = walk(*WALK[:-2], "--timesteps", "1000", "757", "522", "--fps", "12")
    assert code == 0
    ran = {name: receipt[name] for name in ("solver", "steps", "timesteps", "fps", "guidance_scale", "draft")}
    assert ran == {
        "solver": "dmd",
        "steps": 3,
        "timesteps": [1000, 757, 522],
        "fps": 12,
        "guidance_scale": 1.0,
        "draft": False,
    }
    assert receipt["negative_prompt"] is None
    assert receipt["seam"].keys() == {"step", "sharpness"}
    assert receipt["seam"]["step"] > 0


def test_a_stock_folder_is_sampled_as_its_authors_do(folder, here, walk):
    """model_index.json of diffusers' own pipeline: 24 frames per second, guidance 5, a negative prompt, 50 steps."""
    tiny_world().save_pretrained("stock")
    index = json.loads(Path("stock/model_index.json").read_text())
    names = ("default_steps", "fps", "guidance_scale", "negative_prompt", "noise_scale")
    kept = {name: value for name, value in index.items() if name not in names}
    Path("stock/model_index.json").write_text(json.dumps(kept | {"_class_name": "WanPipeline"}))
    assert main(["generate", *WALK, "--model", "stock", "--out", "s.mp4"]) == 0
    receipt = json.loads(Path("s.receipt.json").read_text())
    assert (receipt["fps"], receipt["guidance_scale"], receipt["steps"]) == (24, 5, 1)
    assert "JPEG" in receipt["negative_prompt"]
    ours = walk(*WALK)[1]
    assert (ours["fps"], ours["guidance_scale"], ours["negative_prompt"]) == (16, 1, None)


def test_a_receipt_runs_again_from_another_folder_and_after_a_move(walk, here, monkeypatch, capsys):
    save_cameras("path.txt", orbit(Camera.looking(aspect=1.5), 9), format="re10k")
    Path("out").mkdir()
    lora("one.safetensors", 1)
    words = ("--image", "picture.png", "--trajectory", "path.txt", "--steps", "1", "--lora", "one.safetensors:0.5")
    code, receipt, _ = walk(*words, out="out/a.mp4")
    assert code == 0
    assert receipt["request"]["walk"]["image"] == "../picture.png"
    assert receipt["request"]["walk"]["trajectory"] == "../path.txt"
    assert receipt["request"]["model"]["lora"] == ["../one.safetensors:0.5"]
    moved = here.rename(here.with_name("moved"))
    monkeypatch.chdir(moved.parent)
    assert main(["generate", "--again", "moved/out/a.receipt.json", "--out", "b.mp4"]) == 0
    assert "not the picture" not in capsys.readouterr().err
    assert torch.equal(load_video("b.mp4"), load_video("moved/out/a.mp4"))
    save_image("moved/picture.png", torch.zeros(3, 64, 96))
    assert main(["generate", "--again", "moved/out/a.receipt.json", "--out", "c.mp4"]) == 0
    assert "is not the picture of" in capsys.readouterr().err


def test_what_is_typed_counts_also_where_it_is_the_default(walk, here):
    assert walk(*WALK, "--memory", "none", "--static-filter")[0] == 0
    assert main(["generate", "--again", "a.receipt.json", "--memory", "latent", "--out", "b.mp4"]) == 0
    assert json.loads(Path("b.receipt.json").read_text())["memory"] == "latent"
    assert main(["generate", "--again", "a.receipt.json", "--out", "c.mp4"]) == 0
    assert json.loads(Path("c.receipt.json").read_text())["memory"] == "none"


def test_several_views_are_typed_behind_one_image(walk, here):
    path = orbit(Camera.looking(horizontal_fov=60, aspect=1.5), 3)
    for number in range(3):
        save_image(f"{number}.png", torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(number)))
    save_cameras("cameras.npz", path, format="npz")
    words = ("--image", "0.png", "1.png", "2.png", "--image-cameras", "cameras.npz")
    code, receipt, _ = walk(*words, *WALK[2:])
    assert code == 0
    assert [Path(view["file"]).name for view in receipt["views"]] == ["0.png", "1.png", "2.png"]
    assert receipt["image"]["sha256"] == receipt["views"][-1]["sha256"]
    assert receipt["image"]["field_of_view_from"] == "cameras"
    assert walk("--image", "2.png", *WALK[2:], out="one.mp4")[1]["chunks"][0]["points"] < receipt["chunks"][0]["points"]
    assert main(["generate", "--again", "a.receipt.json", "--out", "again.mp4"]) == 0
    assert torch.equal(load_video("again.mp4"), load_video("a.mp4"))


@pytest.mark.parametrize("kind", ["world", "mask"])
def test_an_interrupted_walk_from_a_world_and_with_a_mask_goes_on_to_the_bit(walk, here, monkeypatch, kind):
    if kind == "world":
        assert walk(*WALK, "--save-world", "w.safetensors", out="w.mp4")[0] == 0
        words = ("--world", "w.safetensors", "--trajectory", "right 40", "--steps", "1")
    else:
        with VideoWriter("mask.mkv", codec="ffv1") as video:
            video.write((torch.rand(41, 1, 64, 96, generator=torch.Generator().manual_seed(0)) > 0.7).float()
                        .expand(-1, 3, -1, -1))  # fmt: skip
        words = ("--image", "picture.png", "--trajectory", "right 40", "--steps", "1", "--static-mask", "mask.mkv")
    assert walk(*words, "--save-world", "b.safetensors", out="b.mp4")[0] == 0
    step, calls = Session.step, []

    def interrupted(self, *args, **choices):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return step(self, *args, **choices)

    monkeypatch.setattr(Session, "step", interrupted)
    code, _, err = walk(*words, "--save-world", "a.safetensors")
    assert code == 130
    assert "--resume" in err
    assert main(["generate", "--resume", "a.receipt.json"]) == 0
    assert torch.equal(load_video("a.mp4"), load_video("b.mp4"))
    assert Path("a.safetensors").read_bytes() == Path("b.safetensors").read_bytes()


def test_demo_keeps_the_rule_of_outputs(folder, here, capsys):
    words = ["demo", "--model", str(folder), "--steps", "1", "--chunks", "1", "--out", "demo"]
    Path("demo").mkdir()
    Path("demo/receipt.json").write_text("mine")
    assert main(words) == 2
    assert "there already" in capsys.readouterr().err
    assert Path("demo/receipt.json").read_text() == "mine"
    assert main([*words, "--overwrite"]) == 0
    assert json.loads(Path("demo/receipt.json").read_text())["lora"] == []


def test_what_fits_is_counted(folder, monkeypatch):
    """By the arithmetic of plan: nothing is wrong, an option fits, none does."""
    from mirage.cli import plan

    asked, cpu = ModelRequest(model=str(folder)), torch.device("cpu")
    assert "something else takes the rest" in what_fits(asked, device=cpu, size=None, frames=9)
    whole = plan._main_memory
    monkeypatch.setattr(plan, "_main_memory", lambda: 2**20)
    said = what_fits(replace(asked, tile=32), device=cpu, size=None, frames=9)
    assert "no option fits; a smaller --size may" in said
    monkeypatch.setattr(plan, "_main_memory", lambda: plan.CONTEXT + 27 * 2**30 // 10)
    said = what_fits(asked, device=cpu, size=(1280, 1920), frames=None)
    assert "what fits: --tile 320" in said, said
    assert whole() > 2**28


def test_a_strength_is_no_part_of_a_name():
    assert LoraSpec.parse("style.safetensors:0.8") == LoraSpec(Path("style.safetensors"), 0.8)
