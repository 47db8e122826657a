"""The efficiency figure: its stages add up, its arithmetic is its docstring's, and its bytes are those of the tensors.

No test asks how fast anything is.
"""

import pytest
import torch

from mirage.errors import InputError
from mirage.evaluation.options import EfficiencyOptions
from mirage.evaluation.speed.efficiency import (
    PUBLISHED,
    STAGES,
    decomposition,
    figure,
    run_efficiency,
    speedups,
)
from mirage.evaluation.speed.real_scale import LEAST, run_real_scale
from mirage.models.tiny import tiny_world
from mirage.models.wan22 import random_block


@pytest.fixture(scope="module")
def result():
    options = EfficiencyOptions(memories=("latent", "rgb", "none"), chunks=2, steps=1)
    return run_efficiency(tiny_world(size=(32, 64)), options)


def test_stages_of_a_chunk_add_up(result):
    for name, rows in result["chunks"].items():
        assert [row["chunk"] for row in rows] == [1, 2]
        for row in rows:
            assert all(row[stage] >= 0 for stage in STAGES)
            assert row["end_to_end"] == pytest.approx(sum(row[stage] for stage in STAGES))
            both = row["decode"] + row["lift"] if name == "rgb" else 0
            assert row["conditioning"] == pytest.approx(row["project"] + row["encode"] + row["condition"] + both)
            assert (row["encode"] > 0) == (name == "rgb")
            assert row["decode"] > 0


def test_the_spread_is_that_of_the_chunks(result):
    for name, rows in result["chunks"].items():
        for stage, told in result["stages"][name].items():
            values = [row[stage] / result["setting"]["new_frames_per_chunk"] for row in rows]
            assert min(values) <= told["q1"] <= told["median"] <= told["q3"] <= max(values)


def test_the_cache_is_what_the_points_need(result):
    latent, rgb = (result["chunks"][name][-1] for name in ("latent", "rgb"))
    assert result["chunks"]["none"][-1]["cache_bytes"] == 0
    assert 32 * 64 < rgb["points"] <= 32 * 64 * 7  # the image, and of two latents of three chunks what has depth
    assert rgb["cache_bytes"] >= rgb["points"] * LEAST
    assert latent["cache_bytes"] >= latent["points"] * 2 * 48


def test_the_figure_is_a_picture_of_both(result):
    picture = figure(result)
    assert picture.shape[0] == 3
    assert picture.shape[1] > picture.shape[2]
    assert picture.std() > 0.05


def test_fewer_steps_show_more_of_the_memory():
    table = speedups({"latent": 1.0, "rgb": 21.0}, step=0.5)
    assert [row["steps"] for row in table] == [40, 20, 8, 4, 0]
    assert [row["over rgb"] for row in table] == pytest.approx([41 / 21, 31 / 11, 25 / 5, 23 / 3, 21.0])
    n = table[-1]["steps_for_published over rgb"]
    assert (21 + n / 2) / (1 + n / 2) == pytest.approx(PUBLISHED)
    assert speedups({"latent": 1.0, "rgb": 5.0}, step=0.5)[-1]["steps_for_published over rgb"] is None


def test_what_memories_share_is_the_same_for_all_however_the_clock_wavered():
    def row(own: float, shared: float) -> dict[str, float]:
        return {**dict.fromkeys(STAGES, 0.0), "encode": own, "denoise": shared, "depth": shared, "decode": shared}

    table = decomposition({"latent": [row(1, 2)] * 3, "rgb": [row(3, 2), row(3, 9), row(3, 2)]}, steps=1)
    assert table[-1]["latent s"] == 2 + 2 + 1
    assert table[-1]["rgb s"] == 2 + 2 + 3
    assert table[0]["denoise s"] == 80


def test_the_real_scale_in_small():
    asked, tokens = [], []

    def decode(latents):
        asked.append(tuple(latents.shape))
        return torch.zeros(1, 3, 24, 40)

    def encode(frame):
        asked.append(tuple(frame.shape))
        return torch.zeros(1, 4, 6, 10)

    real = run_real_scale(
        decode, encode, tokens.append, chunks=2, grid=(6, 10), stride=4, channels=4, repeats=1, merged=(0.5, 2.0)
    )
    assert asked == [(1, 3, 24, 40), (1, 4, 6, 10), (1, 4, 1, 2), (2, 4, 1, 2)]
    assert tokens == [12 * 15, 9 * 15]
    assert [row["chunk"] for row in real["latent"]] == [1, 2]
    rgb = real["rgb"]
    assert rgb["points"] == 9 * 24 * 40
    assert rgb["decode_s"] == pytest.approx(8 * rgb["decode_latent_s"])
    assert rgb["encode_s"] == pytest.approx(9 * rgb["encode_picture_s"])
    assert rgb["conditioning_s"] == pytest.approx(rgb["decode_s"] + rgb["encode_s"] + rgb["lift_s"] + rgb["render_s"])
    step = real["denoiser"]["step_s"]
    assert step == pytest.approx(30 * real["denoiser"]["block_s"] + 15 * real["denoiser"]["branch_block_s"])
    shown, unseen = (real["steps"][name][-1] for name in ("shown", "unseen"))
    assert shown["latent s"] - unseen["latent s"] == pytest.approx(rgb["decode_s"])
    assert shown["rgb s"] == pytest.approx(unseen["rgb s"])
    every, fine, coarse = real["memory"]
    assert every["bytes_per_frame"] == LEAST * 24 * 40
    assert 1 < fine["fewer"] < coarse["fewer"]


def test_a_block_of_the_real_denoiser_in_small():
    run = random_block(dim=48, heads=2, ffn_dim=96, text=4)
    assert run(6).shape == (1, 6, 48)
    assert torch.isfinite(run(6)).all()


def test_nothing_to_measure_is_refused():
    model = tiny_world(size=(32, 64))
    with pytest.raises(InputError, match="at least one chunk"):
        EfficiencyOptions(chunks=0)
    with pytest.raises(InputError, match="no memory"):
        run_efficiency(model, EfficiencyOptions(memories=("elephant",)))
