"""Every `>>>` in src runs, with the tiny model where it loads one and a short walk where it walks.

An example that cannot run here (weights, minutes, a GPU) is an indented block without `>>>`.
"""

import doctest
import importlib
from pathlib import Path

import pytest
import torch

import mirage
from helpers import random_image, walls
from mirage.geometry.camera import Camera
from mirage.geometry.grid import cell_centers
from mirage.geometry.trajectory import dolly, orbit
from mirage.models import loading
from mirage.models.tiny import tiny_world

SOURCE = Path(__file__).resolve().parents[1] / "src"
WITH = [path for path in sorted(SOURCE.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """What examples speak of without making it: a picture, a camera, a clip of it with its depth, a model's folder."""
    model = tiny_world()
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    camera = Camera.looking(aspect=model.size[1] / model.size[0])
    path = dolly(camera, 5, distance=0.1)
    grid = (4, 6)
    return {
        "mirage": mirage,
        "torch": torch,
        "load_world_model": lambda name: model,
        "image": random_image(model.size, seed=0),
        "frames": torch.rand(5, 3, *model.size, generator=torch.Generator().manual_seed(1)),
        "path": path,
        "camera": path[::4],  # one per latent frame
        "elsewhere": path[1:3],
        "latents": torch.zeros(2, 48, *grid),
        "depth": walls(2, grid),
        "folder": folder,
        "show": lambda frames: None,
        "orbit": lambda camera, frames: orbit(camera, 5),
        "cell_centers": cell_centers,
    }


@pytest.mark.parametrize("path", WITH, ids=lambda path: str(path.relative_to(SOURCE)))
def test_examples_run(path, names, monkeypatch):
    monkeypatch.setattr(loading, "load_world_model", names["load_world_model"])
    module = importlib.import_module(".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"))
    cameras = {"__init__": names["path"][0], "pipeline": names["path"]}
    given = module.__dict__ | names | {"camera": cameras.get(path.stem, names["camera"])}
    said: list[str] = []
    tests = [test for test in doctest.DocTestFinder(exclude_empty=True).find(module, globs=given) if test.examples]
    assert tests, f"{path} has a >>> that doctest does not find"
    for test in tests:
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
    assert not said, "".join(said)


def test_a_wrong_example_is_found():
    said: list[str] = []
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    assert doctest.DocTestRunner().run(test, out=said.append).failed == 1
