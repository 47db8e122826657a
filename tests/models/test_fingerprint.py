"""A world file knows the autoencoder of its latents."""

import pytest
import torch
from safetensors.torch import load_file

from helpers import random_image
from mirage import InputError, Session, load_world_model
from mirage.models.fingerprint import fingerprint, same_autoencoder
from mirage.models.tiny import tiny_world


def other_world():
    other = tiny_world()
    with torch.no_grad():
        for weight in other.vae.parameters():
            weight += (
                0.3 * weight.std(correction=0) * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
            )
    return other


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_is_the_autoencoders_in_any_precision_and_no_others(dtype):
    one = fingerprint(tiny_world())
    assert one.abs().max() > 0.1
    assert same_autoencoder(one, fingerprint(tiny_world().to(dtype)))
    assert not same_autoencoder(one, fingerprint(other_world()))


def test_walking_on_with_another_autoencoder_is_refused(tmp_path, model):
    path = tmp_path / "world.safetensors"
    Session(model, random_image()).save(path)
    assert Session.load(path, model).index == 0
    with pytest.raises(InputError, match="another autoencoder"):
        Session.load(path, other_world())
    with pytest.raises(InputError, match=f"another autoencoder.*, {model.channels} channels and not 32; accepted: the"):
        Session.load(path, load_world_model("mini"))
    assert torch.equal(load_file(path)["extra.autoencoder"], fingerprint(model))
