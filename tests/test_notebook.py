"""The notebook is executed, small, and runs: with another model, as everything that people read does."""

import json
import sys
from pathlib import Path

import torch

from mirage import Session
from mirage.formats.video import load_video
from mirage.models.tiny import tiny_world

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
import notebook

ROOT = Path(__file__).resolve().parents[1]
PATH = ROOT / "examples" / "walk.ipynb"


def test_it_holds_what_it_shows_and_is_small():
    cells = json.loads(PATH.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    shown = [cell for cell in code if any("image/png" in output.get("data", {}) for output in cell["outputs"])]
    assert len(shown) >= 8
    assert not any(output["output_type"] == "error" for cell in code for output in cell["outputs"])
    assert PATH.stat().st_size < 1_000_000


def test_it_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_world(default_steps=1, draft_steps=1, chunk_frames=33).save_pretrained("tiny")
    written = json.loads(PATH.read_text(encoding="utf-8"))
    done, names = notebook.executed(written, change=lambda code: code.replace('"mini"', '"tiny"'))
    kinds = [[output["output_type"] for output in cell.get("outputs", ())] for cell in written["cells"]]
    assert [[output["output_type"] for output in cell.get("outputs", ())] for cell in done["cells"]] == kinds
    assert names["gone"] > 0
    assert not torch.equal(*names["ends"])
    assert isinstance(names["session"], Session)
    assert names["session"].index == 2
    assert len(load_video("walk.mp4")) == len(names["there"].frames) + len(names["back"].frames)
