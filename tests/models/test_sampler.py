"""How a world model samples: conditioning by branch or guidance, schedule, step caching, compiled blocks."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mirage.errors import InputError
from mirage.models.condition import Condition
from mirage.models.tiny import tiny_world
from mirage.models.world import WorldModel
from mirage.sampler import Sampler


@pytest.fixture
def model() -> WorldModel:
    """With a branch that has something to say."""
    model = tiny_world()
    assert model.memory_branch is not None
    with torch.no_grad():
        for name, weight in model.memory_branch.named_parameters():
            if "proj_out" in name:
                weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    return model


def condition(model: WorldModel, *, references: int = 1, t: int = 3, h: int = 4, w: int = 6) -> Condition:
    g = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g)

    mask = torch.zeros(1, 1, t, h, w)
    mask[..., : w // 2] = 1
    return Condition(
        memory=randn(1, 48, t, h, w) * mask, mask=mask, offset=torch.zeros(1, 2, t, h, w), rays=randn(1, 6, t, h, w),
        first=randn(1, 48, 1, h, w), preceding=randn(1, 48, 1, h, w), references=randn(1, 48, references, h, w),
        text=model.encode_prompt("a red room"),
    )  # fmt: skip


def sampled(model: WorldModel, seen: Condition, *, conditioning: Any = "auto", negative=None, **choices) -> Tensor:
    return model.denoise(
        seen,
        sampler=Sampler(**choices),
        generator=torch.Generator().manual_seed(2),
        negative=negative,
        conditioning=conditioning,
    )


def test_guidance_does_without_the_branch_and_remembers(model: WorldModel) -> None:
    seen = condition(model)
    by_branch, by_guidance = (sampled(model, seen, conditioning=way) for way in ("branch", "guidance"))
    assert torch.equal(sampled(model, seen), by_branch)
    assert not torch.equal(by_branch, by_guidance)
    model.memory_branch = None
    assert torch.equal(sampled(model, seen), by_guidance)  # auto, of a model without a branch
    forgotten = sampled(model, seen.without_memory())
    known = seen.mask.bool().expand_as(seen.memory).clone()
    known[:, :, 0] = False
    off = (by_guidance - seen.memory)[known].square().mean()
    assert off < 0.25 * (forgotten - seen.memory)[known].square().mean()
    with pytest.raises(InputError, match="no memory branch"):
        sampled(model, seen, conditioning="branch")
    with pytest.raises(InputError, match="accepted: auto, branch, guidance"):
        sampled(model, seen, conditioning="magic")


def test_a_flow_shift_moves_the_schedule_and_leaves_the_model_as_it_was(model: WorldModel) -> None:
    seen = condition(model)
    own = sampled(model, seen, steps=4)
    assert torch.equal(sampled(model, seen, steps=4, shift=5.0), own)  # the tiny model's own
    assert not torch.allclose(sampled(model, seen, steps=4, shift=1.0), own)
    assert torch.equal(sampled(model, seen, steps=4), own)
    for wrong in (0.0, -3.0, float("nan")):
        with pytest.raises(InputError, match="flow shift"):
            sampled(model, seen, shift=wrong)


def test_published_schedule_of_wan22(model: WorldModel) -> None:
    """Shift 5: the first of Wan2.2's timesteps in 20 steps are 999, 989, 978, 965, as its stock scheduler has them."""
    seen: list[float] = []
    model.denoise(
        condition(model),
        sampler=Sampler(steps=20),
        generator=torch.Generator().manual_seed(2),
        callback=lambda at: seen.append(at.timestep),
    )
    assert seen[:4] == [999, 989, 978, 965]


@pytest.mark.parametrize("shift", [None, 1.0, 8.0])
def test_the_last_step_begins_at_the_same_noise_whatever_their_number(shift: float | None) -> None:
    """What the detail path learnt for; and a single step is still one from noise to a picture."""
    model = tiny_world(shift_terminal=0.4, prediction="sample", default_steps=2)
    met: list[float] = []
    model.transformer.condition_embedder.register_forward_pre_hook(lambda _, given: met.append(float(given[0].max())))
    for steps in (2, 3, 7, 16):
        met.clear()
        assert torch.isfinite(sampled(model, condition(model), steps=steps, shift=shift)).all()
        assert met[0] == pytest.approx(1000, abs=2)
        assert met[-1] == pytest.approx(400, abs=1)
        assert len(met) == steps
        assert met == sorted(met, reverse=True)
    met.clear()
    sampled(model, condition(model), steps=7, shift=shift, last=0.0)
    assert met[-1] < 600  # where it falls: 1/7 with shift 1, 8/14 with 8
    assert met[-1] != pytest.approx(400, abs=1)
    met.clear()
    assert torch.isfinite(sampled(model, condition(model), steps=1, shift=shift)).all()
    assert met == pytest.approx([1000], abs=2)


