"""Full-size Wan2.2 on the meta device: exact counts from configurations alone; configurations that describe nothing."""

import json
from pathlib import Path

import pytest
from torch import nn

from helpers import refusal
from mirage.models import wan22
from mirage.models.fitting.blueprint import blueprint
from mirage.models.tiny import tiny_world
from mirage.models.transformer import MemoryBranch
from mirage.models.world import WorldModel

COUNTS = {"transformer": 4_999_787_712, "text_encoder": 5_680_910_336, "vae": 704_688_668}


def count(part: nn.Module) -> int:
    return sum(weight.numel() for weight in part.parameters())


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    wan22.write_configs(tmp_path)
    return tmp_path


def test_the_full_pipeline_has_the_published_sizes(configs: Path) -> None:
    model = blueprint(configs)
    assert {name: count(part) for name, part in model.components.items() if isinstance(part, nn.Module)} == COUNTS
    assert all(weight.is_meta for name in COUNTS for weight in model.components[name].parameters())
    assert (model.channels, model.stride, model.size, model.chunk_frames) == (48, 16, (704, 1280), 33)
    assert round(count(model.vae.encoder) / 1e6, 1) == 149.6
    assert round(count(model.vae.decoder) / 1e6, 1) == 555.0
    branch = MemoryBranch.from_transformer(model.transformer, inputs="published")
    assert len(branch.layers) == 15
    assert count(branch) == 2_607_077_376


def test_a_saved_model_has_the_blueprint_of_itself(tmp_path: Path) -> None:
    model = tiny_world(detail_channels=4, prediction="sample")
    model.save_pretrained(tmp_path)
    drawn: WorldModel = blueprint(tmp_path)
    for name, part in model.components.items():
        if isinstance(part, nn.Module):
            theirs = drawn.components[name].state_dict()
            assert {key: value.shape for key, value in theirs.items()} == {
                key: value.shape for key, value in part.state_dict().items()
            }, name
    assert drawn.size == model.size
    assert drawn.sampler == model.sampler


def test_the_statistics_of_the_latents_are_48_sane_numbers() -> None:
    assert len(wan22.LATENTS_MEAN) == len(wan22.LATENTS_STD) == 48
    assert all(0.3 < value < 2 for value in wan22.LATENTS_STD)
    assert all(abs(value) < 0.6 for value in wan22.LATENTS_MEAN)


@pytest.mark.parametrize("change", ["{", "[]", '{"d_model": "wide"}', '{"num_heads": null}', "", None])
def test_configurations_that_describe_nothing_say_so(configs: Path, change: str | None) -> None:
    file = configs / "text_encoder" / "config.json"
    if change is None:
        file.unlink()
    elif change.startswith('{"'):
        file.write_text(json.dumps({**wan22.TEXT_ENCODER, **json.loads(change)}))
    else:
        file.write_text(change)
    refusal(blueprint, configs)
