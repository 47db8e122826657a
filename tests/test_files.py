"""The one rule of outputs, and that what killed writers leave goes."""

import os
from pathlib import Path

import pytest

from mirage.cli import main
from mirage.errors import InputError
from mirage.files import Output, abandoned, check_outputs, claimed, replacing
from mirage.formats.cameras import save_cameras
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import orbit


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