# -- step caching ---------------------------------------------------------------------------------------------------


def counted(model: WorldModel) -> Callable[[], int]:
    """How often the second block really ran since the last asking."""
    calls: list[int] = []
    model.transformer.get_submodule("blocks.1.attn1").register_forward_hook(lambda *_: calls.append(1))

    def count() -> int:
        number = len(calls)
        calls.clear()
        return number

    return count


def test_cached_steps_never_meet_the_branch(model: WorldModel) -> None:
    model.cache_steps(0.05)
    with pytest.raises(InputError, match="hints twice") as refusal:
        sampled(model, condition(model), conditioning="branch")
    assert "\n" not in str(refusal.value)
    with pytest.raises(InputError, match="hints twice"):
        sampled(model, condition(model))


def test_a_cache_that_skips_nothing_changes_nothing(model: WorldModel) -> None:
    seen = condition(model)
    away = seen.without_text(model.encode_prompt("walls"))
    plain = sampled(model, seen, conditioning="guidance", steps=4, guidance=2.0, negative=away)
    model.cache_steps(0.0)
    cached = sampled(model, seen, conditioning="guidance", steps=4, guidance=2.0, negative=away)
    assert torch.equal(cached, plain)


def test_skipped_blocks_know_neither_the_last_chunk_nor_the_other_prompt(model: WorldModel) -> None:
    long, short = condition(model), condition(model, references=0, t=2)
    away = long.without_text(model.encode_prompt("walls"))
    count = counted(model)
    model.cache_steps(0.99)  # nearly every step is alike
    alone = sampled(model, short, conditioning="guidance", steps=4)
    assert count() == 1
    guided = sampled(model, long, conditioning="guidance", steps=4, guidance=2.0, negative=away)
    assert count() == 2  # once for each of the two prompts
    assert torch.isfinite(guided).all()
    assert torch.equal(sampled(model, short, conditioning="guidance", steps=4), alone)


def test_a_second_threshold_replaces_the_first(model: WorldModel) -> None:
    seen, count = condition(model), counted(model)
    for threshold, computed in ((0.0, 4), (0.99, 1), (0.0, 4)):
        model.cache_steps(threshold)
        sampled(model, seen, conditioning="guidance", steps=4)
        assert count() == computed


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan")])
def test_a_threshold_is_a_share(model: WorldModel, threshold: float) -> None:
    with pytest.raises(InputError, match="threshold"):
        model.cache_steps(threshold)


# -- compiled blocks ------------------------------------------------------------------------------------------------


def test_compiled_blocks_say_the_same() -> None:
    model = tiny_world(layers=1, branch_layers=(0,))
    seen = condition(model)
    fewer = replace(seen, references=seen.references[:, :, :0])  # another number of tokens
    plain = [sampled(model, each, steps=1) for each in (seen, fewer)]
    model.compile_blocks("eager")  # traced as for every backend; inductor's C++ takes minutes on a busy machine
    for each, expected in zip((seen, fewer), plain, strict=True):
        torch.testing.assert_close(sampled(model, each, steps=1), expected, atol=1e-4, rtol=1e-4)


def test_without_a_compiler_the_request_is_refused(model: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"C\+\+ compiler"):
        model.compile_blocks()


def test_a_callback_that_samples_under_caching_is_refused_and_the_model_is_free_again(model: WorldModel) -> None:
    cached = tiny_world()
    cached.cache_steps(0.05)
    seen, choices = condition(cached), {"sampler": Sampler(steps=2), "conditioning": "guidance"}

    def once(callback=None) -> Tensor:
        generator = torch.Generator().manual_seed(2)
        return cached.denoise(seen, generator=generator, callback=callback, **choices)  # pyright: ignore[reportArgumentType]

    first = once()
    with pytest.raises(InputError, match="afterwards"):
        once(lambda at: once() and None)
    assert torch.equal(once(), first)
