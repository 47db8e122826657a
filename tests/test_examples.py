"""Every example runs, as it is, with a tiny random model where it needs one; so does all Python in the docs."""

import re
import runpy
import shlex
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from mirage.cli import arguments
from mirage.formats.image import load_image, save_image
from mirage.formats.video import load_video
from mirage.models.tiny import tiny_world

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("[0-9]*.md"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(name, *argv):
        monkeypatch.setattr(sys, "argv", [name, *argv])
        return runpy.run_path(str(EXAMPLES / name))

    return call


@pytest.fixture
def tiny(tmp_path):
    model = tiny_world()
    assert model.memory_branch is not None
    generator = torch.Generator().manual_seed(0)
    for weight in model.memory_branch.parameters():  # a new branch is silent
        torch.nn.init.normal_(weight, std=0.1, generator=generator)
    model.save_pretrained(tmp_path / "tiny")
    return str(tmp_path / "tiny")


def test_every_example_is_tried_here_and_has_its_tutorial():
    tried = Path(__file__).read_text()
    examples = sorted(path.name for path in EXAMPLES.glob("*.py"))
    assert all(f'"{name}"' in tried for name in examples)
    shown = [re.findall(r'--8<-- "examples/(.*?)"', page.read_text()) for page in TUTORIALS]
    assert [name for names in shown for name in names] == examples
    assert [name[:2] for name in examples] == [page.name[:2] for page in TUTORIALS]


def test_memory_alone(run):
    left = run("01_memory_alone.py")
    known = left["readout"].mask.float().mean((1, 2))
    assert known[0] > 0.99  # where it was written, all is known
    assert known[3] < known[2] < known[1] < 1  # the further it turns the less
    assert load_image("memory_alone.png").shape[0] == 3


def test_first_walk_with_the_bundled_model(run):
    left = run("02_first_walk.py", "mini", "1")
    frames = load_video("first_walk.mp4")
    assert len(frames) == 33
    assert left["known"] > 0.5


def test_save_and_continue(run, tiny, capsys):
    left = run("03_save_and_continue.py", tiny)
    torch.testing.assert_close(left["on"].latents, left["same"].latents, atol=1e-4, rtol=0)
    assert capsys.readouterr().out.count("True") == 2


def test_undo_and_branch(run, tiny):
    left = run("04_undo_and_branch.py", tiny)
    assert torch.equal(left["again"].frames, left["ends"]["left"])
    assert not torch.equal(left["ends"]["left"], left["ends"]["right"])


def test_your_diffusers_loop(run):
    left = run("05_your_diffusers_loop.py")
    change = (left["latents"] - left["known"].latents) * left["known"].mask[:, None]
    assert change.abs().max() < 1e-5  # what is known comes through the loop as it was
    assert 0.5 < left["known"].mask.float().mean() < 1
    assert left["added"] < 0.5 * left["known"].mask.numel()  # only what was a hole is new
    assert len(left["chunk"].frames) == 9
    assert torch.equal(left["chunk"].latents[1:], left["drawn"][1:])


def test_your_memory(run, tiny):
    left = run("06_your_memory.py", tiny)
    readout = left["NearestFrame"](48).read(left["path"][:2], (4, 6))
    assert not readout.mask.any()
    assert len(left["memory"]) > 0


def test_your_depth(run, tiny, capsys):
    run("07_your_depth.py", tiny)
    said = capsys.readouterr().out.splitlines()
    scale = re.search(r"multiplied by ([\d.]+)", said[0])
    assert scale is not None
    assert float(scale[1]) == pytest.approx(2, abs=0.05)  # half the memory's scale is brought back to it
    assert len(said) == 3


def test_wan_guidance(run, capsys):
    run("08_wan_guidance.py")
    with_memory, without = (float(number) for number in re.findall(r"off by ([\d.]+)", capsys.readouterr().out))
    assert with_memory < 0.5 * without


def test_evaluate_rollouts(run, capsys):
    left = run("09_evaluate_rollouts.py")
    scores = {name: left["found"][name]["systems"]["rollout"]["psnr_c"] for name in left["rollouts"]}
    assert scores["remembers"] > scores["forgets"] + 10
    assert Path("outputs/revisit/report.md").is_file()


def test_train_a_depth_head(run, tiny):
    left = run("10_train_a_depth_head.py", tiny, "12")
    assert left["after"] < left["before"]
    assert Path("depth_head/config.json").is_file()


def test_an_environment(run, tiny, capsys):
    left = run("11_an_environment.py", tiny)
    for rewards in left["rewards"].values():
        assert not any(rewards[:-1])  # the loop comes back where it began at its end, and nowhere before
        assert rewards[-1] > 0
    assert "dB" in capsys.readouterr().out


def test_diffusers_call(run, tiny):
    left = run("12_diffusers_call.py", tiny, "1")
    assert [len(video) for video in (left["out"].frames[0], left["again"].frames[0])] == [17, 9]
    assert left["again"].session.memory.policy.max_bytes == 2**20
    assert len(load_video("diffusers_call.mp4")) == 17


def test_api_client(run, tmp_path, capsys):
    from mirage.serve.api import create_api
    from mirage.serve.kept import Kept, Limits
    from served import serving

    kept: list[Kept] = []

    def create(served):
        kept.append(Kept(served.sessions, tmp_path / "kept", Limits()))
        return create_api(served, kept[0])

    save_image("photo.jpg", torch.rand(3, 64, 96))
    with serving(tiny_world(), folder=tmp_path, create=create) as server:
        for picture in ([], ["photo.jpg"]):
            run("13_api_client.py", f"http://127.0.0.1:{server.port}", *picture)
            assert "undone to chunk 1" in capsys.readouterr().out
            assert len(load_video("api_client.mp4")) == 8
        assert not kept[0].awake
        assert not kept[0].asleep


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
    for page in ("world-file.md",):  # reads what was just saved
        (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), flags=re.DOTALL)
        exec(compile(code, page, "exec"), {})
        assert "camera-to-world" in capsys.readouterr().out


def test_every_block_of_python_in_the_docs_is_an_example_or_runs_above():
    for page in PAGES:
        if page.name == "training.md":
            continue  # how a recipe reads
        blocks = re.findall(r"```python.*?\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        others = [block for block in blocks if not block.startswith('--8<-- "examples/')]
        known = {"README.md": 1, "world-file.md": 1, "extending.md": 3}  # the last are run by test_plugins.py
        assert len(others) == known.get(page.name, 0), page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_the_docs_say_to_type_can_be_typed(page):
    for line in commands(page.read_text(encoding="utf-8")):
        program, *words = shlex.split(line, comments=True)
        if program == "mirage" and words and not {"...", "SUBCOMMAND", "--version"} & set(words):
            if "$" in line:
                continue  # in a loop of the shell
            with suppress(SystemExit):  # which a mistake raises, and help
                arguments.parse(words)
                continue
            assert "--help" in words, f"{page.name}: {line}"
        elif program == "python" and words[0].endswith(".py"):
            assert (ROOT / words[0]).is_file(), f"{page.name}: {line}"
        elif program == "make" and words:
            targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
            assert words[0] in targets, f"{page.name}: {line}"


def commands(text: str) -> list[str]:
    """Lines of blocks of code that are not Python's, joined where they go on."""
    blocks = re.findall(r"^```(?:\w*)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    blocks += re.findall(r"(?:^    \S.*\n(?:^     +\S.*\n)*)+", text, re.MULTILINE)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.split(" ")[0] in ("mirage", "python", "make")]
