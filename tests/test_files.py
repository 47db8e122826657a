"""The one rule of outputs, and that what killed writers leave goes."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import mirage
from mirage.cli import main
from mirage.errors import InputError
from mirage.files import Output, abandoned, check_outputs, claimed, replacing
from mirage.formats.cameras import save_cameras
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import orbit

SAVES = re.compile(r"(with [^\n]*(?:replacing|making)\((?:(?!\n *with ).)*?)\bsave_file\(", re.DOTALL)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("im.png").write_bytes(b"a picture")
    os.link("im.png", "hard.png")
    os.symlink("im.png", "soft.png")
    os.mkfifo("pipe.mp4")
    (tmp_path / "sub").mkdir()
    return tmp_path


@pytest.mark.parametrize("name", ["im.png", "./sub/../im.png", "hard.png", "soft.png", "pipe.mp4", "/dev/null"])
@pytest.mark.parametrize("overwrite", [True, False])
def test_no_output_is_an_input_or_no_file(here, name, overwrite):
    with pytest.raises(InputError):
        check_outputs(Output("world", Path(name)), inputs=["im.png"], overwrite=overwrite)
    assert Path("im.png").read_bytes() == b"a picture"


def test_no_two_outputs_are_one_file_and_suffixes_are_asked_for(here):
    with pytest.raises(InputError, match="one file"):
        check_outputs(Output("video", Path("g.mp4")), Output("world", Path("sub/../g.mp4")))
    with pytest.raises(InputError, match="accepted suffixes"):
        check_outputs(Output("video", Path("g.txt"), (".mp4", ".mov")))
    check_outputs(Output("video", Path("g.MP4"), (".mp4",)), None, inputs=[None, "im.png"])


@pytest.mark.parametrize("name", ["sub/in.png", "sub/deep/in.png", "hard.png"])
def test_an_input_that_is_a_folder_stands_for_every_file_in_it(here, name):
    Path("sub/deep").mkdir()
    Path("sub/deep/in.png").write_bytes(b"another")
    os.link("im.png", "sub/in.png")
    with pytest.raises(InputError, match="one file"):
        check_outputs(Output("map", Path(name)), inputs=["sub"], overwrite=True)
    check_outputs(Output("map", Path("sub/new.png")), inputs=["sub"])


READ = {
    "export w.safetensors --model model --cameras model/model_index.json --format tum": "model/model_index.json",
    "camera path.tum --images pictures --preview pictures/0.png": "pictures/0.png",
    "camera path.tum --images hard.png --preview im.png": "im.png",
    "camera cameras --out cameras --format colmap": "cameras/cameras.txt",
    "convert model --out model/dit.safetensors": "model/dit.safetensors",
    "bench efficiency --model model --plot model/map.png": "model/map.png",
    "demo --model model --out model": "model/demo.png",
}


@pytest.mark.parametrize("typed", READ)
def test_no_command_replaces_what_it_reads(here, typed, capsys):
    """Whatever option names it, alone or in a folder."""
    for name in ("model", "pictures"):
        Path(name).mkdir()
    for name in {"w.safetensors", *READ.values()} - {"im.png", "cameras/cameras.txt"}:
        Path(name).write_bytes(b"somebody's")
    path = orbit(Camera.looking(), 5)
    save_cameras("path.tum", path)
    save_cameras("cameras", path, format="colmap", size=(4, 6))
    before = {file: file.read_bytes() for file in here.rglob("*") if file.is_file()}
    assert main([*typed.split(), "--overwrite"]) == 2
    said = capsys.readouterr().err
    assert said.endswith("are one file; expected two\n")
    assert READ[typed] in said
    assert before == {file: file.read_bytes() for file in here.rglob("*") if file.is_file()}


def test_our_own_camera_folder_is_replaced_only_when_asked(here, capsys):
    save_cameras("path.tum", orbit(Camera.looking(), 5))
    words = ["camera", "path.tum", "--out", "cameras", "--size", "4", "6"]
    assert [main(words), main(words), main([*words, "--overwrite"])] == [0, 2, 0]
    assert "cameras/cameras.txt is there already" in capsys.readouterr().err


def test_what_is_there_is_replaced_only_when_asked(here):
    with pytest.raises(InputError, match="there already"):
        check_outputs(Output("picture", Path("im.png")))
    check_outputs(Output("picture", Path("im.png")), overwrite=True)


def test_a_second_claim_is_refused_and_nothing_stays(here):
    before = sorted(here.iterdir())
    with claimed("walk.mp4"), pytest.raises(InputError, match="being written"), claimed("sub/../walk.mp4"):
        pass
    with claimed("walk.mp4"):
        pass
    assert sorted(here.iterdir()) == before


def test_the_next_writer_sweeps_what_a_killed_one_left_and_nothing_else(here):
    Path(".w-mirage-abcdefgh.bin").touch()
    Path(".w-notours.bin").touch()
    with replacing("w.bin") as living, replacing("w.bin") as second:
        assert living.exists()
        assert not Path(".w-mirage-abcdefgh.bin").exists()
        assert not abandoned(Path("w.bin"))
        second.write_bytes(b"x")
    assert Path(".w-notours.bin").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from mirage.files import replacing
with replacing(sys.argv[1], alone=True) as beside:
    (beside.parent / ".tmpAbCdEf").write_bytes(b"a library's own")
    beside.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_library_that_makes_files_of_its_own_leaves_none_where_it_is_killed(here):
    Path("w.safetensors").write_bytes(b"old")
    assert subprocess.run([sys.executable, "-c", KILLED, "w.safetensors"]).returncode == -signal.SIGKILL
    assert Path("w.safetensors").read_bytes() == b"old"
    left = [path for path in here.iterdir() if path.name.startswith(".")]
    assert len(left) == 1
    assert not (here / ".tmpAbCdEf").exists()
    with replacing("w.safetensors", alone=True) as beside:
        beside.write_bytes(b"new")
    assert Path("w.safetensors").read_bytes() == b"new"
    assert not [path for path in here.iterdir() if path.name.startswith(".")]


def test_what_safetensors_has_just_written_is_not_taken_for_a_dead_ones(here):
    with replacing("w.safetensors", alone=True) as first:
        save_file({"a": torch.ones(3)}, first)  # renames a file of its own, which nobody has locked, over it
        with replacing("w.safetensors", alone=True) as second:
            save_file({"a": torch.zeros(3)}, second)
        assert first.exists()
    assert load_file("w.safetensors")["a"].sum() == 3
    assert Path("w.safetensors").stat().st_mode & 0o777 == Path("im.png").stat().st_mode & 0o777


def test_safetensors_always_writes_in_a_folder_for_itself():
    found = {}
    for path in Path(mirage.__file__).parent.rglob("*.py"):
        text = path.read_text()
        if calls := len(re.findall(r"\bsave_file\(", text)):
            found[path.name] = calls, sum("alone=True" in opened for opened in SAVES.findall(text))
    assert found.pop("convert.py") == (1, 0)  # whose folder is a new one as a whole
    assert len(found) > 6
    assert all(calls == alone for calls, alone in found.values()), found


def test_generate_keeps_its_inputs_and_what_was_there(here, capsys):
    for typed in ("--out g.mp4 --save-world im.png", "--out g.mp4 --save-world hard.png",
                  "--out g.mp4 --save-world g.mp4", "--out pipe.mp4", "--out old.mp4"):  # fmt: skip
        Path("old.mp4").write_bytes(b"an older video")
        assert main(["generate", "--image", "im.png", "--trajectory", "orbit", *typed.split()]) == 2
        said = capsys.readouterr().err
        assert (said.count("\n"), "another process" in said) == (1, False)
    assert Path("im.png").read_bytes() == b"a picture"
    assert Path("old.mp4").read_bytes() == b"an older video"
    assert not [path for path in here.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["n" * 300 + ".tum", "d/" * 3000 + "x.tum", "loop.tum/x.tum", "im.png/x.tum"])
def test_a_name_that_no_file_can_have_is_one_line(here, name, capsys):
    os.symlink("loop.tum", "loop.tum")
    save_cameras("path.tum", orbit(Camera.looking(), 5))
    for words in (["camera", name], ["camera", "path.tum", "--out", name]):
        code, said = main(words), capsys.readouterr().err
        assert (code, said.count("\n")) == (2, 1), said
        assert len(said) < 2000


def test_a_name_with_a_zero_in_it_is_refused(here):
    with pytest.raises(InputError):
        check_outputs(Output("world", Path("a\0b")), inputs=["im.png"])
    check_outputs(Output("world", Path("new")), inputs=["im\0.png"])  # which its reader refuses
