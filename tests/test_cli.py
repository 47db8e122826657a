"""The command line does what its help says, on a tiny random world: files, numbers, exit codes."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData

from mirage.cli import main
from mirage.cli.kept import pictures
from mirage.evaluation.folder import save_frames
from mirage.formats.cameras import load_cameras, save_cameras
from mirage.formats.image import load_image, save_image
from mirage.formats.video import load_video
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import orbit
from mirage.memory.worldfile import load_world
from mirage.models.tiny import tiny_world
from mirage.rollout import Session

SIZE = (64, 96)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    tiny_world().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder to stand in, with a picture and a path of 16 poses beside it."""
    smooth = torch.nn.functional.interpolate(
        torch.rand(1, 3, 4, 6, generator=torch.Generator().manual_seed(0)), (96, 144), mode="bicubic"
    )[0].clamp(0, 1)
    given = tmp_path / "given"
    given.mkdir()
    save_image(given / "picture.png", smooth)
    save_cameras(given / "path.txt", orbit(Camera.looking(aspect=1.5), 16, degrees=20), format="re10k")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return given


@pytest.fixture
def walk(model, place, capsys):
    """Runs `mirage generate` with more options; (exit code, the JSON line, all of stdout, stderr)."""

    def run(*more, image=True):
        argv = ["generate", "--model", model, "--json", "--steps", "1"]
        code = main([*argv, *(["--image", str(place / "picture.png")] if image else []), *more])
        said = capsys.readouterr()
        return code, json.loads(said.out.splitlines()[-1]) if code != 2 else None, said.out, said.err

    return run


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_one_frame_per_pose_cut_to_1_4k_and_said(walk, place, tmp_path):
    code, told, out, err = walk("--trajectory", str(place / "path.txt"), "--out", "walk.mp4")
    assert code == 0
    assert [line.split(",")[0].split(": ")[1] for line in err.splitlines()] == ["chunk 1 of 2", "chunk 2 of 2"]
    assert "left" in err
    assert "16 poses" in out
    assert told["frames"] == 13
    assert load_video("walk.mp4").shape == (13, 3, *SIZE)
    assert names(tmp_path / "here") == ["walk.mp4", "walk.receipt.json", "walk.sheet.png"]


def test_the_first_frame_is_the_picture(walk, place):
    walk("--trajectory", "orbit", "--frames", "5", "--out", "walk.mkv")
    first = load_video("walk.mkv")[0].float() / 255
    picture = torch.nn.functional.interpolate(load_image(place / "picture.png")[None], SIZE, mode="area")[0]
    assert (first - picture).square().mean() < 1e-3


def test_the_receipt_adds_up(walk):
    code, told, _, _ = walk("--trajectory", "w 16", "--out", "walk.mp4", "--seed", "5")
    receipt = json.loads(Path("walk.receipt.json").read_text())
    chunks = receipt["chunks"]
    assert (code, receipt["seed"], receipt["frames"]) == (0, 5, 17)
    assert sum(chunk["frames"] for chunk in chunks) == 17
    assert chunks[-1]["points"] == told["points"] > 0
    assert chunks[-1]["memory_bytes"] == told["memory_bytes"] > 0
    assert {"read", "denoise", "depth", "write", "decode"} <= chunks[0]["seconds"].keys()
    assert sum(sum(chunk["seconds"].values()) for chunk in chunks) <= receipt["seconds"]["walk"]
    assert receipt["peak_memory_bytes"] > 1e8
    assert "torch" in receipt["versions"]
    assert {"scale", "residual", "overlap", "accepted"} <= chunks[0]["scale_lock"].keys()


def test_same_seed_same_video_bit_for_bit(walk):
    files = []
    for name, seed in (("a.mp4", "1"), ("b.mp4", "1"), ("c.mp4", "2")):
        walk("--trajectory", "pan", "--frames", "9", "--out", name, "--seed", seed)
        files.append(Path(name).read_bytes())
    assert files[0] == files[1]
    assert files[0] != files[2]


