"""What other packages bring by entry points is there under its name; the code of the page on extending is such one."""

import re
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
import torch

import mirage
import mirage.plugins
from helpers import refusal
from mirage import Camera, Request, Sampler, Session, Settings
from mirage.formats.cameras.readers import formats
from mirage.rollout.estimators import check_estimator
from mirage.rollout.memories import make_memory

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
GROUPS = {"mirage.memories": "latest", "mirage.depth_estimators": "flat", "mirage.camera_formats": "FORMAT"}


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """A package of the code that the page shows, installed as entry points are."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    (tmp_path / "their_package.py").write_text("\n".join(blocks[:3]))
    monkeypatch.syspath_prepend(str(tmp_path))
    declared = EntryPoints(
        EntryPoint(name, f"their_package:{what}", group)
        for group, what in GROUPS.items()
        for name in ["xyz" if what == "FORMAT" else what]
    )
    monkeypatch.setattr(mirage.plugins, "entry_points", lambda **chosen: declared.select(**chosen))
    formats.cache_clear()
    yield
    formats.cache_clear()


def test_they_are_there_by_name(theirs, model, image, tmp_path):
    session = Session(model, image, memory="latest", depth="flat", settings=Settings(sampler=Sampler(steps=1)))
    (chunk,) = session.follow(mirage.pan(session.camera, 5, degrees=5))
    assert chunk.readout.mask.any()
    assert set(chunk.depth.z.unique().tolist()) == {2.0}
    (tmp_path / "path.xyz").write_text("xyz\n0 0 0\n0 0 1\n")
    assert mirage.load_cameras(tmp_path / "path.xyz").center.tolist() == [[0, 0, 0], [0, 0, 1]]
    assert Request(image=tmp_path / "a.png", trajectory="orbit", memory="latest").memory == "latest"
    check_estimator("flat")


def test_without_them_their_names_are_refused(model):
    refusal(make_memory, "latest", model, words=["latest", "rgb-voxel"])
    refusal(check_estimator, "flat", words=["flat", "depth-pro"])
    refusal(Request, image=Path("a.png"), trajectory="orbit", memory="latest", words=["latest", "latent"])


def test_one_that_does_not_load_is_told(monkeypatch, model):
    lost = EntryPoints([EntryPoint("lost", "no_such_package:memory", "mirage.memories")])
    monkeypatch.setattr(mirage.plugins, "entry_points", lambda **chosen: lost.select(**chosen))
    refusal(make_memory, "lost", model, words=["no_such_package"])


def test_cameras_are_stacked_and_joined_back():
    path = mirage.orbit(Camera.looking(), 5)
    again = Camera.stack([path[n] for n in range(5)])
    assert torch.equal(again.c2w, path.c2w)
    assert torch.equal(again.intrinsics, path.intrinsics)
    refusal(Camera.stack, [path, path[0]], words=["one shape"])
    refusal(Camera.concatenate, [path[0]], words=["Camera.stack"])
