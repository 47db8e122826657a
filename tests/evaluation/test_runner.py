"""The runner: each task once, what is done stays done, failures are told; tables; rollout folders."""

import json
import math
import threading
import time

import pytest
import torch

from mirage.errors import InputError
from mirage.evaluation.folder import load_rollout, save_rollout
from mirage.evaluation.report import PUBLISHED, Summary, markdown_table, plain, published_table, summarised
from mirage.evaluation.runner import Outcome, Task, run_tasks, write_results
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import orbit, pan


def test_a_run_that_was_broken_off_goes_on_where_it_stopped(tmp_path) -> None:
    ran: list[str] = []
    broken = True

    def work(name: str):
        def run(folder):
            ran.append(name)
            if name == "b" and broken:
                raise KeyboardInterrupt
            (folder / "left.txt").write_text(name)
            return {"score": len(ran)}

        return run

    tasks = [Task(name, work(name)) for name in ("a", "b", "c/d")]
    with pytest.raises(KeyboardInterrupt):
        run_tasks(tasks, tmp_path / "out", options={"seed": 1})
    broken = False
    seen = []
    outcome = run_tasks(tasks, tmp_path / "out", options={"seed": 1}, progress=lambda *at: seen.append(at))
    assert ran == ["a", "b", "b", "c/d"]
    assert outcome.results == {"a": {"score": 1}, "b": {"score": 3}, "c/d": {"score": 4}}
    assert seen == [("a", 1, 3), ("b", 2, 3), ("c/d", 3, 3)]
    assert not outcome.failures
    assert run_tasks(tasks, tmp_path / "out", options={"seed": 1}) == outcome
    with pytest.raises(InputError, match="differing: seed"):
        run_tasks(tasks, tmp_path / "out", options={"seed": 2})


def test_two_runs_in_one_folder_share_the_tasks(tmp_path) -> None:
    ran: list[str] = []
    tasks: list[Task] = []

    def work(name: str):
        def run(folder):
            ran.append(name)
            if name == "a":  # while the first run is at a, a second one begins: it leaves a alone, and waits for it
                other = threading.Thread(target=lambda: outcomes.append(run_tasks(tasks, tmp_path, options={})))
                other.start()
                while ran != ["a", "b", "c"]:
                    time.sleep(0.01)
            return {"name": name}

        return run

    outcomes: list[Outcome] = []
    tasks += [Task(name, work(name)) for name in ("a", "b", "c")]
    outcome = run_tasks(tasks, tmp_path, options={})
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(20)
    assert ran == ["a", "b", "c"]
    assert outcomes == [outcome]
    assert list(outcome.results) == ["a", "b", "c"]


def test_failures_are_listed_and_tried_again_and_our_own_mistakes_are_not_hidden(tmp_path) -> None:
    fail = [True]

    def work(folder):
        if fail[0]:
            raise RuntimeError("device\nout of memory")
        return {"x": math.nan}

    tasks = [Task("good", lambda _: {"x": 1.0}), Task("bad", work)]
    outcome = run_tasks(tasks, tmp_path, options={})
    assert outcome.failures
    assert outcome.failures == {"bad": "RuntimeError: device out of memory"}
    content = write_results(tmp_path, outcome, {"n": 1}, title="T", tables={"All": markdown_table([{"x": 1.0}])})
    assert json.loads((tmp_path / "results.json").read_text()) == content
    assert "device out of memory" in (tmp_path / "report.md").read_text()
    fail[0] = False
    assert run_tasks(tasks, tmp_path, options={}).results["bad"] == {"x": None}
    with pytest.raises(TypeError):
        run_tasks([Task("mine", lambda _: len(3))], tmp_path, options={})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["../up", "a//b", "/root", "", ".", "a/../b"])
def test_a_task_cannot_leave_its_folder(tmp_path, name: str) -> None:
    with pytest.raises(InputError, match="folder"):
        run_tasks([Task(name, lambda _: {})], tmp_path, options={})


