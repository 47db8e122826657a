"""`mirage prepare --ray`: the clips are those that one process makes; what cannot be used is left out by its name."""

import importlib.util
import json
import os
import sys

import pytest
import torch
from safetensors.torch import load_file

from helpers import random_image
from mirage.cli import main
from mirage.distributed.guard import MARK
from mirage.formats.cameras import save_cameras
from mirage.formats.video import save_video
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import pan

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture
def footage(tmp_path):
    folder = tmp_path / "footage"
    folder.mkdir()
    for name in ("a", "b", "poseless"):
        save_video(folder / f"{name}.mkv", torch.stack([random_image(seed=n) for n in range(9)]))
        if name != "poseless":
            save_cameras(folder / f"{name}.npz", pan(Camera.looking(aspect=1.5), 9), format="npz")
    return folder


def test_the_work_is_shared_in_one_way(footage, saved, tmp_path, capsys):
    argv = ["prepare", str(footage), "--out", str(tmp_path / "out"), "--model", str(saved), "--frames", "9"]
    assert main([*argv, "--ray", "local", "--processes", "2"]) == 2
    assert "--ray and --processes" in capsys.readouterr().err


@pytest.mark.slow
def test_clips_of_several_processes_are_those_of_one(footage, saved, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.delenv(MARK, raising=False)
    argv = ["prepare", str(footage), "--model", str(saved), "--frames", "9", "--json"]
    for name, more in (("alone", []), ("shared", ["--ray", "local", "--replicas", "2"])):
        assert main([*argv, "--out", str(tmp_path / name), *more]) == 0
        said = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (said["clips"], said["skipped"], said["failed"]) == (2, 1, {})
    for clip in (tmp_path / "alone").glob("clip-*.safetensors"):
        mine, theirs = (load_file(tmp_path / name / clip.name) for name in ("alone", "shared"))
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)
