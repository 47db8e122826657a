"""A part begins from the folder that its recipe names, and from no other."""

import pytest
import torch

from helpers import same
from mirage.errors import InputError
from mirage.models.tiny import GroupedSizes, MiniConfig, build_world
from mirage.scenes import vocabulary
from mirage.training.parts import MINI, Parts, assembled, hear_words, leave

SMALL = MiniConfig(grouped=GroupedSizes(16, 8, 2, 1), layers=1, branch_layers=(0,), detail_blocks=1, depth_hidden=16)
NAMES = ("vae", "text_encoder", "transformer", "memory_branch", "depth_head")


def state(part):
    return dict(part.named_parameters())


@pytest.mark.parametrize("name", NAMES)
def test_each_part_comes_from_where_it_is_said_to_and_the_others_are_fresh(tmp_path, name):
    taught, fresh = build_world(SMALL, words=vocabulary(), seed=7), assembled(Parts(), SMALL)
    leave(getattr(taught, name), tmp_path / "run" / name)
    model = assembled(Parts(**{name: tmp_path / "run"}), SMALL)
    assert same(state(getattr(model, name)), state(getattr(taught, name)))
    assert not same(state(getattr(fresh, name)), state(getattr(taught, name)))
    assert all(same(state(getattr(model, other)), state(getattr(fresh, other))) for other in NAMES if other != name)
    with pytest.raises(InputError, match=rf"{tmp_path / 'none'} has no {name}; run the recipe that makes it first"):
        Parts(**{name: tmp_path / "none"}).check()


def test_what_is_left_takes_the_place_of_what_was(tmp_path):
    for seed in (1, 2):
        taught = build_world(SMALL, words=vocabulary(), seed=seed)
        leave(taught.depth_head, tmp_path / "depth_head")
    assert same(state(assembled(Parts(depth_head=tmp_path), SMALL).depth_head), state(taught.depth_head))
    assert [path.name for path in tmp_path.iterdir()] == ["depth_head"]
    again = assembled(Parts(depth_head=tmp_path), SMALL).depth_head
    leave(again, tmp_path / "again" / "depth_head")
    assert str(tmp_path) not in (tmp_path / "again" / "depth_head" / "config.json").read_text()


def test_a_part_of_other_sizes_is_refused(tmp_path):
    leave(build_world(SMALL, words=vocabulary()).transformer, tmp_path / "transformer")
    with pytest.raises(InputError, match=r"transformer of .* is of other sizes: \d+ parameters differ, the first is"):
        assembled(Parts(transformer=tmp_path))


def test_all_parts_may_come_from_the_model_that_ships():
    model = assembled(Parts.of("mini"))
    assert min(model.vae.config["latents_std"]) < 1  # those of fresh ones are 1
    assert len(state(model.transformer)) == len(state(build_world(MINI, words=vocabulary()).transformer))
    assert model.transformer.dtype == torch.float32


@torch.no_grad()
def test_words_are_heard_at_full_strength_through_a_fresh_embedding():
    model = build_world(SMALL, words=vocabulary())
    heard = model.transformer.get_parameter("blocks.0.attn2.to_out.0.weight")
    out = heard.clone()
    hear_words(model, generator=torch.Generator().manual_seed(0))
    text = torch.randn(1, 50, SMALL.text_dim, generator=torch.Generator().manual_seed(1))
    assert 0.2 < model.transformer.condition_embedder.text_embedder(text).std() < 2
    torch.testing.assert_close(heard, 0.2 * out)
