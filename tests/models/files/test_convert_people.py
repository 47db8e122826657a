"""What people have instead of a release: ComfyUI's files, fp8 with scales, safetensors everywhere, pointers, GGUF."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer

import published_layout as published
from helpers import refusal, renamed
from mirage.cli import main
from mirage.errors import InputError
from mirage.models.files.branchfile import load_branch, read_branch
from mirage.models.files.checkpoint import open_checkpoint
from mirage.models.files.convert import convert
from mirage.models.files.scaled import unscaled
from mirage.models.files.sentencepiece import tokenizer_of
from mirage.models.loading import load_world_model
from mirage.models.tiny import tiny_world, word_tokenizer

State = dict[str, Tensor]


@pytest.fixture
def comfy(data_dir: Path) -> Path:
    return data_dir / "inputs" / "convert_comfy_folder" / "comfy"


def refused(source: Any, out: Path, **choices: Any) -> str:
    said = refusal(convert, source, out, **choices)
    assert not out.exists()
    return said


# -- a SentencePiece model, written here by hand ----------------------------------------------------------------------


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def field(number: int, value: bytes | int | float) -> bytes:
    if isinstance(value, float):
        return varint(number << 3 | 5) + torch.tensor(value).numpy().tobytes()
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def spiece(*, bytes_too: bool = False) -> bytes:
    pieces = [("<pad>", 0.0, 3), ("</s>", 0.0, 3), ("<unk>", 0.0, 2)]
    pieces += [(text, score, 1) for text, score in (("▁a", -1.0), ("▁red", -2.0), ("▁room", -2.0), ("▁", -4.0),
                                                    ("r", -5.0), ("e", -5.0), ("d", -5.0))]  # fmt: skip
    pieces += [(f"<0x{n:02X}>", 0.0, 6) for n in range(256)] if bytes_too else []
    model = b"".join(
        field(1, field(1, text.encode()) + field(2, score) + field(3, kind)) for text, score, kind in pieces
    )
    return model + field(2, field(3, 1) + field(35, int(bytes_too))) + field(3, field(3, 1) + field(4, 1) + field(5, 1))


def test_a_sentencepiece_model_is_a_tokenizer() -> None:
    """Ids as SentencePiece 0.2.3 gives them for such a model, </s> behind them; it is not needed to read one."""
    its = tokenizer_of(spiece(), source="it")
    assert its("a red room")["input_ids"] == [3, 4, 5, 1]
    assert its("  a   red ")["input_ids"] == [3, 4, 1]
    assert its("rede")["input_ids"] == [4, 8, 1]
    assert its("a é")["input_ids"] == [3, 6, 2, 1]
    assert tokenizer_of(spiece(bytes_too=True), source="it")("a é")["input_ids"] == [3, 6, 10 + 0xC3, 10 + 0xA9, 1]
    assert its.pad_token_id == 0


@pytest.mark.parametrize("spoilt", [bytes(1000), b"", spiece()[:-9], spiece()[:40], b"words, not a model",
                                    field(1, field(1, b"a") + field(2, 1.0))])  # fmt: skip
def test_other_bytes_are_no_tokenizer(spoilt: bytes) -> None:
    with pytest.raises(InputError, match="no SentencePiece model"):
        tokenizer_of(spoilt, source="it")


# -- ComfyUI ----------------------------------------------------------------------------------------------------------


def trio(folder: Path, comfy: Path) -> list[Path]:
    """The three files with a tokenizer inside that reads."""
    folder.mkdir()
    for file in comfy.iterdir():
        state = load_file(file)
        if "spiece_model" in state:
            state["spiece_model"] = torch.frombuffer(bytearray(spiece()), dtype=torch.uint8)
        save_file(state, folder / file.name)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("given", ["a folder", "files", "folders inside"])
def test_comfyuis_three_files_become_one_model(given: str, comfy: Path, tmp_path: Path) -> None:
    files = trio(tmp_path / "comfy", comfy)
    if given == "folders inside":
        for file, room in zip(files, ("text_encoders", "diffusion_models", "vae"), strict=True):
            (tmp_path / "comfy" / room).mkdir()
            shutil.move(file, tmp_path / "comfy" / room / file.name)
    written = convert(files if given == "files" else tmp_path / "comfy", tmp_path / "model", heads=2)
    assert written.keys() == {"transformer", "vae", "text_encoder"}
    model = load_world_model(tmp_path / "model")
    theirs = load_file(comfy / "wan2.2_ti2v_5B_fp16.safetensors")
    ours = model.transformer.state_dict()
    assert len(theirs) == len(ours)
    for name, value in theirs.items():
        assert torch.equal(ours[renamed(name)], value.float()), name
    assert model.tokenize("a red room")[0][0, :5].tolist() == [3, 4, 5, 1, 0]
    assert AutoTokenizer.from_pretrained(tmp_path / "model" / "tokenizer")("a red room")["input_ids"] == [3, 4, 5, 1]


def test_a_tokenizer_that_does_not_read_stays_as_it_came_and_is_said(comfy: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["convert", str(comfy), "--out", str(tmp_path / "model"), "--json"]) == 0
    said = capsys.readouterr().out
    assert "is no SentencePiece model" in said.replace("holds a tokenizer that ", "")
    assert "use it with --model" not in said.split("put google/umt5-xxl's")[0]
    assert json.loads(said.splitlines()[-1])["whole_model"] is False
    assert (tmp_path / "model" / "tokenizer" / "spiece.model").read_bytes() == bytes(1000)
    with pytest.raises(InputError, match="does not load"):
        load_world_model(tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "tokenizer")
    tokenizer_of(spiece(), source="it").save_pretrained(tmp_path / "model" / "tokenizer")
    load_world_model(tmp_path / "model")


def test_a_part_of_a_model_does_not_pass_for_one(comfy: Path, tmp_path: Path) -> None:
    text, transformer, vae = trio(tmp_path / "comfy", comfy)
    assert "it lacks the VAE" in refused([text, transformer], tmp_path / "out")
    assert "it lacks the text encoder" in refused([vae, transformer], tmp_path / "out")
    shutil.copyfile(transformer, tmp_path / "comfy" / "wan_again.safetensors")
    assert "two files for the transformer" in refused(tmp_path / "comfy", tmp_path / "out")
    assert convert(vae, tmp_path / "alone") == {"vae": tmp_path / "alone" / "vae"}
    state = {name: value for name, value in load_file(text).items() if name != "spiece_model"}
    save_file(state, text)
    assert "it lacks the tokenizer" in refused([text, transformer, vae], tmp_path / "out")
    wider = {name: value.repeat_interleave(2, 1) if name == "text_embedding.0.weight" else value
             for name, value in load_file(transformer).items()}  # fmt: skip
    save_file(wider, transformer)
    (tmp_path / "comfy" / "wan_again.safetensors").unlink()
    word_tokenizer(("a",)).save_pretrained(tmp_path / "comfy" / "google" / "umt5-xxl")
    assert "channels of the text encoder are 32 and the transformer takes 64" in refused(
        tmp_path / "comfy", tmp_path / "out"
    )


def test_a_release_of_safetensors_alone_comes_whole_or_not_at_all(comfy: Path, tmp_path: Path) -> None:
    """As some repackage the original: shards beside a VAE and a T5 that are safetensors, too."""
    text, _, vae = trio(tmp_path / "comfy", comfy)
    folder = tmp_path / "release"
    folder.mkdir()
    dit = published.dit_state()
    names = sorted(dit)
    for number, part in enumerate((names[:30], names[30:]), start=1):
        save_file({n: dit[n] for n in part}, folder / f"diffusion_pytorch_model-0000{number}-of-00002.safetensors")
    shutil.copyfile(vae, folder / "Wan2.2_VAE.safetensors")
    assert "it lacks the text encoder" in refused(folder, tmp_path / "out")
    shutil.copyfile(text, folder / "models_t5_umt5-xxl-enc-bf16.safetensors")
    convert(folder, tmp_path / "out", heads=2)
    load_world_model(tmp_path / "out")
    (folder / "Wan2.2_VAE.safetensors").unlink()
    assert "it lacks the VAE" in refused(folder, tmp_path / "other")


# -- fp8 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fp8_scaled", "fp8_comfy_quant"])
def test_fp8_weights_are_what_they_stand_for(name: str, data_dir: Path, tmp_path: Path) -> None:
    file = data_dir / "inputs" / "convert_fp8_scaled" / f"{name}.safetensors"
    convert(file, tmp_path / "out", heads=2)
    ours = load_file(tmp_path / "out" / "transformer" / "diffusion_pytorch_model.safetensors")
    theirs = load_file(file)
    weights = [one for one in theirs if theirs[one].dtype == torch.float8_e4m3fn and one.endswith(".weight")]
    assert len(weights) == 40
    for one in weights:
        module = one.removesuffix(".weight")
        scale = theirs.get(f"{module}.scale_weight", theirs.get(f"{module}.weight_scale"))
        assert scale is not None
        assert torch.equal(ours[renamed(one)], theirs[one].float() * scale), one
    assert len(ours) == len(published.dit_state())


@pytest.mark.parametrize("shape", [(), (1,), (6,), (6, 1), (6, 2, 1)])
@pytest.mark.parametrize("end", ["scale_weight", "weight_scale"])
def test_scales_of_each_shape(shape: tuple[int, ...], end: str, tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 8, generator=g).to(torch.float8_e4m3fn)
    scale = torch.rand(shape, generator=g) + 0.5
    save_file({"a.weight": weight, f"a.{end}": scale, "a.bias": torch.ones(6)}, tmp_path / "a.safetensors")
    read = unscaled(open_checkpoint(tmp_path / "a.safetensors"))
    assert read.shapes == {"a.weight": (6, 8), "a.bias": (6,)}
    expected = torch.stack([weight.float()[i, j] * (scale[i, j // 4, 0] if scale.ndim == 3 else scale.reshape(-1)[i]
                                                    if scale.numel() == 6 else scale.reshape(()))
                            for i in range(6) for j in range(8)]).view(6, 8)  # fmt: skip
    assert torch.equal(read.read("a.weight"), expected)


def note(kind: str) -> Tensor:
    return torch.frombuffer(bytearray(json.dumps({"format": kind}).encode()), dtype=torch.uint8)


SPOILT: dict[str, tuple[State, str]] = {
    "nvfp4": ({"a.weight": torch.zeros(6, 4, dtype=torch.uint8), "a.comfy_quant": note("nvfp4")}, "nvfp4"),
    "no note": ({"a.comfy_quant": torch.zeros(3, dtype=torch.uint8)}, "damaged note"),
    "no weight": ({"b.weight_scale": torch.ones(())}, "which is there not"),
    "other shape": ({"a.weight": torch.zeros(6, 8).to(torch.float8_e4m3fn), "a.scale_weight": torch.ones(5)}, "[5]"),
    "no fp8": ({"a.weight": torch.zeros(6, 8), "a.scale_weight": torch.ones(())}, "accepted: fp8"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_other_quantisations_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    state, said = SPOILT[kind]
    save_file(state, tmp_path / "a.safetensors")
    assert said in refused(tmp_path / "a.safetensors", tmp_path / "out")


def test_bytes_are_no_weights(tmp_path: Path) -> None:
    state = published.dit_state()
    state["blocks.0.ffn.0.weight"] = state["blocks.0.ffn.0.weight"].to(torch.uint8)
    save_file(state, tmp_path / "a.safetensors")
    assert "blocks.0.ffn.0.weight as uint8" in refused(tmp_path / "a.safetensors", tmp_path / "out")


# -- not weights ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Wan2.2_VAE.pth", "wan.safetensors", "lora.bin"])
@pytest.mark.parametrize("route", [lambda file: open_checkpoint(file), lambda file: convert(file, file.parent / "out"),
                                   lambda file: convert(file.parent, file.parent / "out")])  # fmt: skip
def test_what_stands_in_place_of_weights(route: Any, name: str, data_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / name
    for content, said in (
        ((data_dir / "inputs/lfs_pointer/Wan2.2_VAE.pth").read_bytes(), "is a Git LFS pointer"),
        (b"GGUF\x03\0\0\0", "is GGUF by another name"),
        (b"<!DOCTYPE html><html>", "is a web page"),
    ):
        file.write_bytes(content)
        with pytest.raises(InputError, match=said):
            route(file)


def gguf_of(state: Mapping[str, Tensor], path: Path, kind: str = "Q8_0") -> dict[str, Tensor]:
    """The file that ComfyUI-GGUF's converter writes, and the numbers it stands for by the package's own reader."""
    gguf = pytest.importorskip("gguf")
    file, meant = gguf.GGUFWriter(path, "wan"), {}
    for name, value in state.items():
        array, quantised = value.float().numpy(), gguf.GGMLQuantizationType[kind]
        if array.ndim > 4:  # which llama.cpp has not
            file.add_array(f"comfy.gguf.orig_shape.{name}", [int(side) for side in array.shape])
            array = array.reshape(array.shape[0], -1)
        if array.ndim != 2 or array.shape[-1] % gguf.GGML_QUANT_SIZES[quantised][0]:
            quantised = gguf.GGMLQuantizationType.F32
        array = gguf.quantize(array, quantised)
        meant[name] = torch.from_numpy(gguf.dequantize(array, quantised).copy()).reshape(value.shape)
        file.add_tensor(name, array, raw_dtype=quantised)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return meant


def test_gguf_is_the_numbers_that_it_stands_for(comfy: Path, tmp_path: Path) -> None:
    """In place of ComfyUI's transformer, as people have it beside the VAE and umt5 as safetensors."""
    plain, quantised = tmp_path / "plain", tmp_path / "quantised"
    shutil.copytree(comfy, plain)
    shutil.copytree(comfy, quantised)
    (quantised / "wan2.2_ti2v_5B_fp16.safetensors").unlink()
    state = load_file(comfy / "wan2.2_ti2v_5B_fp16.safetensors")
    wide = {name: torch.randn(value.shape) for name, value in state.items()}
    save_file(gguf_of(wide, quantised / "Wan2.2-TI2V-5B-Q8_0.gguf"), plain / "wan2.2_ti2v_5B_fp16.safetensors")
    one, other = (
        convert(folder, tmp_path / f"{folder.name}-out", heads=2)["transformer"] for folder in (plain, quantised)
    )
    expected, found = open_checkpoint(one), open_checkpoint(other)
    assert expected.shapes == found.shapes
    assert all(torch.equal(expected.read(name), found.read(name)) for name in expected.shapes)


