"""What a model's index tells is told first: before a byte of weights, and from a hub by two small files alone."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from huggingface_hub.errors import EntryNotFoundError

from helpers import refusal
from mirage.models import loading
from mirage.models.files import index as index_module
from mirage.models.files.index import look_first
from mirage.models.loading import load_world_model
from mirage.models.wan22 import write_configs
from mirage.models.world import WorldModel

refused = partial(refusal, load_world_model)


@pytest.fixture
def folder(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to spoil, and no weights may be read."""
    monkeypatch.setattr(WorldModel, "from_pretrained", lambda *_, **__: pytest.fail("the model was read"))
    monkeypatch.setattr(loading, "safe_open", lambda *_, **__: pytest.fail("weights were opened"))
    return shutil.copytree(saved, tmp_path / "model")


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_a_folder_of_ours_and_a_stock_one(saved: Path, tmp_path: Path) -> None:
    index = look_first(saved)
    assert index is not None
    assert index.depth_head
    assert index.replaced() == {}
    (tmp_path / "stock").mkdir()
    write_configs(tmp_path / "stock")
    stock = look_first(tmp_path / "stock")
    assert stock is not None
    assert not stock.depth_head
    assert look_first("mini") is None


def test_two_experts_and_other_networks(folder: Path) -> None:
    change(folder / "model_index.json", transformer_2=["diffusers", "WanTransformer3DModel"])
    assert "two experts" in refused(folder)
    change(
        folder / "model_index.json", transformer_2=[None, None], transformer=["diffusers", "LTXVideoTransformer3DModel"]
    )
    assert "LTXVideoTransformer3DModel as its transformer; accepted: WanTransformer3DModel" in refused(folder)


@pytest.mark.parametrize(("name", "settings", "said"), [
    ("DPMSolverMultistepScheduler", {}, "DPMSolverMultistepScheduler; accepted: UniPC"),
    ("FlowMatchEulerDiscreteScheduler", {"use_dynamic_shifting": True}, "with use_dynamic_shifting"),
    ("FlowMatchEulerDiscreteScheduler", {"shift": "much"}, "shift much"),
    ("UniPCMultistepScheduler", {"final_sigmas_type": "sigma_min"}, "'sigma_min'; accepted: 'zero'"),
    ("UniPCMultistepScheduler", {"solver_type": "bh1"}, "'bh1'; accepted: 'bh2'"),
    ("UniPCMultistepScheduler", {"prediction_type": "epsilon"}, "'epsilon'; accepted: 'flow_prediction'"),
    ("UniPCMultistepScheduler", {"use_flow_sigmas": False}, "False; accepted: True"),
])  # fmt: skip
def test_schedulers_that_walk_elsewhere(name: str, settings: dict[str, Any], said: str, folder: Path) -> None:
    change(folder / "model_index.json", scheduler=["diffusers", name])
    change(folder / "scheduler" / "scheduler_config.json", **settings)
    assert said in refused(folder)


def test_a_flow_matching_euler_scheduler_becomes_unipc_of_its_shift(
    saved: Path, data_dir: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(saved, tmp_path / "model")
    change(folder / "model_index.json", scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"])
    shutil.copyfile(
        data_dir / "inputs/scheduler_euler/scheduler_config.json", folder / "scheduler/scheduler_config.json"
    )
    model = load_world_model(folder)
    assert isinstance(model.scheduler, UniPCMultistepScheduler)
    assert model.prediction == "flow_prediction"
    model.scheduler.set_timesteps(20)
    begun = torch.linspace(1, 1 / 1000, 21)[:-1]  # the noise levels of a flow, shifted as SD3 has it
    expected = 8 * begun / (1 + 7 * begun)
    torch.testing.assert_close(model.scheduler.sigmas[:-1], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("file", ["diffusion_pytorch_model-00001-of-00003.safetensors", "Wan2.2_VAE.pth", "wan.gguf",
                                  "wan2.2_ti2v_5B_fp16.safetensors"])  # fmt: skip
def test_another_layout_names_convert(file: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(b"weights")
    assert f"has no model_index.json but {file}" in refused(tmp_path)
    assert f"`mirage convert {tmp_path}`" in refused(tmp_path)
    assert "`mirage convert`" in refused(tmp_path / file)


@pytest.mark.parametrize("file", ["transformer/diffusion_pytorch_model.safetensors", "tokenizer/tokenizer.json",
                                  "vae/diffusion_pytorch_model.safetensors", "vae/config.json",
                                  "model_index.json"])  # fmt: skip
def test_a_git_lfs_pointer_in_place_of_a_file(file: str, folder: Path, data_dir: Path) -> None:
    shutil.copyfile(data_dir / "inputs/lfs_pointer/Wan2.2_VAE.pth", folder / file)
    assert f"{file} is a Git LFS pointer" in refused(folder)


def test_a_hub_is_asked_for_two_small_files_first(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    folder = shutil.copytree(saved, tmp_path / "model")

    def fetch(repo: str, file: str) -> str:
        assert repo == "owner/name"
        asked.append(file)
        return str(folder / file)

    monkeypatch.setattr(index_module, "hf_hub_download", fetch)
    monkeypatch.setattr(loading, "snapshot_download", lambda *_, **__: pytest.fail("weights were fetched"))
    change(folder / "model_index.json", transformer_2=["diffusers", "WanTransformer3DModel"])
    assert "two experts" in refused("owner/name")
    assert asked == ["model_index.json", "scheduler/scheduler_config.json"]

    def nothing(*_: Any) -> str:
        raise EntryNotFoundError("404")

    monkeypatch.setattr(index_module, "hf_hub_download", nothing)
    assert "`mirage convert`" in refused("owner/name")