def test_without_memory_nothing_is_remembered(walk):
    code, told, _, _ = walk("--trajectory", "pan", "--frames", "9", "--out", "w.mp4", "--memory", "none")
    assert (code, told["points"], told["memory_bytes"]) == (0, 0, 0)


def test_guidance_and_prompts_by_chunk(walk, place):
    (place / "prompts.txt").write_text("chunk 0: a red room\nframe 12: walls\n")
    common = ("--trajectory", "w 16", "--conditioning", "guidance", "--prompts", str(place / "prompts.txt"))
    code, _, _, _ = walk(*common, "--out", "a.mp4", "--cache", "0.05", "--flow-shift", "3")
    assert code == 0
    receipt = json.loads(Path("a.receipt.json").read_text())
    assert receipt["prompts"] == {"0": "a red room", "1": "walls"}
    assert (receipt["conditioning"], receipt["flow_shift"], receipt["cache"]) == ("guidance", 3.0, 0.05)
    for name, negative in (("b.mp4", "with"), ("c.mp4", "walls")):
        walk(*common, "--out", name, "--guidance-scale", "5", "--negative-prompt", negative)
    assert not torch.equal(load_video("b.mp4"), load_video("c.mp4"))


def test_drafts_and_calmer_noise_are_asked_for_and_told(walk):
    """A model drafts and begins with the noise that it was made for, unless it is asked otherwise."""
    videos, asked = {}, {}
    for name, options in (("plain", ()), ("off", ("--draft", "off")), ("on", ("--draft", "on")),
                          ("calm", ("--noise-scale", "0.5"))):  # fmt: skip
        assert walk("--trajectory", "pan", "--frames", "9", "--out", f"{name}.mp4", *options)[0] == 0
        receipt = json.loads(Path(f"{name}.receipt.json").read_text())
        videos[name], asked[name] = load_video(f"{name}.mp4"), (receipt["draft"], receipt["noise_scale"])
    assert asked == {"plain": (False, 1.0), "off": (False, 1.0), "on": (True, 1.0), "calm": (False, 0.5)}
    assert torch.equal(videos["plain"], videos["off"])
    assert not torch.equal(videos["plain"], videos["calm"])


def test_a_budget_is_kept_in_every_chunk(walk):
    code, _, _, _ = walk("--trajectory", "w 8, right 24", "--out", "w.mp4", "--memory-budget", "64KiB")
    assert code == 0
    chunks = json.loads(Path("w.receipt.json").read_text())["chunks"]
    assert all(chunk["memory_bytes"] <= 64 * 1024 for chunk in chunks)


def test_a_saved_world_goes_on_where_it_ended(walk):
    code, before, _, _ = walk("--trajectory", "w 8", "--out", "a.mp4", "--save-world", "w.safetensors")
    assert code == 0
    code, after, _, _ = walk("--trajectory", "right 8", "--out", "b.mp4", "--world", "w.safetensors", image=False)
    assert code == 0
    assert after["frames"] == len(load_video("b.mp4")) == 8  # not the pose where it stood: a.mp4 ends with that
    assert after["points"] >= before["points"]


def test_depth_sets_the_scale(walk, place):
    np.save(place / "near.npy", np.full((96, 144), 1.0, dtype=np.float32))
    np.save(place / "far.npy", np.full((96, 144), 5.0, dtype=np.float32))
    medians = []
    for name in ("near", "far"):
        code, *_ = walk(
            "--trajectory",
            "pan",
            "--frames",
            "5",
            "--out",
            f"{name}.mp4",
            "--depth",
            str(place / f"{name}.npy"),
            "--save-world",
            f"{name}.safetensors",
        )
        assert code == 0
        points = load_world(f"{name}.safetensors")[0].points
        medians.append(points.position[points.frame == 0][:, 2].median().item())
    assert medians == pytest.approx([1.0, 5.0], rel=1e-3)


