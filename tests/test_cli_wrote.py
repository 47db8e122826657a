"""No message says that a file was written which is not there: one place says it, and looks."""

import ast
from pathlib import Path

import pytest

import mirage.cli
from mirage.cli import main
from mirage.cli.terminal import Wrote
from mirage.formats.cameras import save_cameras
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import orbit

COMMANDS = Path(mirage.cli.__file__).parent


def test_one_place_says_it():
    says = {
        path.name
        for path in COMMANDS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("print")
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and str(part.value).lstrip().startswith(("wrote", "drew", "saved", "made "))
    }
    assert says == {"terminal.py"}


def test_it_is_said_of_what_was_written_and_of_nothing_else(tmp_path, capsys):
    new, old, folder = tmp_path / "new", tmp_path / "old", tmp_path / "folder"
    old.write_text("x")
    folder.mkdir()
    wrote = Wrote(new, None, old, folder)
    for write, missing in (
        (lambda: new.write_text(""), [new, old, folder]),
        (lambda: (folder / "inside").write_text(""), [old, folder]),
        (lambda: new.rename(old), [old]),
        (lambda: new.write_text("again"), [new]),
    ):
        with pytest.raises(RuntimeError) as error:
            wrote("them")
        assert str(error.value).startswith(", ".join(map(str, missing)) + ": ")
        assert not capsys.readouterr().out
        write()
    wrote("them")
    assert capsys.readouterr().out == "wrote them\n"


@pytest.mark.parametrize("before", [False, True])
def test_a_writer_that_writes_nothing_is_a_fault(before, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("path.tum", "out.tum") if before else ("path.tum",):
        save_cameras(name, orbit(Camera.looking(), 5))
    monkeypatch.setattr("mirage.cli.camera.save_cameras", lambda *_, **__: ())
    with pytest.raises(RuntimeError, match=r"out\.tum: not written"):
        main(["camera", "path.tum", "--out", "out.tum", "--overwrite"])
    assert "wrote" not in capsys.readouterr().out
