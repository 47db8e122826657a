"""A safetensors file at a URL reads as one here does."""

import fsspec
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from helpers import refusal
from mirage.formats.remote import HEADER, Tensors, listed


@pytest.mark.parametrize("words", ["few", "many " * HEADER])
def test_tensors_at_a_url_are_those_of_the_file(tmp_path, words):
    """Also where the header is longer than what is asked for at first."""
    held = {"a": torch.randn(3, 4), "b": torch.arange(5), "none": torch.zeros(0, 2)}
    save_file(held, tmp_path / "a.safetensors", metadata={"words": words})
    files = fsspec.filesystem("memory")
    files.put_file(str(tmp_path / "a.safetensors"), "/place/a.safetensors")
    assert listed("memory://place", "*.safetensors") == ["memory://place/a.safetensors"]
    there = Tensors("memory://place/a.safetensors", accepts="tensors")
    with safe_open(tmp_path / "a.safetensors", framework="pt") as here:
        assert sorted(there.keys()) == sorted(here.keys())
        assert there.metadata() == here.metadata()
        for name in here.keys():
            assert there.get_slice(name).get_shape() == here.get_slice(name).get_shape()
            assert torch.equal(there.get_tensor(name), here.get_tensor(name))


@pytest.mark.parametrize("cut", [0, 5, 40, -1])
def test_what_is_cut_or_not_there_is_refused(tmp_path, cut):
    save_file({"a": torch.randn(3, 4)}, tmp_path / "a.safetensors")
    fsspec.filesystem("memory").pipe_file("/cut/a", (tmp_path / "a.safetensors").read_bytes()[:cut])
    refusal(lambda: Tensors("memory://cut/a", accepts="a clip").get_tensor("a"), words=["memory://cut/a is damaged"])
    refusal(Tensors("memory://cut/b", accepts="a clip").keys, words=["nothing is at memory://cut/b"])
    assert listed("memory://nowhere", "*") == []
