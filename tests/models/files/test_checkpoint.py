"""Files that are no checkpoint, are damaged, or want more than to be read: one line each, and nothing runs."""

import contextlib
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from helpers import refusal
from mirage.errors import InputError
from mirage.models.files.checkpoint import open_checkpoint
from mirage.models.files.convert import convert

STATE = {"conv1.weight": torch.arange(6.0).view(2, 3), "conv1.bias": torch.ones(2, dtype=torch.bfloat16)}


class Runs:
    """Unpickling this makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return os.system, (f"touch {self.target}",)


def refused(path: Path) -> str:
    said = refusal(open_checkpoint, path)
    assert len(said) < 600
    return said


def zipped(state: Any) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def legacy(state: Any) -> bytes:
    file = io.BytesIO()
    torch.save(state, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def safe(state: Any) -> bytes:
    from safetensors.torch import save

    return save(state)


@pytest.mark.parametrize(("written", "name"), [(zipped, "a.pth"), (legacy, "a.pt"), (safe, "a.safetensors")])
def test_tensors_come_back_with_names_shapes_and_numbers(written: Any, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(written(STATE))
    opened = open_checkpoint(tmp_path / name)
    assert opened.shapes == {"conv1.weight": (2, 3), "conv1.bias": (2,)}
    for key, value in STATE.items():
        assert torch.equal(opened.read(key), value)
        assert opened.dtypes[key] == value.dtype


def test_dictionaries_in_dictionaries_are_named_by_both_keys(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(zipped({"vace": STATE, "step": 3, "note": "words"}))
    assert open_checkpoint(tmp_path / "a.pt").shapes.keys() == {"vace.conv1.weight", "vace.conv1.bias"}


@pytest.mark.parametrize("written", [zipped, legacy, pickle.dumps])
@pytest.mark.parametrize("deep", [False, True])
def test_a_pickle_that_wants_to_run_code_is_refused_and_does_not(written: Any, deep: bool, tmp_path: Path) -> None:
    evil = Runs(tmp_path / "ran")
    (tmp_path / "Wan2.2_VAE.pth").write_bytes(written({**STATE, "x": {"y": evil} if deep else evil}))
    assert "holds more than tensors and is not read" in refused(tmp_path / "Wan2.2_VAE.pth")
    with pytest.raises(InputError):
        convert(tmp_path / "Wan2.2_VAE.pth", tmp_path / "out")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out").exists()
    if written is zipped:
        assert "wants to run posix.system" in refused(tmp_path / "Wan2.2_VAE.pth")


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(zipped(torch.nn.Linear(2, 2)))
    assert "Linear" in refused(tmp_path / "a.pth")


def test_numbers_that_are_not_there_are_not_made_up(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(zipped({"big": torch.zeros(1).expand(1 << 40)}))
    assert "claims more numbers than its" in refused(tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(zipped({"nowhere": torch.zeros(1 << 40, device="meta")}))
    assert "plain numbers" in refused(tmp_path / "b.pth")
    (tmp_path / "c.pth").write_bytes(zipped({"sparse": torch.eye(3).to_sparse()}))
    assert "plain numbers" in refused(tmp_path / "c.pth")
    (tmp_path / "d.pth").write_bytes(zipped([torch.zeros(2)]))
    assert "holds a list" in refused(tmp_path / "d.pth")


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(zipped(STATE))) as plain, zipfile.ZipFile(tmp_path / "a.pth", "w") as packed:
        for part in plain.infolist():
            packed.writestr(part.filename, plain.read(part), zipfile.ZIP_DEFLATED)
    assert "compressed" in refused(tmp_path / "a.pth")


def test_other_files_and_types_are_refused(tmp_path: Path) -> None:
    for name in ("words.pth", "words.safetensors", "words.txt", "empty.pth", "empty.safetensors"):
        (tmp_path / name).write_text("" if name.startswith("empty") else "these are words, not weights")
        refused(tmp_path / name)
    refused(tmp_path)  # a folder with several
    refused(tmp_path / "none.pth")
    header = json.dumps({"a": {"dtype": "I16", "shape": [4], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "whole.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    assert "I16" in refused(tmp_path / "whole.safetensors")


@pytest.mark.parametrize("index", ["{", "[]", '{"weight_map": 3}', '{"weight_map": {"a": "../../secret.safetensors"}}',
                                   '{"weight_map": {"conv1.weight": "s.safetensors"}}'])  # fmt: skip
def test_an_index_that_does_not_hold_is_refused(index: str, tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "s.safetensors")
    (tmp_path / "m.safetensors.index.json").write_text(index)
    refused(tmp_path / "m.safetensors.index.json")
    refused(tmp_path)


@pytest.mark.parametrize("written", [zipped, legacy, safe])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_are_read_as_they_are_or_refused(written: Any, data: st.DataObject, tmp_path: Path) -> None:
    """Cut, flipped and overwritten anywhere: an `InputError`, or a file that still reads; never another error."""
    whole = bytearray(written(STATE))
    if data.draw(st.booleans()):
        whole = whole[: data.draw(st.integers(0, len(whole)))]
    for _ in range(data.draw(st.integers(0, 4))):
        if whole:
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / ("a.safetensors" if written is safe else "a.pth")
    path.write_bytes(whole)
    with contextlib.suppress(InputError):
        opened = open_checkpoint(path)
        for name in opened.shapes:
            opened.read(name)