@pytest.mark.parametrize(
    "kind", ["Q4_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "IQ3_S", "BF16"]
)
def test_gguf_of_every_kind_that_people_have(kind: str, tmp_path: Path) -> None:
    """Of blocks as they lie in files: the package packs few kinds itself."""
    gguf = pytest.importorskip("gguf")
    of = gguf.GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[of]
    packed = np.random.default_rng(0).integers(0, 60, (8, 512 // block * size), dtype=np.uint8)
    file = gguf.GGUFWriter(tmp_path / "a.gguf", "wan")
    file.add_tensor("blocks.0.weight", packed, raw_shape=packed.shape, raw_dtype=of)
    for write in (file.write_header_to_file, file.write_kv_data_to_file, file.write_tensors_to_file):
        write()
    file.close()
    found = open_checkpoint(tmp_path / "a.gguf").read("blocks.0.weight")
    assert found.shape == (8, 512)
    assert found.isfinite().all()
    assert found.abs().max() > 0
    assert np.array_equal(found.numpy(), gguf.dequantize(packed, of))


def test_gguf_that_is_damaged_or_not_wans(tmp_path: Path) -> None:
    gguf_of({"token_embd.weight": torch.randn(32, 32)}, tmp_path / "umt5.gguf")
    assert "umt5.gguf" in refused(tmp_path / "umt5.gguf", tmp_path / "out")
    whole = (tmp_path / "umt5.gguf").read_bytes()
    for size in (4, 20, 60, len(whole) - 40):
        (tmp_path / "cut.gguf").write_bytes(whole[:size])
        assert "is no whole GGUF file" in refused(tmp_path / "cut.gguf", tmp_path / "out")


# -- branches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("blocks", "layers"), [(15, range(0, 30, 2)), (8, range(0, 30, 4))])
def test_as_many_blocks_as_published_branches_have(blocks: int, layers: range, tmp_path: Path) -> None:
    """15: the paper's; 8: Spatia's, whose layers are 0, 4, ..., 28."""
    save_file(published.branch_state(blocks=blocks), tmp_path / "branch.safetensors")
    assert read_branch(open_checkpoint(tmp_path / "branch.safetensors"), heads=2).config["layers"] == tuple(layers)
    transformer = tiny_world(layers=30).transformer
    assert load_branch(tmp_path / "branch.safetensors", transformer).layers == tuple(layers)
    convert(tmp_path / "branch.safetensors", tmp_path / "ours.safetensors", heads=2)
    assert load_branch(tmp_path / "ours.safetensors", transformer).layers == tuple(layers)


@pytest.mark.parametrize("blocks", [1, 7, 9, 10, 14, 16, 30])
def test_other_numbers_of_blocks_tell_no_layers(blocks: int, tmp_path: Path) -> None:
    save_file(published.branch_state(blocks=blocks), tmp_path / "branch.safetensors")
    assert f"has {blocks} side blocks" in refused(tmp_path / "branch.safetensors", tmp_path / "o.safetensors", heads=2)
    layers = tuple(range(blocks))
    convert(tmp_path / "branch.safetensors", tmp_path / "o.safetensors", heads=2, branch_layers=layers)
    assert read_branch(open_checkpoint(tmp_path / "o.safetensors")).config["layers"] == layers


@pytest.mark.parametrize("layers", [(0,), (0, 2, 4), (2, 0), (0, 0), (-2, 0)])
def test_layers_that_are_not_as_many_or_not_in_order(layers: tuple[int, ...], tmp_path: Path) -> None:
    save_file(published.branch_state(), tmp_path / "branch.safetensors")
    said = refused(tmp_path / "branch.safetensors", tmp_path / "o.safetensors", heads=2, branch_layers=layers)
    assert f"has 2 side blocks, for the layers {list(layers)}" in said


def test_a_branch_cut_short(tmp_path: Path) -> None:
    state = published.branch_state(blocks=15)
    gap = {name: value for name, value in state.items() if not name.startswith("vace_blocks.3.")}
    save_file(gap, tmp_path / "branch.safetensors")
    assert "is cut short" in refused(tmp_path / "branch.safetensors", tmp_path / "o.safetensors", heads=2)
    less = {name: value for name, value in state.items() if not name.startswith("vace_blocks.14.ffn")}
    save_file(less, tmp_path / "branch.safetensors")
    assert "it lacks blocks.14.block.ffn" in refused(
        tmp_path / "branch.safetensors", tmp_path / "o.safetensors", heads=2
    )
