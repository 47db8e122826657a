"""Manifests are checked whole; results are whole; what is asked twice in one folder has to be the same."""

import json

import pytest

from helpers import random_image, refusal
from mirage.distributed.batch import run_batch
from mirage.distributed.crew import Crew
from mirage.distributed.manifest import read_manifest
from mirage.distributed.store import DONE, Store, scratch
from mirage.distributed.walks import Making, check
from mirage.errors import InputError
from mirage.formats.image import save_image
from mirage.request import ModelRequest

LINE = {"image": "a.png", "trajectory": "w 8", "frames": 9}


@pytest.fixture
def folder(tmp_path):
    save_image(tmp_path / "a.png", random_image())
    return tmp_path


def manifest(folder, *lines) -> str:
    path = folder / "m.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return str(path)


def test_lines_become_requests(folder):
    (folder / "way.txt").write_text("x")
    lines = [LINE, LINE | {"name": "attic", "trajectory": "way.txt", "seed": 3}]
    one, two = read_manifest(manifest(folder, lines[0], "", lines[1]))
    assert (one.name, two.name) == ("000000", "attic")
    with two.request() as request:
        assert (request.image, request.trajectory) == (folder / "a.png", str(folder / "way.txt"))
        assert request.seed == 3
    with one.request() as request:
        assert request.trajectory == "w 8"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], ["has no lines"]),
        (['{"image": "a.png", "seed": 1, "seed": 2}'], ["line 1", "'seed' is given twice"]),
        ([""], ["has no lines"]),
        (["{"], ["line 1 of m.jsonl is not JSON"]),
        (["[]"], ["line 1", "list"]),
        ([LINE, LINE | {"frames": 8}], ["line 2", "8"]),
        ([LINE | {"speed": 3}], ["line 1", "speed"]),
        ([LINE | {"name": "../up"}], ["'../up'"]),
        ([LINE | {"name": "failures.json"}], ["'failures.json'"]),
        ([LINE, LINE | {"name": "000000.task"}], ["line 2", "'000000.task'"]),
        ([LINE | {"name": "a"}, LINE | {"name": "a"}], ["line 1", "line 2", "'a'"]),
        ([LINE | {"steps": "many"}], ["line 1", "'many'"]),
    ],
)
def test_a_wrong_line_is_named(folder, lines, words):
    refusal(read_manifest, manifest(folder, *lines), words=words)


def test_nothing_runs_where_a_file_is_wrong(folder, saved, monkeypatch):
    """The last line's image is no image: the model is not even loaded."""
    (folder / "b.png").write_text("no image")
    path = manifest(folder, LINE, LINE | {"image": "b.png"})
    making = Making(ModelRequest(model=str(saved)), str(folder / "out"))
    monkeypatch.setattr("mirage.distributed.batch.drive", lambda *_, **__: pytest.fail("it ran"))
    with pytest.raises(InputError, match=r"line 2 of m.jsonl: .*b\.png"):
        list(run_batch(path, making, crew=Crew()))
    assert not (folder / "out").exists()
    (entry,) = read_manifest(manifest(folder, LINE | {"image": "none.png"}))
    refusal(check, entry, making, words=["line 1", "none.png"])


def test_what_is_done_stays_and_another_request_is_refused(folder, saved):
    path = manifest(folder, LINE)
    (entry,) = read_manifest(path)
    making = Making(ModelRequest(model=str(saved)), str(folder / "out"))
    with Store.of(making.out).making(entry.name) as beside:
        (beside / DONE).write_text(json.dumps({"asked": making.asked(entry)}))
    (at,) = run_batch(path, making, crew=Crew())  # no Ray is needed for nothing
    assert (at.found, at.done, at.failed) == (1, 1, {})
    words = ["000000", "another request", "seed"]
    refusal(lambda: list(run_batch(manifest(folder, LINE | {"seed": 1}), making, crew=Crew())), words=words)
    (folder / "out" / "mine").mkdir()
    (folder / "out" / "mine" / "letter.txt").write_text("dear")
    words = ["mine is there"]
    refusal(lambda: list(run_batch(manifest(folder, LINE | {"name": "mine"}), making, crew=Crew())), words=words)


def test_a_folder_comes_whole_or_not_at_all(tmp_path):
    store = Store.of(f"file://{tmp_path}/out")
    with pytest.raises(ZeroDivisionError), store.making("task") as beside:
        (beside / DONE).write_text(str(1 / 0))
    assert store.done() == {}
    assert list((tmp_path / "out").iterdir()) == []
    with store.making("task") as beside:
        (beside / DONE).write_text('{"a": 1}')
    assert store.done() == {"task": {"a": 1}}
    assert store.finished("task") == {"a": 1}
    assert store.finished("other") is None
    (tmp_path / "out" / "task" / DONE).write_text("[")
    refusal(store.done, words=[DONE, "not JSON"])


def test_a_url_without_its_package_and_scratch_folders():
    refusal(Store.of, "nowhere://bucket/x", words=["nowhere"])
    with scratch() as one:
        (one / "a").touch()
        with scratch() as other:
            assert one != other
        assert (one / "a").is_file()
    assert not one.exists()
