"""Random checkpoints in the published layouts go through `convert` and come out as the same networks; others are
refused in one line, and leave nothing."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import published_layout as published
from helpers import refusal, renamed, same
from mirage.errors import InputError
from mirage.models import wan22
from mirage.models.files import convert as convert_module
from mirage.models.files import keys
from mirage.models.files.branchfile import load_branch, save_branch
from mirage.models.files.convert import convert
from mirage.models.files.loras import load_loras
from mirage.models.loading import load_world_model
from mirage.models.tiny import tiny_world, word_tokenizer
from mirage.models.world import WorldModel

State = dict[str, Tensor]


def original(state: State, renamed: Any, names: list[str]) -> State:
    """A diffusers state by its original names: the inverse of a table, found by trying every name that could be."""
    back = {renamed(name): name for name in names}
    return {back[name]: value.clone() for name, value in state.items() if name in back}


def vae_names() -> list[str]:
    residual = [f"residual.{n}.{leaf}" for n in (0, 3) for leaf in ("gamma",)]
    residual += [f"{part}.{leaf}" for part in ("residual.2", "residual.6", "shortcut") for leaf in ("weight", "bias")]
    resample = [f"{part}.{leaf}" for part in ("resample.1", "time_conv") for leaf in ("weight", "bias")]
    names = [f"{conv}.{leaf}" for conv in ("conv1", "conv2") for leaf in ("weight", "bias")]
    for coder, way in (("encoder", "down"), ("decoder", "up")):
        names += [f"{coder}.{part}" for part in ("conv1.weight", "conv1.bias", "head.0.gamma", "head.2.weight",
                                                 "head.2.bias", "middle.1.norm.gamma")]  # fmt: skip
        names += [f"{coder}.middle.1.{part}.{leaf}" for part in ("to_qkv", "proj") for leaf in ("weight", "bias")]
        names += [f"{coder}.middle.{n}.{part}" for n in (0, 2) for part in residual]
        last = 1 if way == "down" else 2  # where a level of the tiny model resamples: after its residual blocks
        names += [f"{coder}.{way}samples.{i}.{way}samples.{j}.{part}"
                  for i in range(4) for j in range(last) for part in residual]  # fmt: skip
        names += [f"{coder}.{way}samples.{i}.{way}samples.{last}.{part}" for i in range(4) for part in resample]
    return names


def text_names() -> list[str]:
    parts = [f"attn.{part}" for part in "qkvo"] + ["norm1", "norm2", "pos_embedding.embedding", "ffn.gate.0",
                                                   "ffn.fc1", "ffn.fc2"]  # fmt: skip
    return ["token_embedding.weight", "norm.weight"] + [f"blocks.{i}.{part}.weight" for i in (0, 1) for part in parts]


@pytest.fixture(scope="module")
def wan() -> WorldModel:
    return tiny_world()


def write_release(folder: Path, wan: WorldModel) -> Path:
    """The original Wan2.2-TI2V release, tiny: two shards and their index, two pickles, a tokenizer."""
    folder.mkdir()
    dit = published.dit_state()
    names = sorted(dit)
    where = {}
    for number, part in enumerate((names[:30], names[30:]), start=1):
        file = f"diffusion_pytorch_model-0000{number}-of-00002.safetensors"
        save_file({name: dit[name] for name in part}, folder / file)
        where |= dict.fromkeys(part, file)
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    (folder / "config.json").write_text(json.dumps({"_class_name": "WanModel", "num_heads": 2, "dim": 48}))
    torch.save(original(wan.vae.state_dict(), keys.vae_name, vae_names()), folder / "Wan2.2_VAE.pth")
    text = original(wan.text_encoder.state_dict(), keys.text_encoder_name, text_names())
    torch.save(text, folder / "models_t5_umt5-xxl-enc-bf16.pth")
    word_tokenizer(("a", "room", "with", "red", "walls")).save_pretrained(folder / "google" / "umt5-xxl")
    return folder


@pytest.fixture(scope="module")
def release(wan: WorldModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("wan") / "Wan2.2-TI2V-5B", wan)


@pytest.fixture(scope="module")
def model(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("converted") / "model"
    written = convert(release, out)
    assert written == {kind: out / kind for kind in ("transformer", "vae", "text_encoder")}
    return out


def refused(source: Path, out: Path, **choices: Any) -> str:
    before = sorted(out.parent.iterdir())
    said = refusal(convert, source, out, **choices)
    assert sorted(out.parent.iterdir()) == before
    return said


# -- Wan2.2 -----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_original_release_becomes_a_model_of_the_same_networks(model: Path, wan: WorldModel) -> None:
    again = load_world_model(model)
    assert again.memory_branch is None
    its: Any = again.vae.config
    assert its.latents_mean == wan22.LATENTS_MEAN
    assert its.latents_std == wan22.LATENTS_STD
    assert (again.stride, again.channels, again.size) == (16, 48, (704, 1280))
    for name in ("vae", "text_encoder"):
        theirs = wan.components[name].state_dict()
        for key, value in again.components[name].state_dict().items():
            assert torch.equal(value, theirs[key]), key
    torch.testing.assert_close(again.encode_prompt("a red room")[:, :16], wan.encode_prompt("a red room"))
    g = torch.Generator().manual_seed(0)
    latents, text = torch.randn((1, 48, 2, 4, 6), generator=g), torch.randn((1, 5, 32), generator=g)
    timestep = torch.tensor([[0.0, 512.0]])
    ours = again.transformer(latents, timestep.repeat_interleave(6, dim=1), text, return_dict=False)[0]
    nothing = torch.zeros(48, 0, 4, 6)
    theirs = published.forward(published.dit_state(), None, nothing, latents[0], nothing, timestep[0], text[0])
    torch.testing.assert_close(ours[0], theirs, atol=1e-4, rtol=1e-4)


def test_shards_are_small_and_together_whole(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert_module, "SHARD_BYTES", 100_000)
    seen: list[tuple[int, int]] = []
    convert(release, tmp_path / "model", dtype=torch.bfloat16, progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]
    shards = sorted((tmp_path / "model" / "transformer").glob("*.safetensors"))
    assert len(shards) > 3
    index = json.loads((tmp_path / "model/transformer/diffusion_pytorch_model.safetensors.index.json").read_text())
    held = {name: value for shard in shards for name, value in load_file(shard).items()}
    assert held.keys() == index["weight_map"].keys()
    for name in published.dit_state():
        kept = "modulation" in name or "time_embedding" in name or ".norm3" in name
        assert held[renamed(name)].dtype == (torch.float32 if kept else torch.bfloat16), name
    assert load_world_model(tmp_path / "model").transformer.config["num_layers"] == 4


def test_one_network_alone(release: Path, tmp_path: Path, wan: WorldModel) -> None:
    assert convert(release / "Wan2.2_VAE.pth", tmp_path / "out") == {"vae": tmp_path / "out" / "vae"}
    stored = load_file(tmp_path / "out" / "vae" / "diffusion_pytorch_model.safetensors")
    assert stored.keys() == wan.vae.state_dict().keys()
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o777 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_what_a_release_lacks_is_listed(wan: WorldModel, tmp_path: Path) -> None:
    folder = write_release(tmp_path / "release", wan)
    (folder / "models_t5_umt5-xxl-enc-bf16.pth").rename(tmp_path / "t5.pth")
    (folder / "google" / "umt5-xxl" / "tokenizer.json").unlink()
    said = refused(folder, tmp_path / "out")
    assert "t5" in said
    assert "tokenizer.json" in said
    shard = folder / "diffusion_pytorch_model-00002-of-00002.safetensors"
    assert "one of 2 shards" in refused(shard, tmp_path / "out")
    (tmp_path / "t5.pth").rename(folder / "models_t5_umt5-xxl-enc-bf16.pth")
    word_tokenizer(("a",)).save_pretrained(folder / "google" / "umt5-xxl")
    data = shard.read_bytes()
    shard.unlink()
    assert "lacks the shard diffusion_pytorch_model-00002-of-00002" in refused(folder, tmp_path / "out")
    (folder / "diffusion_pytorch_model.safetensors.index.json").unlink()
    assert "lacks" in refused(folder, tmp_path / "out")
    shard.write_bytes(data[: len(data) // 2])
    assert "damaged" in refused(folder, tmp_path / "out")
    shard.write_bytes(data)
    convert(folder, tmp_path / "out")
    assert "there already" in refused(folder, tmp_path / "out")
    assert "diffusers layout already" in refused(tmp_path / "out", tmp_path / "other")


def test_tensors_that_do_not_match_are_named_with_their_shapes(release: Path, tmp_path: Path) -> None:
    good = torch.load(release / "Wan2.2_VAE.pth", weights_only=True)
    file = tmp_path / "Wan2.2_VAE.pth"

    def wrong(state: State) -> str:
        torch.save(state, file)
        return refused(file, tmp_path / "out")

    name = "decoder.middle.0.residual.2.weight"
    said = wrong({key: value for key, value in good.items() if key != name})
    assert "lacks decoder.mid_block.resnets.0.conv1.weight [32, 32, 3, 3, 3]" in said
    assert f"{name} [5, 32, 3, 3, 3] (expected [32, 32, 3, 3, 3])" in wrong({**good, name: good[name][:5].clone()})
    assert "lacks" in wrong({"model.conv1.weight": good["conv1.weight"]})
    assert "no network that is known here: stranger [2]" in wrong({**good, "stranger": torch.zeros(2)})
    said = wrong({key: value for key, value in good.items() if not key.startswith("decoder.upsamples")})
    assert "and " in said
    assert " more" in said
    assert len(said) < 500
    assert "twice" in wrong({**good, "model.conv1.weight": good["conv1.weight"]})
    assert "holds no tensors" in wrong({})


# -- the published Mirage ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seen", [96, 49])
@pytest.mark.parametrize("layout", ["published", "ours"])
def test_a_published_branch_converts_and_attaches(model: Path, tmp_path: Path, seen: int, layout: str) -> None:
    file = tmp_path / "step_8500_vace.safetensors"
    state = published.branch_state(seen=seen)
    save_file({f"pipe.vace.{name}": value for name, value in state.items()}, file)
    if layout == "ours":
        assert convert(file, tmp_path / "branch.safetensors", heads=2, branch_layers=(0, 2)) == {
            "branch": tmp_path / "branch.safetensors"
        }
        file = tmp_path / "branch.safetensors"
    wan = load_world_model(model, branch=file)
    branch = wan.memory_branch
    assert branch is not None
    assert (branch.inputs, branch.layers) == ("published" if seen == 96 else "published_hole", (0, 2))
    for name, value in branch.state_dict().items():
        (old,) = (old for old in state if keys.branch_name(old) == name)
        assert torch.equal(value, state[old]), name
    save_branch(tmp_path / "again.safetensors", branch)
    branch.save_pretrained(tmp_path / "folder")
    for path in (tmp_path / "again.safetensors", tmp_path / "folder"):
        again = load_branch(path, wan.transformer)
        assert (again.layers, again.inputs) == (branch.layers, branch.inputs)
        assert same(branch.state_dict(), again.state_dict())


def test_a_branch_that_does_not_fit_is_refused(model: Path, tmp_path: Path) -> None:
    transformer = load_world_model(model).transformer
    file = tmp_path / "branch.safetensors"

    def wrong(state: State, **header: str) -> str:
        save_file(state, file, metadata=header or None)
        return refusal(load_branch, file, transformer)

    good = published.branch_state()
    assert "takes 32 channels; accepted: 49 or 96" in wrong(published.branch_state(seen=32))
    assert "has 3 side blocks, which tells no layers of a backbone of 4" in wrong(published.branch_state(blocks=3))
    assert "has 1 side blocks" in wrong(published.branch_state(blocks=1))  # cut short
    assert "lacks blocks.1.proj_out.bias [48]" in wrong({k: v for k, v in good.items() if "1.after_proj.bias" not in k})
    wider = {name: value.repeat_interleave(2, 0) if "ffn.0" in name else value for name, value in good.items()}
    wider = {name: value.repeat_interleave(2, 1) if "ffn.2.w" in name else value for name, value in wider.items()}
    assert "for a backbone with ffn_dim 192; this model has 96" in wrong(wider)
    assert "neither ours nor" in wrong(published.dit_state())
    other = tiny_world(heads=4).memory_branch
    assert other is not None
    save_branch(file, other)
    with pytest.raises(InputError, match="num_attention_heads 4; this model has 2"):
        load_branch(file, transformer)
    with pytest.raises(InputError, match="no such file"):
        load_branch(tmp_path / "none.safetensors", transformer)


@pytest.mark.parametrize("style", ["published", "peft", "down_up", "diffusers", "converted"])
@pytest.mark.parametrize("alpha", [None, 2.0, 12.0])
@torch.no_grad()
def test_a_lora_is_its_matrices_times_alpha(model: Path, tmp_path: Path, style: str, alpha: float | None) -> None:
    """alpha None: nothing is said, the scale is 1; otherwise alpha / rank, with rank 4."""
    state, file = published.lora_state(), tmp_path / "lora.safetensors"
    scale = 1.0 if alpha is None else alpha / 4
    written: State = dict(state)
    header = None
    if style in ("published", "converted") and alpha is not None:
        written |= {name.replace("lora_A.weight", "alpha"): torch.tensor(alpha) for name in state if "lora_A" in name}
    if style == "peft":
        written = {name.replace("pipe.dit", "base_model.model").replace(".weight", ".default.weight"): value
                   for name, value in state.items()}  # fmt: skip
        if alpha is not None:
            (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": alpha}))
        file = tmp_path / "adapter_model.safetensors"
    if style == "down_up":
        names = {"lora_A": "lora_down", "lora_B": "lora_up", "pipe.dit": "diffusion_model"}
        for old, new in names.items():
            written = {name.replace(old, new): value for name, value in written.items()}
        if alpha is not None:
            written |= {f"diffusion_model.blocks.{i}.{part}.alpha": torch.tensor([alpha])
                        for i in range(4) for part in ("self_attn.q", "self_attn.o")}  # fmt: skip
    if style == "diffusers":
        written = {f"transformer.{keys.transformer_name(name.removeprefix('pipe.dit.').split('.lora')[0] + '.weight')}"
                   .removesuffix(".weight") + f".lora{name.split('.lora')[1]}": value
                   for name, value in state.items()}  # fmt: skip
        if alpha is not None:
            header = {"lora_adapter_metadata": json.dumps({"transformer.r": 4, "transformer.lora_alpha": alpha})}
    save_file(written, file, metadata=header)
    if style == "converted":
        assert convert(file, tmp_path / "out.safetensors") == {"lora": tmp_path / "out.safetensors"}
        file = tmp_path / "out.safetensors"
    transformer = load_world_model(model, lora=file).transformer
    g = torch.Generator().manual_seed(0)
    latents, text = torch.randn((1, 48, 2, 4, 6), generator=g), torch.randn((1, 5, 32), generator=g)
    timestep = torch.tensor([[0.0, 512.0]])
    ours = transformer(latents, timestep.repeat_interleave(6, dim=1), text, return_dict=False)[0]
    nothing, dit = torch.zeros(48, 0, 4, 6), published.merged(published.dit_state(), state, scale)
    theirs = published.forward(dit, None, nothing, latents[0], nothing, timestep[0], text[0])
    torch.testing.assert_close(ours[0], theirs, atol=2e-4, rtol=2e-4)


@torch.no_grad()
def test_asked_alpha_wins_and_ranks_may_differ(model: Path, tmp_path: Path) -> None:
    q = published.lora_state(rank=2, targets=("self_attn.q",))
    rest = published.lora_state(3, rank=5, targets=("ffn.0",))
    rest = {name: torch.randn(96, 5, generator=torch.Generator().manual_seed(1)) if "lora_B" in name else value
            for name, value in rest.items()}  # fmt: skip
    save_file(q | rest, tmp_path / "lora.safetensors")
    convert(tmp_path / "lora.safetensors", tmp_path / "six.safetensors", alpha=6.0)
    transformer = load_world_model(model).transformer
    load_loras(tmp_path / "six.safetensors", transformer)
    modules = dict(transformer.named_modules())
    for name, rank in (("blocks.1.attn1.to_q", 2), ("blocks.1.ffn.net.0.proj", 5)):
        layer: Any = modules[name]
        assert math.isclose(layer.scaling["lora"], 6.0 / rank)


def test_a_lora_that_does_not_fit_is_refused(model: Path, tmp_path: Path) -> None:
    transformer = load_world_model(model).transformer
    file, good = tmp_path / "lora.safetensors", published.lora_state()
    first = "pipe.dit.blocks.0.self_attn.q"

    def wrong(state: State, **header: str) -> str:
        save_file(state, file, metadata=header or None)
        return refusal(load_loras, file, transformer)

    half = {name: value for name, value in good.items() if name != f"{first}.lora_B.weight"}
    assert f"no pair for {first}.lora_A.weight" in wrong(half)
    assert "do not multiply" in wrong({**good, f"{first}.lora_B.weight": torch.zeros(48, 5)})
    assert "another backbone: its blocks.0.attn1.to_q is 40 -> 48" in wrong(
        {**good, f"{first}.lora_A.weight": torch.zeros(4, 40)}
    )
    assert "no layer of this model" in wrong(
        {name.replace("blocks.0", "blocks.9"): value for name, value in good.items()}
    )
    assert "stranger" in wrong({**good, "stranger": torch.zeros(2)})
    assert "it is empty" in wrong({})
    assert "use_dora" in wrong(good, lora_adapter_metadata='{"transformer.use_dora": true}')
    for said in ('{"lora_alpha": "much"}', '{"lora_alpha": NaN}', "[", "3", '{"lora_alpha": 1e99}'):
        wrong(good, lora_adapter_metadata=said)
    assert "alpha" in wrong({**good, f"{first}.alpha": torch.zeros(3)})
    assert not hasattr(transformer, "peft_config")


def test_a_checkpoint_with_both_becomes_a_folder_with_both(model: Path, tmp_path: Path) -> None:
    """Stage two of the published training, as one pickle of dictionaries."""
    both = {"vace": published.branch_state(), "lora": published.lora_state(), "step": 8500}
    torch.save(both, tmp_path / "both.pt")
    assert "expected a folder" in refused(
        tmp_path / "both.pt", tmp_path / "one.safetensors", heads=2, branch_layers=(0, 2)
    )
    written = convert(tmp_path / "both.pt", tmp_path / "out", heads=2, branch_layers=(0, 2))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["branch.safetensors", "lora.safetensors"]
    wan = load_world_model(model, branch=written["branch"], lora=written["lora"])
    assert wan.memory_branch is not None
    assert wan.memory_branch.published
    assert list(wan.transformer.peft_config) == ["lora"]  # type: ignore[attr-defined]
