"""LoRAs of every layout that people have: what is merged is W + strength * (alpha / rank) * B A, as those who wrote the
layouts merge it; what does not fit, or is no plain LoRA, is refused in one line before anything is read."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.lora_pipeline import WanLoraLoaderMixin
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import published_layout as published
from helpers import refusal, same
from mirage.errors import InputError
from mirage.models.files import keys
from mirage.models.files.checkpoint import open_checkpoint
from mirage.models.files.convert import convert
from mirage.models.files.lora_spec import LoraSpec, lora_specs
from mirage.models.files.lorafile import LoraFile, read_lora
from mirage.models.files.loras import load_loras, merged
from mirage.models.loading import load_world_model
from mirage.models.tiny import tiny_world
from mirage.models.world import WorldModel

State = dict[str, Tensor]
SQUARE = (48, 48)
TARGETS = {"self_attn.q": SQUARE, "self_attn.o": SQUARE, "cross_attn.k": SQUARE, "ffn.0": (96, 48), "ffn.2": (48, 96)}
MODULES = {f"blocks.{i}.{part}": shape for i in range(4) for part, shape in TARGETS.items()}
RANK = 4


def pairs(seed: int = 0) -> dict[str, tuple[Tensor, Tensor]]:
    """A and B of each module, by its original name."""
    g = torch.Generator().manual_seed(seed)
    return {
        name: (torch.randn(RANK, ins, generator=g) / 7, torch.randn(outs, RANK, generator=g))
        for name, (outs, ins) in MODULES.items()
    }


def written(call: Callable[[str], str], a: str, b: str, seed: int = 0) -> State:
    """A file's tensors: `call` turns an original module name into the file's; a and b end the names of A and B."""
    return {
        f"{call(name)}{end}": value
        for name, pair in pairs(seed).items()
        for end, value in zip((a, b), pair, strict=True)
    }


def diffusers_name(name: str) -> str:
    return str(keys.transformer_name(f"{name}.weight")).removesuffix(".weight")


def alphas(call: Callable[[str], str], alpha: float) -> State:
    return {f"{call(name)}.alpha": torch.tensor(alpha) for name in MODULES}


def flat(prefix: str, named: Callable[[str], str] = str) -> Callable[[str], str]:
    return lambda name: prefix + named(name).replace(".", "_")


def dotted(prefix: str, named: Callable[[str], str] = str) -> Callable[[str], str]:
    return lambda name: prefix + named(name)


AB, DOWN_UP = (".lora_A.weight", ".lora_B.weight"), (".lora_down.weight", ".lora_up.weight")
LAYOUTS: dict[str, tuple[Callable[[str], str], tuple[str, str], float | None]] = {
    "diffusers": (dotted("transformer.", diffusers_name), AB, None),
    "comfy": (dotted("diffusion_model."), AB, None),
    "ai-toolkit": (flat("lycoris_", diffusers_name), DOWN_UP, 3.0),
    "diffsynth": (dotted(""), (".lora_A.default.weight", ".lora_B.default.weight"), None),
    "published": (dotted("pipe.dit."), AB, None),
    "peft": (dotted("base_model.model."), AB, None),
    "kohya": (flat("lora_unet_"), DOWN_UP, 2.0),
    "kohya of diffusers": (flat("lora_unet_", diffusers_name), DOWN_UP, 2.0),
    "videox-fun": (flat("lora_unet__"), DOWN_UP, 8.0),
    "lightx2v": (dotted("diffusion_model."), DOWN_UP, None),
    "old diffusers": (dotted("transformer.", diffusers_name), (".lora.down.weight", ".lora.up.weight"), None),
}


@pytest.fixture(scope="module")
def base() -> WorldModel:
    return tiny_world()


@pytest.fixture
def transformer(base: WorldModel) -> WanTransformer3DModel:
    return copy.deepcopy(base.transformer)


def weights_of(transformer: nn.Module) -> State:
    with merged(transformer):
        return {name: value.clone() for name, value in transformer.state_dict().items()}


def plus(before: State, scale: float, seed: int = 0) -> State:
    """W + scale * B A, said again."""
    after = dict(before)
    for name, (a, b) in pairs(seed).items():
        after[f"{diffusers_name(name)}.weight"] = after[f"{diffusers_name(name)}.weight"] + scale * b @ a
    return after


def assert_same(ours: State, theirs: State) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, atol=1e-5, rtol=1e-5, msg=name)


def refused(file: Path, transformer: WanTransformer3DModel) -> str:
    before = {name: value.clone() for name, value in transformer.state_dict().items()}
    said = refusal(load_loras, file, transformer)
    assert same(transformer.state_dict(), before)
    return said


# -- layouts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("route", ["as it is", "converted", "saved and loaded"])
def test_the_merged_weights_are_w_plus_s_b_a(
    layout: str, route: str, transformer: WanTransformer3DModel, tmp_path: Path
) -> None:
    call, (a, b), alpha = LAYOUTS[layout]
    file = tmp_path / "lora.safetensors"
    save_file(written(call, a, b) | ({} if alpha is None else alphas(call, alpha)), file)
    before = weights_of(transformer)
    if route == "converted":
        convert(file, tmp_path / "out.safetensors")
        file = tmp_path / "out.safetensors"
    load_loras(LoraSpec(file, 0.5), transformer)
    expected = plus(before, 0.5 * (1.0 if alpha is None else alpha / RANK))
    if route == "saved and loaded":
        with merged(transformer):
            transformer.save_pretrained(tmp_path / "saved")
        assert_same(load_file(tmp_path / "saved" / "diffusion_pytorch_model.safetensors"), expected)
    assert_same(weights_of(transformer), expected)


@pytest.mark.parametrize("layout", ["comfy", "kohya", "diffusers"])
def test_diffusers_reads_the_same(layout: str, tmp_path: Path) -> None:
    """Where diffusers' loader of Wan LoRAs takes a layout whole, its products are ours."""
    call, (a, b), alpha = LAYOUTS[layout]
    state = written(call, a, b) | ({} if alpha is None else alphas(call, alpha))
    if layout == "kohya":  # it wants every layer of every block
        for i in range(4):
            for part in ("self_attn.k", "self_attn.v", "cross_attn.q", "cross_attn.v", "cross_attn.o"):
                name = call(f"blocks.{i}.{part}")
                state |= {f"{name}{a}": torch.ones(RANK, 48), f"{name}{b}": torch.ones(48, RANK),
                          f"{name}.alpha": torch.tensor(2.0)}  # fmt: skip
    save_file(state, tmp_path / "lora.safetensors")
    ours = read_lora(open_checkpoint(tmp_path / "lora.safetensors"))
    theirs: Any = WanLoraLoaderMixin.lora_state_dict(dict(state))
    assert {f"transformer.{module}" for module in ours.pairs} == {name.split(".lora_")[0] for name in theirs}
    for module in ours.pairs:
        its = theirs[f"transformer.{module}.lora_B.weight"] @ theirs[f"transformer.{module}.lora_A.weight"]
        torch.testing.assert_close(ours.product(module), its)


