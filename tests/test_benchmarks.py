"""The GPU benchmark, whole, on a toy model where there is no GPU: what it can not measure there it says. And the soak:
what is lost is found, kept and found again."""

import faulthandler
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import gpu
import gpu_sections
import records
import soak
from mirage.models.fitting.budget import world_of

CPU = torch.device("cpu")


def test_a_toy_model_is_measured_and_recorded(tmp_path, capsys, monkeypatch):
    found = {}
    for name in gpu.LIMITS:
        gpu_sections.run(name, tmp_path / f"{name}.json", tiny=True)
        gpu.note_end(tmp_path / f"{name}.json", gpu.WHOLE)
        found[name] = json.loads((tmp_path / f"{name}.json").read_text())
    differing = found["zbuffer"]["tables"]["Cells whose point, depth or offset differs"]
    assert [row["numba differs from torch in"] for row in differing] == [0, 0, 0]
    assert all(0 < row["share of a copy's"] < 1 for row in found["zbuffer"]["tables"]["Z-buffer of nine cameras"])
    assert {row["steps"] for row in next(iter(found["long"]["tables"].values()))} == {2}
    assert "compiled, fp8" in "".join(found["step"]["notes"])

    monkeypatch.setattr(gpu, "FOLDER", tmp_path / "results")
    assert gpu.main(["--record", str(tmp_path), "--commit", "abc"]) == 0
    assert Path(capsys.readouterr().out.strip()) == tmp_path / "results" / "cpu.json"
    record = records.load(tmp_path / "results")["cpu"]
    assert (record.commit, record.weights) == ("abc", "none")
    assert set(record.tables) == {heading for each in found.values() for heading in each["tables"]}
    assert f"torch {torch.__version__}" in record.machine


def test_sections_are_processes_and_one_that_hangs_or_fails_costs_itself(tmp_path):
    def command(then: str, loading: float = 0.0) -> list[str]:
        begins = f"import sys, time; time.sleep({loading}); print('loaded', flush=True); sys.stdin.readline()"
        return [sys.executable, "-c", f"{begins}; {then}"]

    left = tmp_path / "left"
    commands = {
        "loads": command("pass", loading=2.5),
        "hangs": command("import subprocess; subprocess.Popen(['sleep', '60']); time.sleep(60)"),
        "fails": command("sys.exit(3)"),
        "works": command(f"open({str(left)!r}, 'w').write('here')"),
    }
    began = time.monotonic()
    ended = gpu.in_turn(commands, {"loads": 2.0, "hangs": 1.0, "fails": 20.0, "works": 20.0})
    assert time.monotonic() - began < 30
    assert ended["loads"] == gpu.WHOLE  # what the first one takes to load is not counted
    assert ended["hangs"].startswith("stopped, its time was up, after ")
    assert ended["fails"] == "failed (exit code 3)"
    assert ended["works"] == gpu.WHOLE
    assert left.read_text() == "here"


def test_a_section_waits_for_its_turn(tmp_path):
    began = time.monotonic()
    turn = "print(flush=True); sys.stdin.readline(); print(time.time(), file=open(sys.argv[1], 'w')); time.sleep(0.5)"
    commands = {
        name: [sys.executable, "-c", f"import sys, time; {turn}", str(tmp_path / name)] for name in ("one", "two")
    }
    gpu.in_turn(commands, {"one": 20.0, "two": 20.0})
    one, two = (float((tmp_path / name).read_text()) for name in commands)
    assert two - one >= 0.5
    assert time.monotonic() - began < 20


def test_what_failed_is_said_and_the_rows_before_it_stay(tmp_path):
    report = gpu_sections.Report(tmp_path / "step.json", CPU)
    report.row("A table", what="first", s=1.0)
    with report.trying("the second"):
        raise RuntimeError("out of memory\nat length")
    gpu.note_end(tmp_path / "step.json", "failed (exit code 1)")
    gpu.note_end(tmp_path / "walk.json", "stopped")
    told = gpu.document(tmp_path)
    assert "the second failed: RuntimeError: out of memory" in told
    assert "## step: failed (exit code 1)" in told
    assert "first" in told
    assert "## walk: stopped" in told
    assert gpu.recorded(tmp_path).notes[-2:] == ["step: failed (exit code 1)", "walk: stopped"]


def test_without_a_gpu_it_is_one_line_and_2(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert gpu.main(["--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "no CUDA device" in said.err
    assert said.out == ""
    assert not (tmp_path / "out").exists()


def test_drawn_weights_make_finite_frames():
    model = gpu_sections.drawn(world_of("mini", torch.float32), CPU)
    assert all(weight.device == CPU for part in gpu_sections.networks(model).values() for weight in part.parameters())
    shared, tied = model.text_encoder.shared.weight, model.text_encoder.encoder.embed_tokens.weight
    assert shared is tied
    model.register_to_config(chunk_frames=5, height=64, width=64, default_steps=1, draft_steps=1)
    _, session = gpu_sections.walked(model, 1, 1, beside=True)
    assert torch.isfinite(session.history.latents).all()


@pytest.mark.parametrize("offload", ["none", "model", "group"])
def test_a_peak_is_of_a_walk(offload, tmp_path, monkeypatch):
    """Its walk runs here too, with what CUDA would count left out."""
    monkeypatch.setattr(gpu_sections, "WAYS", {offload: (None, 32)})
    report = gpu_sections.Report(tmp_path / "peaks.json", CPU)
    gpu_sections.measure_offload(report, offload, {}, CPU, tiny=True)
    rows = report.tables["Most memory of a walk of two chunks"]
    assert [(row["--offload"], row["--tile"]) for row in rows] == [(offload, None), (offload, 32)]


@pytest.mark.slow
def test_a_soak_that_loses_something_says_why_and_can_be_repeated(tmp_path):
    loses = (
        "import sys, soak; save = soak.Session.save\n"
        "def lose(self, path): save(self, path); path.with_name('c.safetensors').unlink(missing_ok=True)\n"
        "soak.Session.save = lose; soak.main()"
    )

    def run(code: str, *words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", code, *words]
        paths = os.pathsep.join([str(Path(gpu.__file__).parent), *sys.path])
        return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths})

    ended = run(loses, "--minutes", "5", "--seed", "4", "--folder", str(tmp_path))
    figures = json.loads(ended.stdout)
    assert ended.returncode == 1
    assert figures["lost"].endswith("AssertionError: c.safetensors is lost\n")
    assert figures == json.loads((tmp_path / "figures.json").read_text())
    assert run(loses, "--again", str(tmp_path)).stderr.endswith("AssertionError: c.safetensors is lost\n")
    again = json.loads(run("import soak; soak.main()", "--again", str(tmp_path)).stdout)
    assert (again["round"], again["end"]) == (figures["rounds"], "nothing was lost")


def test_a_child_of_the_soak_goes_nowhere_whenever_it_is_stopped(tmp_path):
    for sign in soak.SIGNALS:
        for wait in (0.0, 0.001, 0.01):
            child = soak.Child(lambda say: time.sleep(30), tmp_path / "log")
            assert child.ended(sign, wait) == (sign, [])
    broken = soak.Child(lambda say: 1 / 0, tmp_path / "log")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        broken.ended()
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)  # as ray.shutdown() leaves it, with faulthandler none the wiser
    crashes = soak.Child(lambda say: signal.raise_signal(signal.SIGSEGV), tmp_path / "log")
    faulthandler.disable()
    faulthandler.enable(2)  # as it was, for the tests after this
    with pytest.raises(AssertionError, match=r"ended by signal 11: \S"):
        crashes.ended()