def test_summaries_leave_out_what_is_no_number() -> None:
    assert Summary.of([1.0, math.nan, None, 3.0]) == Summary(2.0, math.sqrt(2), 2)
    assert Summary.of([math.inf]) == Summary(None, None, 0)
    rows = [{"name": "a", "psnr": 20.0, "ok": True}, {"name": "b", "psnr": None, "ssim": 0.5}]
    assert summarised(rows) == {"psnr": Summary(20.0, None, 1), "ssim": Summary(0.5, None, 1)}
    table = markdown_table([{"who": "a|b", "psnr": Summary(20.0, 1.0, 3), "none": math.nan}])
    assert table.splitlines()[2] == "| a\\|b | 20.00 ± 1.000 | - |"
    assert markdown_table([{"one": Summary.of([20.0])}]).splitlines()[2] == "| 20.00 |"  # no spread of one value
    assert plain({"t": torch.tensor([1.0, math.inf]), "s": Summary(1.0, 0.0, 1)}) == {
        "t": [1.0, None],
        "s": {"mean": 1.0, "spread": 0.0, "n": 1},
    }


def test_published_figures_are_marked() -> None:
    for name in PUBLISHED:
        assert published_table(name).startswith("| as published |")


def test_a_rollout_folder_is_read_back(tmp_path) -> None:
    frames = torch.rand(5, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    path = pan(Camera.looking(), 5, degrees=20)
    (tmp_path / "walk").mkdir()
    save_rollout(tmp_path / "walk", torch.cat([frames, frames]), Camera.concatenate([path, path]))
    save_rollout(tmp_path / "walk", frames, path)
    walk = load_rollout(tmp_path / "walk")
    assert walk.frames.shape == (5, 3, 32, 48)
    assert (walk.pictures() - frames).abs().max() <= 0.5 / 255 + 1e-6
    assert torch.allclose(walk.camera.c2w.float(), path.c2w, atol=1e-6)
    (tmp_path / "walk" / "frames" / "004.png").unlink()
    with pytest.raises(InputError, match="4 frames and 5 cameras"):
        load_rollout(tmp_path / "walk")
    (tmp_path / "walk" / "cameras.npz").unlink()
    with pytest.raises(InputError, match="no cameras"):
        load_rollout(tmp_path / "walk")


def test_a_missing_frame_is_told_and_one_frame_is_no_rollout(tmp_path) -> None:
    """Every frame after a gap would be scored against the camera of another."""
    path = orbit(Camera.looking(), 12)
    for missing, stride in ((4, 1), (8, 4)):
        folder = tmp_path / f"{stride}"
        save_rollout(folder, torch.rand(12, 3, 16, 16), path)
        for number in reversed(range(12)):
            frame = folder / "frames" / f"{number:03d}.png"
            frame.rename(frame.with_name(f"{stride * number}.png"))  # 10 comes after 2
        assert len(load_rollout(folder).frames) == 12
        (folder / "frames" / f"{missing}.png").unlink()
        with pytest.raises(InputError, match=f"has no frame {missing}"):
            load_rollout(folder)
    save_rollout(tmp_path / "one", torch.rand(1, 3, 16, 16), path[:1])
    with pytest.raises(InputError, match="one frame; a rollout has at least two"):
        load_rollout(tmp_path / "one")


def test_results_that_were_altered_are_refused_by_name(tmp_path) -> None:
    task = Task("one", lambda folder: {"psnr": 20.0})
    assert run_tasks([task], tmp_path, options={}).results == {"one": {"psnr": 20.0}}
    done = tmp_path / "one" / "done.json"
    done.write_text(done.read_text().replace("20.0", "40.0"))
    outcome = run_tasks([task], tmp_path, options={})
    assert not outcome.results
    assert f"{done} was altered" in outcome.failures["one"]