def test_differences_of_weights_and_biases_themselves(transformer: WanTransformer3DModel, tmp_path: Path) -> None:
    """lightx2v's files: pairs, `diff_b` beside them, `diff` of norms, of the head and of what is no layer."""
    g = torch.Generator().manual_seed(3)
    more = {
        "blocks.1.self_attn.q.diff_b": (48,), "blocks.2.norm3.diff": (48,), "blocks.2.norm3.diff_b": (48,),
        "blocks.0.self_attn.norm_q.diff": (48,), "head.head.diff": (192, 48), "head.head.diff_b": (192,),
        "blocks.3.diff_m": (1, 6, 48), "head.modulation.diff": (1, 2, 48), "time_projection.1.diff_b": (288,),
        "patch_embedding.diff": (48, 48, 1, 2, 2), "text_embedding.0.diff_b": (48,),
    }  # fmt: skip
    differences = {name: torch.randn(shape, generator=g) for name, shape in more.items()}
    conv = {"patch_embedding.lora_down.weight": torch.randn(2, 48, 1, 2, 2, generator=g),
            "patch_embedding.lora_up.weight": torch.randn(48, 2, 1, 1, 1, generator=g)}  # fmt: skip
    state = written(dotted("diffusion_model."), *DOWN_UP)
    state |= {f"diffusion_model.{name}": value for name, value in (differences | conv).items()}
    save_file(state, tmp_path / "lora.safetensors")
    expected = plus(weights_of(transformer), 2.0)
    for name, value in differences.items():
        leaf = {"diff": "weight", "diff_b": "bias", "diff_m": ""}[name.rpartition(".")[2]]
        module = name.rpartition(".")[0]
        if module.endswith("modulation") or leaf == "":
            target = "scale_shift_table" if module == "head.modulation" else f"{module}.scale_shift_table"
        else:
            target = str(keys.transformer_name(f"{module}.{leaf}"))
        expected[target] = expected[target] + 2.0 * value
    product = conv["patch_embedding.lora_up.weight"].flatten(1) @ conv["patch_embedding.lora_down.weight"].flatten(1)
    expected["patch_embedding.weight"] = expected["patch_embedding.weight"] + 2.0 * product.view(48, 48, 1, 2, 2)
    convert(tmp_path / "lora.safetensors", tmp_path / "converted.safetensors")
    for file in ("lora", "converted"):
        its = copy.deepcopy(transformer)
        load_loras(LoraSpec(tmp_path / f"{file}.safetensors", 2.0), its)
        assert_same(weights_of(its), expected)