def test_real_rgbd_frame_with_depth_and_real_path(walk, data_dir, model, capsys):
    frame = data_dir / "rgbd_7scenes" / "frame-000000"
    code = main(
        [
            "generate",
            "--model",
            model,
            "--steps",
            "1",
            "--image",
            f"{frame}.color.jpg",
            "--depth",
            f"{frame}.depth.png",
            "--trajectory",
            str(data_dir / "re10k_poses" / "0bf152ef84195293.txt"),
            "--out",
            "w.mp4",
        ]
    )
    assert code == 0
    assert len(load_video("w.mp4")) == 13


def test_pictures_for_the_sheet_do_not_keep_their_chunk():
    frames = torch.rand(5, 3, 8, 12)
    chosen = pictures(frames, {3, 11, 14, 15}, first=10)
    assert len(chosen) == 2
    for picture, frame in zip(chosen, frames[[1, 4]], strict=True):
        assert torch.equal(picture, frame)
        assert picture.untyped_storage().nbytes() == frame.numel() * 4


@pytest.mark.parametrize("beside", [False, True])
def test_ctrl_c_leaves_a_playable_video_of_what_is_done(walk, monkeypatch, tmp_path, beside):
    step, calls = Session.step, []
    monkeypatch.setattr("mirage.cli.generate.overlaps", lambda model: beside)

    def interrupted(self, *args, **choices):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return step(self, *args, **choices)

    monkeypatch.setattr(Session, "step", interrupted)
    code, told, _, err = walk("--trajectory", "w 32", "--out", "w.mp4", "--save-world", "w.safetensors")
    assert code == 130
    assert told["stopped"]
    assert told["frames"] == len(load_video("w.mp4")) == 17
    assert len([line for line in err.splitlines() if not line.startswith("mirage: chunk ")]) == 1
    assert "w.safetensors" in err.splitlines()[-1]
    assert names(tmp_path / "here") == [
        "w.mp4",
        "w.receipt.json",
        "w.resume.safetensors",
        "w.safetensors",
        "w.sheet.png",
    ]
    monkeypatch.setattr(Session, "step", step)
    whole = walk("--trajectory", "w 16", "--out", "v.mp4", "--save-world", "v.safetensors")
    assert whole[0] == 0
    stopped, finished = (load_world(f"{name}.safetensors") for name in "wv")  # it ends where its video does
    assert torch.equal(stopped[1]["latents"], finished[1]["latents"])
    assert torch.equal(stopped[0].points.feature, finished[0].points.feature)


