"""Builds timed in turn: stand-ins for their Pythons say when they were asked and what for."""

import json
import stat
import sys
from pathlib import Path

import pytest

from mirage.cli import main
from mirage.errors import InputError
from mirage.evaluation.options import GenerateOptions
from mirage.evaluation.speed.builds import Build, apart
from mirage.evaluation.speed.generating import run_generate

STAND_IN = """#!{python}
import os, sys, time
open({log!r}, "a").write({name!r} + " " + sys.argv[2] + "\\n")
if sys.argv[2] == "-m":
    assert "PYTHONPATH" not in os.environ and os.environ["OMP_NUM_THREADS"] == "1"
    held = bytearray({megabytes} << 20)
    time.sleep({seconds})
    out = sys.argv[sys.argv.index("--out") + 1]
    assert not os.path.exists(out)
    open(out, "w").write("a film")
else:
    print({decode})
sys.exit({code})
"""


def build(
    folder: Path, name: str, *, seconds: float = 0.0, megabytes: int = 1, decode: float = 1.0, code: int = 0
) -> Build:
    """One whose commands take so long and hold so much."""
    python = folder / name
    values = {"python": sys.executable, "log": str(folder / "log"), "name": name, "seconds": seconds}
    python.write_text(STAND_IN.format(**values, megabytes=megabytes, decode=decode, code=code))
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return Build(name, python)


def test_builds_take_turns_of_which_the_first_is_not_counted(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    builds = [build(tmp_path, "ours", decode=0.5), build(tmp_path, "theirs", seconds=0.6, megabytes=300, decode=2.0)]
    found = run_generate(builds, GenerateOptions(runs=2, frames=5, threads=1))["builds"]
    turn = ["ours -m", "ours -c", "theirs -m", "theirs -c"]
    assert (tmp_path / "log").read_text().splitlines() == 3 * turn
    ours, theirs = found["ours"], found["theirs"]
    assert [len(ours[name]) for name in ("seconds", "peak_bytes", "decode_seconds")] == [2, 2, 2]
    assert min(theirs["seconds"]) > 0.6
    assert min(theirs["peak_bytes"]) > max(ours["peak_bytes"]) + 200 * 2**20
    assert theirs["decode_times"] == 4.0
    assert theirs["times"] > 1
    assert "times" not in ours


def test_a_build_that_fails_says_so_in_its_own_last_line(tmp_path):
    with pytest.raises(InputError, match="theirs ended with exit code 3: it said nothing"):
        run_generate([build(tmp_path, "theirs", code=3)], GenerateOptions(runs=1, frames=5, threads=1))


def test_a_commit_that_git_does_not_know_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a hash, a tag or a branch"):
        Build.of_commit("no-such-commit", tmp_path)
    with pytest.raises(InputError, match="expected a hash, a tag or a branch"):
        Build.of_commit("--help", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [{"frames": 6}, {"runs": 0}, {"threads": 0}, {"image": Path("not-there.png")}])
def test_what_cannot_be_measured_is_refused(wrong):
    with pytest.raises(InputError):
        GenerateOptions(**wrong)


def test_the_command_prints_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Build, "running", lambda: build(tmp_path, "ours"))
    assert main(["bench", "generate", "--runs", "1", "--frames", "5", "--threads", "1", "--json"]) == 0
    said = capsys.readouterr().out
    assert "| ours" in said
    assert json.loads(said.splitlines()[-1])["builds"]["ours"]["decode_seconds"] == [1.0]
    assert main(["bench", "generate", "--builds", str(tmp_path)]) == 2


def test_another_build_sees_none_of_our_paths(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "src")
    assert "PYTHONPATH" not in apart(None)
    assert apart(3)["NUMBA_NUM_THREADS"] == "3"