class Original(nn.Module):
    """Two blocks under the original names, to be adapted by PEFT itself."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.ModuleDict({"self_attn": nn.ModuleDict({p: nn.Linear(48, 48) for p in "qkvo"})})
                                     for _ in range(2)])  # fmt: skip


@pytest.mark.parametrize("choices", [
    {}, {"alpha_pattern": {"blocks.0.self_attn.q": 16}}, {"alpha_pattern": {"self_attn.q": 16}},
    {"alpha_pattern": {"q": 16, "self_attn.q": 3}}, {"alpha_pattern": {r"blocks\.[1-9]\..*": 6}},
    {"rank_pattern": {"self_attn.k": 2}}, {"rank_pattern": {"blocks.1.self_attn.o": 8}, "alpha_pattern": {"o": 1}},
    {"use_rslora": True}, {"use_rslora": True, "alpha_pattern": {"self_attn.v": 2}}, {"lora_bias": True},
])  # fmt: skip
def test_patterns_mean_what_they_mean_in_peft(choices: dict[str, Any], tmp_path: Path) -> None:
    """A folder that PEFT wrote gives the weights that PEFT merges."""
    torch.manual_seed(0)
    plain = Original()
    its = copy.deepcopy(plain)
    adapted: Any = get_peft_model(its, LoraConfig(r=4, lora_alpha=6, target_modules=["q", "k", "v", "o"], **choices))
    for name, value in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(value)
    adapted.save_pretrained(tmp_path)
    lora = read_lora(open_checkpoint(tmp_path))
    theirs = adapted.merge_and_unload().state_dict()
    for name, before in plain.state_dict().items():
        module, _, leaf = name.rpartition(".")
        new = diffusers_name(module)
        added = lora.product(new) if leaf == "weight" else torch.zeros(48)
        if f"{new}.{leaf}" in lora.added:
            tensor, times = lora.added[f"{new}.{leaf}"]
            added = added + times * lora.read(tensor)
        torch.testing.assert_close(before + added, theirs[name], msg=name)


# -- several ----------------------------------------------------------------------------------------------------------


def test_several_are_summed_each_with_its_strength(transformer: WanTransformer3DModel, tmp_path: Path) -> None:
    call = dotted("diffusion_model.")
    save_file(written(call, *AB), tmp_path / "one.safetensors")
    kohya = flat("lora_unet_")
    save_file(written(kohya, *DOWN_UP, seed=1) | alphas(kohya, 2.0), tmp_path / "two.safetensors")
    half = {name: value for name, value in written(call, *AB, seed=2).items() if ".ffn." in name}
    save_file(half, tmp_path / "three.safetensors")
    before = weights_of(transformer)
    one, two, three = (tmp_path / f"{name}.safetensors" for name in ("one", "two", "three"))
    load_loras([f"{one}:0.8", LoraSpec(two, -1.5), three], transformer)
    expected = plus(plus(before, 0.8), -0.75, seed=1)
    whole = plus(before, 1.0, seed=2)
    for name in expected:
        if ".ffn." in name:
            expected[name] = expected[name] + whole[name] - before[name]
    assert_same(weights_of(transformer), expected)
    transformer.unload_lora()
    assert_same(dict(transformer.state_dict()), before)


def test_specs_as_they_are_typed(tmp_path: Path) -> None:
    assert LoraSpec.parse("a.safetensors") == LoraSpec(Path("a.safetensors"), 1.0)
    assert LoraSpec.parse("a.safetensors:0.8") == LoraSpec(Path("a.safetensors"), 0.8)
    assert LoraSpec.parse("a:-1e-1").strength == -0.1
    assert LoraSpec.parse(r"C:\loras\a.safetensors") == LoraSpec(Path(r"C:\loras\a.safetensors"))
    for text in ("a.safetensors", "a.safetensors:0.8"):
        assert str(LoraSpec.parse(text)) == text
    (tmp_path / "a:2").touch()
    (tmp_path / "a").touch()
    assert LoraSpec.parse(f"{tmp_path}/a:2").path == tmp_path / "a:2"
    for wrong in (f"{tmp_path}/a:much", f"{tmp_path}/a:", f"{tmp_path}/a:nan", "b:inf"):
        with pytest.raises(InputError, match="strength"):
            LoraSpec.parse(wrong)
    assert lora_specs(None) == ()
    with pytest.raises(InputError, match="given twice"):
        lora_specs(["a:0.5", "./a:0.3"])


# -- as files that people have ----------------------------------------------------------------------------------------


@pytest.fixture
def inputs(data_dir: Path) -> Path:
    return data_dir / "inputs"


def effect(lora: LoraFile, module: str) -> float:
    """How many times B A counts."""
    a, b = (lora.read(name) for name in lora.pairs[module])
    return float((lora.product(module) / (b @ a)).median())


def test_a_musubi_file(inputs: Path, tmp_path: Path) -> None:
    file = inputs / "lora_musubi" / "musubi.safetensors"
    lora = read_lora(open_checkpoint(file))
    assert len(lora.pairs) == 60
    assert effect(lora, "blocks.0.attn1.to_q") == pytest.approx(0.5)
    convert(file, tmp_path / "out.safetensors")
    again = read_lora(open_checkpoint(tmp_path / "out.safetensors"))
    assert again.pairs.keys() == lora.pairs.keys()
    assert again.alpha == lora.alpha


def test_a_neighbours_configuration_is_not_the_files_own(inputs: Path) -> None:
    lora = read_lora(open_checkpoint(inputs / "lora_neighbour_config" / "style_lora.safetensors"))
    assert effect(lora, "blocks.0.attn1.to_q") == pytest.approx(1.0)


def test_a_peft_folder_with_an_alpha_pattern(inputs: Path) -> None:
    for path in (
        inputs / "lora_alpha_pattern" / "ap_orig",
        inputs / "lora_alpha_pattern/ap_orig/adapter_model.safetensors",
    ):
        lora = read_lora(open_checkpoint(path))
        assert lora.alpha["blocks.0.attn1.to_q"] == 16
        assert {value for module, value in lora.alpha.items() if module != "blocks.0.attn1.to_q"} == {4}


def test_a_configuration_whose_rank_is_another_is_refused(transformer: WanTransformer3DModel, tmp_path: Path) -> None:
    save_file(written(dotted("base_model.model."), *AB), tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 64, "lora_alpha": 128}))
    assert "says rank 64 for blocks.0.cross_attn.k, whose matrices have 4" in refused(tmp_path, transformer)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4, "alpha_pattern": {"[": 2}}))
    assert "no regular expression" in refused(tmp_path, transformer)


def test_a_misfit_is_told_before_the_base_model_is_read(
    base: WorldModel, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base.save_pretrained(tmp_path / "model")
    monkeypatch.setattr(WorldModel, "from_pretrained", lambda *_, **__: pytest.fail("the model was read"))
    with pytest.raises(InputError, match=r"comfy.safetensors is for another backbone: its blocks.0.\S+ is 256 -> 256"):
        load_world_model(tmp_path / "model", lora=inputs / "lora_two" / "comfy.safetensors")


OTHER = {
    "DoRA": {"diffusion_model.blocks.0.self_attn.q.dora_scale": torch.ones(48, 1)},
    "DoRA of PEFT": {"base_model.model.blocks.0.self_attn.q.lora_magnitude_vector.weight": torch.ones(48)},
    "LoKr": {
        "lycoris_blocks_0_self_attn_q.lokr_w1": torch.ones(4, 4),
        "lycoris_blocks_0_self_attn_q.lokr_w2": torch.ones(12, 12),
    },
    "LoHa": {"lora_unet_blocks_0_self_attn_q.hada_w1_a": torch.ones(48, 4)},
    "OFT": {"lora_unet_blocks_0_self_attn_q.oft_blocks": torch.ones(4, 4)},
    "GLoRA": {f"lora_unet_blocks_0_self_attn_q.{part}.weight": torch.ones(4, 4) for part in ("a1", "a2", "b1", "b2")},
    "HRA": {"base_model.model.blocks.0.self_attn.q.hra_u": torch.ones(48, 4)},
}


def test_an_alpha_may_be_an_integer(tmp_path: Path) -> None:
    state = written(dotted("diffusion_model."), *AB)
    module = next(iter(state)).removesuffix(".lora_A.weight")
    save_file(state | {f"{module}.alpha": torch.tensor(2)}, tmp_path / "lora.safetensors")
    lora = read_lora(open_checkpoint(tmp_path / "lora.safetensors"))
    assert 2 in lora.alpha.values()


@pytest.mark.parametrize("kind", OTHER)
def test_other_adapters_are_refused_by_name(kind: str, transformer: WanTransformer3DModel, tmp_path: Path) -> None:
    file = tmp_path / "lora.safetensors"
    for state in (OTHER[kind], OTHER[kind] | written(dotted("diffusion_model."), *AB)):
        save_file(state, file)
        assert f"but {kind.split()[0]}: " in refused(file, transformer)
        with pytest.raises(InputError, match=kind.split()[0]):
            convert(file, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("said", [{"use_dora": True}, {"peft_type": "LOKR"}, {"init_lora_weights": "pissa_niter_4"}])
def test_settings_that_are_no_plain_lora(
    said: dict[str, Any], transformer: WanTransformer3DModel, tmp_path: Path
) -> None:
    save_file(written(dotted("base_model.model."), *AB), tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4, **said}))
    assert "accepted:" in refused(tmp_path / "adapter_model.safetensors", transformer)


@pytest.mark.parametrize("name", [
    "lora_unet_blocks_0_self_attn_z", "lora_te_encoder_q", "diffusion_model.blocks.0.cross_attn.k_img",
    "diffusion_model.vace_blocks.0.self_attn.q", "transformer_2.blocks.0.attn1.to_q",
])  # fmt: skip
def test_what_has_no_place_is_refused_by_both(name: str, transformer: WanTransformer3DModel, tmp_path: Path) -> None:
    file = tmp_path / "lora.safetensors"
    state = {f"{name}.lora_down.weight": torch.ones(4, 48), f"{name}.lora_up.weight": torch.ones(48, 4)}
    save_file(state | written(dotted("diffusion_model."), *AB), file)
    assert name in refused(file, transformer)
    with pytest.raises(InputError, match="no place"):
        convert(file, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


# -- saved ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["attached", "fused", "by diffusers", "switched off"])
@torch.no_grad()
def test_a_model_with_a_lora_is_saved_merged_and_loads(how: str, tmp_path: Path) -> None:
    model = tiny_world()
    transformer: Any = model.transformer
    save_file(written(dotted("transformer.", diffusers_name), *AB), tmp_path / "lora.safetensors")
    expected = plus(weights_of(transformer), 0.0 if how == "switched off" else 1.0)
    if how == "by diffusers":
        transformer.load_lora_adapter(written(dotted("", diffusers_name), *AB), prefix=None)
    else:
        load_loras(tmp_path / "lora.safetensors", transformer)
    if how == "fused":
        transformer.fuse_lora()
    if how == "switched off":
        transformer.disable_lora()
    attached = {name: value.clone() for name, value in transformer.state_dict().items()}
    model.save_pretrained(tmp_path / "model")
    again = load_world_model(tmp_path / "model")
    assert_same(dict(again.transformer.state_dict()), expected)
    assert same(transformer.state_dict(), attached)


def test_a_transformer_saved_with_its_lora_beside_it_is_refused(base: WorldModel, tmp_path: Path) -> None:
    """diffusers writes `base_layer` names and loads them with weights that are nowhere (on the meta device)."""
    base.save_pretrained(tmp_path / "model")
    transformer: Any = copy.deepcopy(base.transformer)
    transformer.load_lora_adapter(written(dotted("", diffusers_name), *AB), prefix=None)
    transformer.fuse_lora()
    transformer.save_pretrained(tmp_path / "model" / "transformer")
    with pytest.raises(InputError, match=r"transformer lacks \d+ weights, the first one blocks"):
        load_world_model(tmp_path / "model")


def test_a_branch_brings_the_lora_of_its_file(base: WorldModel, tmp_path: Path) -> None:
    base.save_pretrained(tmp_path / "model")
    torch.save({"vace": published.branch_state(), "lora": published.lora_state()}, tmp_path / "both.pt")
    before = dict(base.transformer.state_dict())
    for given in (None, f"{tmp_path}/both.pt:0.5"):
        model = load_world_model(tmp_path / "model", branch=tmp_path / "both.pt", lora=given)
        assert model.memory_branch is not None
        assert model.memory_branch.published
        after = weights_of(model.transformer)
        its = published.lora_state()
        a, b = (its[f"pipe.dit.blocks.0.self_attn.q.lora_{part}.weight"] for part in "AB")
        name = "blocks.0.attn1.to_q.weight"
        torch.testing.assert_close(after[name], before[name] + (1.0 if given is None else 0.5) * b @ a)


def test_the_spec_imports_nothing_heavy() -> None:
    """The spec is for the command line: it costs nothing to import."""
    code = "import sys, mirage.models.files.lora_spec; print({'torch', 'numpy', 'diffusers'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