def test_a_receipt_is_run_again_with_what_is_typed_in_its_place(walk, place, capsys):
    walk("--trajectory", "pan", "--frames", "9", "--out", "a.mp4", "--seed", "7", "--noise-scale", "0.5")
    assert main(["generate", "--again", "a.receipt.json", "--out", "b.mp4"]) == 0
    assert torch.equal(load_video("a.mp4"), load_video("b.mp4"))
    assert main(["generate", "--again", "b.receipt.json", "--out", "c.mp4", "--seed", "8"]) == 0
    assert not torch.equal(load_video("a.mp4"), load_video("c.mp4"))
    receipts = [json.loads(Path(f"{name}.receipt.json").read_text())["request"] for name in "abc"]
    assert receipts[0] == receipts[1]
    assert receipts[2]["walk"] == receipts[0]["walk"] | {"seed": 8}
    capsys.readouterr()
    for wrong in ("{}", "[]", '{"request": {"walk": {"stepz": 1}, "model": {}}}', "no json"):
        Path("wrong.receipt.json").write_text(wrong)
        assert main(["generate", "--again", "wrong.receipt.json", "--out", "d.mp4"]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_decoding_beside_denoising_changes_nothing_in_the_video(walk, monkeypatch):
    """As on a GPU."""
    walk("--trajectory", "w 32", "--out", "a.mp4")
    monkeypatch.setattr("mirage.cli.generate.overlaps", lambda model: True)
    walk("--trajectory", "w 32", "--out", "b.mp4")
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()


def test_ctrl_c_before_the_first_chunk_leaves_nothing(walk, monkeypatch, tmp_path, model, place, capsys):
    monkeypatch.setattr(Session, "step", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    code = main(
        ["generate", "--model", model, "--image", str(place / "picture.png"), "--trajectory", "w 8", "--out", "w.mp4"]
    )
    assert code == 130
    assert capsys.readouterr().err.count("\n") == 1
    assert names(tmp_path / "here") == []


def test_camera_tells_and_converts(place, capsys, tmp_path):
    assert main(["camera", str(place / "path.txt"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["frames"] == 16
    assert told["turn"] == pytest.approx(20, abs=1e-3)
    argv = ["camera", str(place / "path.txt"), "--out", "model", "--format", "colmap", "--size", "480", "640"]
    assert main(argv) == 0
    back = load_cameras("model")
    torch.testing.assert_close(back.c2w, load_cameras(place / "path.txt").c2w, atol=1e-5, rtol=0)


def test_a_world_is_inspected_and_exported(walk, model, capsys):
    _, told, _, _ = walk("--trajectory", "w 8", "--out", "a.mp4", "--save-world", "w.safetensors", "--prompt", "a room")
    assert main(["inspect", "w.safetensors", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["points"] == told["points"]
    assert found["frames"] == 3  # frames 0, 4, 8
    assert all(a <= b for a, b in zip(found["extent"]["low"], found["extent"]["high"], strict=True))
    assert all(0 < share <= 1 for share in found["coverage"])
    assert load_image("w.map.png").shape[0] == 3
    assert main(["export", "w.safetensors", "--ply", "w.ply", "--cameras", "cams.json", "--format", "nerfstudio"]) == 0
    assert PlyData.read("w.ply")["vertex"].count == told["points"]
    assert len(load_cameras("cams.json")) == 3
    assert main(["export", "w.safetensors", "--ply", "true.ply", "--model", model]) == 0
    assert {"red", "nx"} <= {column.name for column in PlyData.read("true.ply")["vertex"].properties}


def test_demo_shows_both_walks(model, place, capsys, tmp_path):
    assert main(["demo", "--model", model, "--steps", "1", "--out", "demo", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["return_psnr"].keys() == {"with memory", "without memory"}
    assert names(tmp_path / "here" / "demo") == [
        "demo.png",
        "receipt.json",
        "truth.mp4",
        "with_memory.mp4",
        "without_memory.mp4",
    ]
    assert len(load_video("demo/with_memory.mp4")) == told["frames"] == 25


def test_evaluate_synthetic_goes_on_where_it_was(model, place, capsys):
    argv = [
        "evaluate",
        "synthetic",
        "--model",
        model,
        "--scenes",
        "1",
        "--chunks",
        "1",
        "--steps",
        "1",
        "--out",
        "e",
        "--memories",
        "latent",
        "none",
        "--json",
    ]
    told = []
    for _ in range(2):
        assert main(argv) == 0
        told.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
    assert told[0] == told[1]
    assert told[0]["return"].keys() == {"latent", "none"}


@pytest.mark.parametrize("which", ["unseen --chunks 1 --gaps 4 --moves pan", "prompted --colours red blue"])
def test_evaluate_what_was_never_seen(which, model, place, capsys):
    name, *more = which.split()
    argv = ["evaluate", name, *more, "--model", model, "--scenes", "1", "--steps", "1", "--out", "u", "--json"]
    assert main(argv) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["failures"] == {}
    assert told.keys() >= ({"camera", "latents"} if name == "unseen" else {"accuracy", "kept_psnr"})


@pytest.mark.parametrize(
    "words",
    [
        "",
        "generate",
        "camera",
        "inspect",
        "export",
        "bench",
        "bench memory",
        "evaluate",
        "evaluate synthetic",
        "evaluate revisit",
        "evaluate real",
        "evaluate photos",
        "evaluate re10k",
        "evaluate unseen",
        "evaluate prompted",
        "evaluate worldscore",
        "bench efficiency",
        "train",
        "demo",
    ],
)
def test_every_subcommand_has_help(words, capsys):
    assert main([*words.split(), "--help"]) == 0
    said = capsys.readouterr()
    assert "usage: mirage" in said.out
    assert said.err == ""
    if words and words not in ("bench", "evaluate"):
        assert "(default: " in said.out


def test_a_failed_task_is_listed_and_exits_with_1(place, capsys):
    assert main(["evaluate", "revisit", str(place), "--out", "r", "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1])["failures"].keys() == {"given"}
    assert said.err.count("\n") == 1


def test_evaluate_re10k_on_its_own_clips_and_again_on_what_it_made(model, place, capsys):
    save_frames(place / "path", torch.rand(16, 3, 64, 96, generator=torch.Generator().manual_seed(0)))
    every = ["evaluate", "re10k", str(place), "--json"]
    argv = [*every, "--frames", "5"]
    assert main([*argv, "--model", model, "--steps", "1", "--out", "r"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["scores"]["psnr"]["n"] == told["scores"]["psnr_c"]["n"] == 1
    assert "no weights" in told["lpips"]
    assert Path("r/path/sheet.png").is_file()
    assert main([*argv, "--generated", "r", "--size", *map(str, SIZE), "--out", "again"]) == 0
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert again["scores"]["psnr"] == told["scores"]["psnr"]
    assert main([*argv, "--generated", "r", "--out", "other"]) == 2
    assert main([*every, "--model", model, "--frames", "33", "--out", "long"]) == 1  # the clip has 16 frames


def test_evaluate_worldscore_writes_the_official_folders(model, place, capsys):
    rows = [
        {
            "visual_style": "photorealistic",
            "scene_type": "indoor",
            "camera_path": ["push_in", "pan_left"],
            "image": f"WorldScore-Dataset/static/images/room/{name}.png",
            "prompt_list": ["a", "b", "c"],
            "style": "photo",
        }
        for name in ("there", "missing")
    ]
    (place / "static" / "images" / "room").mkdir(parents=True)
    (place / "static" / "static.json").write_text(json.dumps(rows))
    home = (place / "picture.png").rename(place / "static" / "images" / "room" / "there.png").parents[3]
    home = home.rename(home.with_name("WorldScore-Dataset"))
    argv = ["evaluate", "worldscore", str(home), "--model", model, "--frames", "5", "--steps", "1", "--out", "w"]
    for _ in range(2):  # the second run finds the first one's work
        assert main([*argv, "--json"]) == 1
        said = capsys.readouterr()
        told = json.loads(said.out.splitlines()[-1])
        assert told["generated"] == 1
        assert told["failures"].keys() == {"static/photorealistic/indoor/room/missing"}
        assert said.err.count("\n") == 1
    made = Path("w/worldscore_output/static/photorealistic/indoor/room/there")
    assert len(names(made / "frames")) == 9
    assert names(made) == ["camera_data.json", "frames", "image_data.json", "input_image.png", "time.txt", "videos"]
    assert main([*argv[:-1], "x", "--frames", "6"]) == 2


@pytest.mark.parametrize("memory", ["rgb", "frames"])
def test_a_walk_with_another_memory(walk, memory):
    code, told, _, _ = walk("--trajectory", "w 8", "--out", "walk.mp4", "--memory", memory)
    assert code == 0
    assert (told["points"] > 0) == (memory == "rgb")


def test_bench_efficiency_tells_and_draws(model, tmp_path, capsys):
    plot = tmp_path / "efficiency.png"
    assert (
        main(["bench", "efficiency", "--model", model, "--chunks", "1", "--steps", "1", "--json", "--plot", str(plot)])
        == 0
    )
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(told["stages"]) == {"latent", "rgb"}
    assert told["peak_memory_bytes"] > 0
    assert load_image(plot).shape[0] == 3
