"""DINOv2 at toy size with random weights: one vector a picture, from a folder or one clear line."""

import pytest
import torch
from transformers import Dinov2Config, Dinov2Model

from mirage.errors import InputError
from mirage.models.others.scene_features import SceneFeatures

PICTURES = torch.rand(3, 3, 40, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("dino")
    config = Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14)
    Dinov2Model(config).save_pretrained(path)
    return path


def test_a_vector_a_picture_whatever_stands_beside_it(folder) -> None:
    features = SceneFeatures.load(folder)
    found = features(PICTURES)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(features(PICTURES[1:2])[0], found[1])
    alike = features.alike(PICTURES, PICTURES[[0, 2, 1]])
    assert alike[0] == pytest.approx(1, abs=1e-5)
    assert alike[1] == pytest.approx(float(alike[2]), abs=1e-5)
    assert alike[1] < 1


def test_what_is_no_dinov2_is_one_line(folder, tmp_path) -> None:
    with pytest.raises(InputError, match=r"weights missing: .* has no config.json"):
        SceneFeatures.load(tmp_path)
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(InputError, match="does not load"):
        SceneFeatures.load(tmp_path)
