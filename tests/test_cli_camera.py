"""`mirage camera`: what a person sees of a camera file, and what a machine reads of it."""

import json
from pathlib import Path

import pytest

from mirage.cli import main

SIDEWAYS = ("tartanair_ned/pose_left.txt", "--axes", "opencv")


def said(capsys: pytest.CaptureFixture[str]) -> tuple[list[str], dict]:
    lines = capsys.readouterr().out.splitlines()
    return lines[:-1], json.loads(lines[-1])


def test_every_case_is_told_or_refused_in_one_line(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = data_dir / "cameras"
    paths = [
        path for path in sorted(cases.glob("*/*")) if path.suffix in (".txt", ".json", ".npz", ".npy", ".csv", ".log")
    ]
    paths += [cases / "scannet", *cases.glob("colmap_*")]
    codes = []
    for path in paths:
        codes.append(main(["camera", str(path), "--json"]))
        out, err = capsys.readouterr()
        if codes[-1] == 0:
            told = json.loads(out.splitlines()[-1])
            assert told["frames"] > 0
            assert told["pose"] in ("c2w", "w2c")
            assert told["confidence"] in ("stated", "usual", "ambiguous")
            assert told["intrinsics"] in ("normalized", "pixels", None)
            assert {"right", "down", "forward", "turned"} <= told["ends"].keys()
            assert len(told["warnings"]) == out.count("warning:")
        else:
            assert codes[-1] == 2
            assert err.count("\n") == 1
    assert codes.count(0) > 25


def test_options_say_what_a_file_cannot(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = data_dir / "cameras"
    assert main(["camera", str(cases / SIDEWAYS[0]), *SIDEWAYS[1:], "--json"]) == 0
    lines, told = said(capsys)
    assert told["ends"]["right"] == pytest.approx(1.6)
    assert any("ned or ros" in line for line in lines) == (told["confidence"] != "stated")
    assert main(["camera", str(cases / "tum_wxyz/pred_traj.txt"), "--quaternion", "xyzw", "--json"]) == 0
    assert said(capsys)[1]["ends"]["forward"] == pytest.approx(-1.6)
    assert main(["camera", str(cases / "colmap_rig_two_cameras"), "--camera", "cam2", "--json"]) == 0
    assert said(capsys)[1]["frames"] == 3
    assert main(["camera", str(cases / "scannet"), "--bridge-lost", "--json"]) == 0
    assert said(capsys)[1]["frames"] == 12
    both = str(cases / "ns_both_focal/transforms.json")
    assert main(["camera", both]) == 2
    assert main(["camera", both, "--read-as", "nerfstudio", "--json"]) == 0


def test_a_file_without_cameras(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("to do: buy milk\n")
    assert main(["camera", str(tmp_path / "notes.txt")]) == 2
    assert main(["camera", str(tmp_path)]) == 2
    assert main(["camera", str(tmp_path / "nothing.json")]) == 2
    assert capsys.readouterr().err.count("\n") == 3
