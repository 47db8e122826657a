"""What a model needs is counted on the meta device, by running the code; so it must be what the code takes."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from mirage.errors import InputError
from mirage.models.fitting.budget import BUILT_IN, META, Budget, Live, budget, world_of
from mirage.models.fold import fold_time
from mirage.models.tiny import tiny_world


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Configurations without weights."""
    folder = tmp_path_factory.mktemp("model")
    tiny_world().save_pretrained(folder)
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()
    return folder


def test_the_published_model_has_its_published_sizes() -> None:
    model = world_of(BUILT_IN, torch.bfloat16)
    counts = {name: sum(weight.numel() for weight in part.parameters()) / 1e6
              for name, part in model.components.items() if isinstance(part, nn.Module)}  # fmt: skip
    assert round(counts["transformer"]) == 5000
    assert round(counts["memory_branch"]) == 2607
    assert round(counts["vae"], 1) == 704.7
    assert round(counts["text_encoder"]) == 5681
    assert {weight.device for weight in model.transformer.parameters()} == {META}


@pytest.fixture(scope="module")
def counted(folder) -> Budget:
    return budget(folder, dtype=torch.float32, cpu=True)


def test_counting_without_storage_is_counting_with_it(counted) -> None:
    model = tiny_world()
    fold_time(model.vae)
    parts = [part for part in model.components.values() if isinstance(part, nn.Module)]
    known = {t.untyped_storage()._cdata for part in parts for t in [*part.parameters(), *part.buffers()]}
    for stage, work in {"encode": lambda: model.encode(torch.rand(1, 3, *model.size)),
                        "decode": lambda: model.decode(torch.rand(3, 48, 4, 6)),
                        "prompt": lambda: model.encode_prompt("a red room")}.items():  # fmt: skip
        with Live(set(known), torch.device("cpu")) as live:
            work()
        assert counted.stages[stage].work == pytest.approx(live.most, rel=0.1), stage
    whole = sum(w.numel() * 4 for part in parts for w in [*part.parameters(), *part.buffers()])
    assert sum(counted.weights(name) for name in counted.networks) == pytest.approx(whole, rel=0.01)


def test_a_frame_is_forgotten_and_the_decoders_cache_is_kept(counted) -> None:
    stages = counted.stages
    assert list(stages) == ["prompt", "encode", "denoise", "depth", "decode"]
    assert stages["decode"].kept > 10 * max(stage.kept for name, stage in stages.items() if name != "decode")


def test_every_option_saves_something(folder, counted) -> None:
    whole = counted
    tiled = budget(folder, dtype=torch.float32, cpu=True, size=(64, 512), tile=32)
    assert tiled.stages["decode"].rested < 0.6 * whole.stages["decode"].rested * 512 / 96
    for stage in whole.stages:
        none, model = (whole.resident(stage, offload=offload) for offload in ("none", "model"))
        assert model < none
        assert whole.resident(stage, offload="none", quantize="nf4") < none
    group, model = (whole.resident("denoise", offload=offload) for offload in ("group", "model"))
    assert group - whole.weights("vae") - whole.weights("depth_head") < model
    sizes = [whole.weights("transformer", quantize=q) for q in ("none", "int8", "nf4")]
    assert sizes == sorted(sizes, reverse=True)


def test_what_is_no_model_says_so(folder, tmp_path) -> None:
    with pytest.raises(InputError, match=r"accepted: mini, wan2\.2-ti2v-5b, or a folder"):
        budget("gigantic", dtype=torch.float32)
    with pytest.raises(InputError, match="multiples of 32"):
        budget(folder, dtype=torch.float32, size=(100, 64))
    (tmp_path / "model_index.json").write_text(json.dumps({"vae": ["diffusers", "AutoencoderKLWan"]}))
    with pytest.raises(InputError, match=r"there is no file .*config\.json; expected a model's configuration"):
        budget(tmp_path, dtype=torch.float32)
    (tmp_path / "model_index.json").write_text("[")
    with pytest.raises(InputError, match=r"model_index\.json is not JSON"):
        budget(tmp_path, dtype=torch.float32)
