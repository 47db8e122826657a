"""The exercises are mixed by one table of shares; each shows what it says."""

from collections import Counter
from dataclasses import astuple, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mirage.errors import InputError
from mirage.training.clips import load_latents
from mirage.training.denoiser import DenoiserConfig, DenoiserTask
from mirage.training.exercises import Exercises, Mix, Relived
from mirage.training.past import Augment
from recipes import mini, wan
from toys import at, batch_of, seen


def exercises(latents, mix, **changes):
    its = Exercises(latents, mix, Augment(latent_noise=0), batch=2, frames=5, held_out=1)
    return replace(its, **changes)


tables = st.lists(st.integers(0, 9), min_size=5, max_size=5).filter(any).map(lambda n: Mix(*(x / sum(n) for x in n)))


@settings(max_examples=25, deadline=None)
@given(tables)
def test_each_exercise_is_drawn_at_its_share(mix):
    """Within four deviations of what so many draws give, and never where its share is 0."""
    count, drawn = 1500, Counter()
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        shape = mix.shape(generator)
        drawn[("drafts" if mix.drafted(generator) else "glimpses") if shape == "short" else shape] += 1
    for name in ("chunk", "relived", "glimpses", "drafts", "words"):
        share = getattr(mix, name)
        assert abs(drawn[name] / count - share) <= 4 * (share * (1 - share) / count) ** 0.5 + 1e-9, name


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_shares_that_do_not_sum_to_1_are_refused(shares):
    if abs(sum(shares) - 1) < 1e-5:
        return
    with pytest.raises(InputError, match=r"the shares of chunk, relived, .* sum to .*; expected 1"):
        Mix(*shares)


def test_a_share_below_0_is_refused():
    with pytest.raises(InputError, match=r"the share of relived is -0\.5; expected 0 to 1"):
        Mix(chunk=1.0, relived=-0.5, words=0.5)


@pytest.mark.parametrize("recipe", [mini.denoiser, mini.detail, wan.branch, wan.lora])
def test_the_tables_of_our_recipes_sum_to_1(recipe, tmp_path):
    assert sum(astuple(recipe(tmp_path).config.exercises.mix)) == pytest.approx(1, abs=1e-9)


def test_a_step_has_the_shape_of_its_exercise_in_every_process(model, latents):
    """Whatever a process draws for itself, the number of the step alone says the shape."""
    mix = Mix(chunk=0.25, relived=0.25, glimpses=0.15, drafts=0.1, words=0.25)
    maker = DenoiserTask(model, DenoiserConfig(exercises(latents, mix, frames=3))).maker

    def shape(number, rank):
        batch = batch_of(maker, number, seed=rank)
        return ("relived", len(batch.pasts)) if isinstance(batch, Relived) else tuple(batch.target.shape)

    shapes = [shape(number, 0) for number in range(24)]
    assert shapes == [shape(number, 1) for number in range(24)]
    assert set(shapes) == {("relived", 2), (2, 8, 3, 8, 12), (3, 8, 2, 8, 12)}  # 2 chunks of 3 frames, glimpses as well


def test_a_relived_chunk_is_the_models_own_work(model, latents):
    task = DenoiserTask(model, DenoiserConfig(exercises(latents, Mix(chunk=0, relived=1), frames=3)))
    batch = batch_of(task.maker, 0)
    assert isinstance(batch, Relived)
    past = batch.pasts[0]
    made = task._relived(past, 2, torch.Generator().manual_seed(0))
    begin = max(len(past.known) - 3, 0)
    assert made.shape == past.known.shape
    assert torch.equal(made[: begin + 1], past.known[: begin + 1])
    assert not torch.equal(made[begin + 1 :], past.known[begin + 1 :])
    assert torch.isfinite(at(task, 0))


def test_chunks_of_glimpses_are_more_and_shorter(model, latents):
    task = DenoiserTask(model, DenoiserConfig(exercises(latents, Mix(chunk=0, glimpses=1))))
    clips = [load_latents(path) for path in task.maker.paths]
    batch = seen(task, 0)
    assert batch.target.shape[:3] == (3, model.channels, 3)  # 2 chunks of 5 frames are 3 of 3

    def places(latent, among):
        return {(c, f) for c, clip in enumerate(clips) for f, of in enumerate(among(clip)) if torch.equal(of, latent)}

    fresh = set()
    for number in range(8):
        batch = seen(task, number)
        for chunk, start in zip(batch.target, batch.condition.first[:, :, 0], strict=True):
            first, *others = (places(latent, lambda clip: clip.latents) for latent in chunk.unbind(1))
            fresh.add(bool(first & places(start, lambda clip: clip.images)))
            if not first & places(start, lambda clip: clip.images):  # all that the clip showed before is known
                assert first & places(start, lambda clip: clip.latents)
                assert all(max(f for _, f in other) > min(f for _, f in first) for other in others)
            assert all({c for c, _ in other} & {c for c, _ in first} for other in others)
            assert not first & others[0] or len(first) > 1  # a walk back shows the same again
    assert fresh == {True, False}
    assert torch.isfinite(at(task, 0))


def test_drafts_show_the_views_of_a_draft(model, latents):
    task = DenoiserTask(model, DenoiserConfig(exercises(latents, Mix(chunk=0, drafts=1))))
    clips = [load_latents(path) for path in task.maker.paths]
    for number in range(4):
        batch = seen(task, number)
        for chunk in batch.target:
            assert any(
                torch.equal(chunk, clip.latents[start : start + 5][[0, 2, 4]].transpose(0, 1))
                for clip in clips
                for start in range(len(clip.latents) - 4)
            )


def test_of_words_alone_nothing_is_shown(model, latents):
    task = DenoiserTask(model, DenoiserConfig(exercises(latents, Mix(chunk=0, words=1))))
    batch = seen(task, 0)
    assert batch.target.shape[:3] == (5, model.channels, 2)
    assert not batch.condition.first.any()
    assert not batch.condition.mask.any()
    assert batch.target[:, :, 1].any()
    assert torch.isfinite(at(task, 0))


def test_chunks_too_short_for_a_draft_are_refused(model, latents):
    mix = Mix(chunk=0.5, drafts=0.5)
    with pytest.raises(InputError, match=r"the share of drafts is 0\.5, but chunks have 2 frames; expected 3 or more"):
        DenoiserTask(model, DenoiserConfig(exercises(latents, mix, frames=2)))


def test_clips_too_short_to_relive_anything_are_refused(model, latents):
    mix = Mix(chunk=0.9, relived=0.1)
    with pytest.raises(InputError, match=r"the share of relived is 0\.1, and no clip of .* is longer than a chunk"):
        DenoiserTask(model, DenoiserConfig(exercises(latents, mix, frames=5)))
