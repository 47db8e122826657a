"""transformers' depth networks at toy sizes with random weights: what they are shown, and what their numbers mean."""

from typing import Any

import pytest
import torch
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    DepthProConfig,
    DepthProForDepthEstimation,
    Dinov2Config,
)

from helpers import refusal, views_of
from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.models.others.frame_depth import DepthAnythingDepth, DepthProDepth

FRAMES, NUMBER = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0)), torch.tensor([4, 8])
CAMERA = Camera(torch.eye(4).expand(2, 4, 4), torch.tensor([0.8, 1.2, 0.5, 0.5]))


def depth_anything(kind: str) -> DepthAnythingForDepthEstimation:
    stages: dict[str, Any] = {"out_features": [f"stage{n}" for n in (1, 2, 3, 4)]}  # which its signature leaves out
    backbone = Dinov2Config(hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=28, patch_size=14,
                            reshape_hidden_states=False, **stages)  # fmt: skip
    torch.manual_seed(0)
    return DepthAnythingForDepthEstimation(DepthAnythingConfig(
        backbone_config=backbone, patch_size=14, reassemble_hidden_size=16, neck_hidden_sizes=[4, 4, 4, 4],
        fusion_hidden_size=4, head_hidden_size=4, depth_estimation_type=kind, max_depth=20))  # fmt: skip


def test_depth_anything_sees_whole_frames_and_says_metres(monkeypatch) -> None:
    monkeypatch.setattr("mirage.models.others.frame_depth.SHORT_SIDE", 28)
    estimate = DepthAnythingDepth(depth_anything("metric"))
    depth = estimate(views_of(FRAMES, CAMERA, NUMBER))
    assert depth.shape == (2, 28, 42)
    assert depth.valid.any()
    assert 0 < depth.z[depth.valid].min() <= depth.z[depth.valid].max() < 20
    assert torch.equal(estimate(views_of(FRAMES[1:], CAMERA[1:], NUMBER[1:])).z[0], depth.z[1])  # each frame alone
    with pytest.raises(InputError, match="'relative': its depth has no scale"):
        DepthAnythingDepth(depth_anything("relative"))


def test_depth_pro_takes_the_cameras_focal_length() -> None:
    part = {"model_type": "dinov2", "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2,
            "image_size": 32, "patch_size": 8}  # fmt: skip
    torch.manual_seed(0)
    model = DepthProForDepthEstimation(DepthProConfig(
        fusion_hidden_size=8, patch_size=32, intermediate_hook_ids=[3, 1], intermediate_feature_dims=[8, 8],
        scaled_images_feature_dims=[8, 8, 8], merge_padding_value=1, image_model_config=part, patch_model_config=part,
        fov_model_config=part))  # fmt: skip
    estimate = DepthProDepth(model)
    assert estimate.side == 128
    depth = estimate(views_of(FRAMES, CAMERA, NUMBER))
    assert depth.shape[0] == 2
    twice = Camera(CAMERA.c2w, CAMERA.intrinsics * torch.tensor([2.0, 2.0, 1.0, 1.0]))
    torch.testing.assert_close(estimate(views_of(FRAMES, twice, NUMBER)).z[depth.valid], 2 * depth.z[depth.valid])


def test_weights_that_are_not_there_are_one_line(tmp_path) -> None:
    refusal(DepthAnythingDepth.load, str(tmp_path), words=("does not load",))
