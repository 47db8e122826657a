"""A session as a state machine: planning changes nothing, accepting changes everything or nothing."""

import inspect
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from helpers import random_image, wall
from mirage.errors import InputError
from mirage.geometry.camera import Camera
from mirage.geometry.trajectory import pan
from mirage.memory import LatentSpatialMemory, MemoryPolicy
from mirage.rollout import Session
from mirage.rollout.plan import denoise, noise_seed
from mirage.rollout.settings import Settings
from mirage.sampler import Sampler

SIZE = (64, 96)
PATH = pan(Camera.looking(aspect=1.5), 17, degrees=60)
OLD = Path(__file__).parent / "data" / "world-987e518.safetensors"


def begin(model, seed=3, **choices):
    image = random_image(SIZE, seed=seed)
    return Session(model, image, camera=Camera.looking(aspect=1.5), **{"depth": wall, "seed": seed, **choices})


def everything(session):
    """All that a session is, to compare to the bit."""
    tensors, _ = session.memory.state()
    past = session.history
    state = (past.latents, past.depth.z, past.depth.valid, past.camera.c2w, past.number, session.camera.c2w)
    return [*tensors.values(), *state, torch.tensor(session.index)], session.prompt


def same(a, b):
    return a[1] == b[1] and all(x.shape == y.shape and torch.equal(x, y) for x, y in zip(a[0], b[0], strict=True))


@pytest.mark.parametrize("draft", [False, True])
@pytest.mark.parametrize("evict", ["coverage", "least_read"])
def test_planning_and_looking_change_nothing_and_a_plan_may_be_thrown_away(model, draft, evict):
    policy = MemoryPolicy(max_bytes=60_000, evict=evict)
    settings = Settings(draft=draft)
    session, plain = (begin(model, policy=policy, settings=settings) for _ in range(2))
    before = everything(session)
    session.look(PATH[::4])
    plan, _ = session.plan(PATH[1:9]), session.plan(PATH[1:5])
    latents = denoise([plan])[0]
    assert same(everything(session), before)
    chunk = session.accept(plan, latents)
    assert torch.equal(chunk.latents, plain.step(PATH[1:9]).latents)
    assert same(everything(session), everything(plain))


@pytest.mark.parametrize("stage", ["read", "denoise", "draft", "depth", "moving", "write", "report"])
@pytest.mark.parametrize("first", [True, False])
def test_a_step_that_fails_leaves_the_session_at_its_last_chunk(model, stage, first, monkeypatch):
    """At every stage, the first chunk too, which looks at the image again; and the walk goes on as it would have."""
    armed = False

    def blow(*_, **__):
        raise MemoryError(stage)

    def depth(views):
        return blow() if armed and stage == "depth" else wall(views)

    def moving(first, count, frames):
        return blow() if armed and stage == "moving" else torch.zeros(count, 8, 12)

    settings = Settings(filter=True, draft=stage == "draft")
    session, plain = (begin(model, depth=depth, moving=moving, settings=settings) for _ in range(2))
    if not first:
        session.step(PATH[1:9])
        plain.step(PATH[1:9])
    steps = PATH[1:9] if first else PATH[9:17]
    before, armed = everything(session), True
    with monkeypatch.context() as patched:
        memory = type(session.memory)
        if stage == "read":
            patched.setattr(memory, "read", blow)
        if stage == "write":
            write = memory.write

            def half(self, latents, *rest, **choices):  # the points are in before it fails
                write(self, latents, *rest, **choices)
                blow()

            patched.setattr(memory, "write", half)
        if stage == "report":
            patched.setattr(memory, "nbytes", property(blow))
        with pytest.raises(MemoryError):
            session.step(steps, callback=lambda at: blow() if stage == ("draft" if at.stage == "draft" else "denoise")
                         else None)  # fmt: skip
    armed = False
    assert same(everything(session), before)
    assert torch.equal(session.step(steps).latents, plain.step(steps).latents)
    assert same(everything(session), everything(plain))


def test_ctrl_c_between_any_two_lines_of_accept_leaves_all_or_nothing(model):
    """Wherever it falls, what follows is what would have followed: from the moment before, or from that after."""
    session = begin(model, settings=Settings(filter=True, draft=False))
    start = session.snapshot()
    plan = session.plan(PATH[1:9])
    latents = denoise([plan])[0]
    before = everything(session)
    session.accept(plan, latents)
    after, code = everything(session), inspect.unwrap(Session.accept).__code__
    lines = sorted({line for *_, line in code.co_lines() if line is not None and line > code.co_firstlineno + 3})

    def stop_at(chosen):
        def trace(frame, event, _):
            if frame.f_code is not code:
                return None
            if event == "line" and frame.f_lineno == chosen:
                sys.settrace(None)
                frame.f_trace = None
                raise KeyboardInterrupt
            return trace

        return trace

    interrupted = 0
    for line in lines:
        session.restore(start)
        sys.settrace(stop_at(line))
        try:
            session.accept(plan, latents)
        except KeyboardInterrupt:
            interrupted += 1
        finally:
            sys.settrace(None)
        now = everything(session)
        assert same(now, before) or same(now, after), line
        assert same(now, before) == (session.index == 0), line
    assert interrupted > 20


def test_a_plan_is_accepted_where_it_was_made_and_with_latents_of_its_own(model):
    session = begin(model)
    plan = session.plan(PATH[1:9])
    latents = denoise([plan])[0]
    for wrong in (latents[:1], latents * torch.nan):
        with pytest.raises(InputError, match="latents"):
            session.accept(plan, wrong)
    moment = session.snapshot()
    session.accept(plan, latents)
    with pytest.raises(InputError, match="another moment"):
        session.accept(plan, latents)
    session.restore(moment)
    session.accept(plan, latents)  # the same moment again


def test_two_sessions_on_one_model_in_two_threads_are_as_one_after_the_other(model):
    def walk(seed, steps):
        settings = Settings(sampler=Sampler(steps=steps), draft=True)
        return torch.cat([c.frames for c in begin(model, seed, settings=settings).follow(PATH)])

    asked = [(3, 2), (4, 5), (5, 3), (6, 4)]
    alone = [walk(*one) for one in asked]
    for _ in range(2):
        with ThreadPoolExecutor(len(asked)) as pool:
            together = list(pool.map(lambda one: walk(*one), asked))
        assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("draft", [False, True])
def test_plans_of_several_sessions_are_denoised_at_once(model, draft):
    """Alike to 1e-4: kernels differ with the batch. Each has its own noise, prompt and steps."""
    settings = Settings(draft=draft)
    sessions = [begin(model, seed, prompt=prompt, settings=settings) for seed, prompt in ((3, "a"), (4, "b red room"))]
    sessions.append(begin(model, 5, settings=Settings(sampler=Sampler(steps=1), draft=draft)))  # of another kind
    plans = [session.plan(PATH[1:9]) for session in sessions]
    calls = []
    together = denoise(plans, callback=lambda at: calls.append((at.stage, at.latents.shape[0])))
    for session, plan, latents in zip(sessions, plans, together, strict=True):
        torch.testing.assert_close(latents, denoise([session.plan(PATH[1:9])])[0], atol=1e-4, rtol=1e-4)
        session.accept(plan, latents)
    assert ("chunk", 2) in calls
    assert ("chunk", 1) in calls


def test_each_prompt_is_encoded_once(model, monkeypatch):
    asked, encode = [], model.encode_prompt
    monkeypatch.setattr(model, "encode_prompt", lambda text: asked.append(text) or encode(text))
    settings = Settings(sampler=Sampler(guidance=2.0), negative_prompt="grey", draft=True)
    session = begin(model, prompt="a red room", settings=settings)
    moment = session.snapshot()
    session.step(PATH[1:9])
    session.prompt = "a blue room"
    session.step(PATH[9:17])
    session.restore(moment)
    assert session.prompt == "a red room"
    session.step(PATH[1:9])
    assert sorted(asked) == ["a blue room", "a red room", "grey"]


def test_looking_shows_what_is_known_from_anywhere(model):
    session = begin(model)
    assert session.look(session.camera).mask.all()
    assert session.look(session.camera, (8, 12)).mask.shape == (1, 8, 12)
    assert not session.look(pan(session.camera, 2, degrees=180)[1]).mask.any()


def test_a_world_file_of_987e518_is_read_and_walked_on(model, tmp_path):
    session = Session.load(OLD, model, depth=wall)
    assert (session.prompt, session.seed, session.index, len(session.memory)) == ("a red room", 3, 2, 76)
    asked = session.settings
    assert asked.sampler == Sampler(steps=2, noise=0.5, guidance=1.5)
    assert asked.negative_prompt == "grey"
    chunk = session.step(Camera.concatenate([session.camera[None]] * 8))
    assert torch.isfinite(chunk.frames).all()
    session.save(tmp_path / "on.safetensors")
    assert Session.load(tmp_path / "on.safetensors", model, depth=wall).settings == asked


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 2, "stepz": 3}, "stepz"),
        ({"steps": 0}, "steps is 0"),
        ({"draft": "yes"}, "draft"),
        ({"history": 1e400}, "history"),
        ([], "list"),
    ],
)
def test_a_setting_that_nobody_knows_is_one_line(model, tmp_path, settings, said, monkeypatch):
    monkeypatch.setattr(Settings, "stored", lambda self: settings)
    path = tmp_path / "odd.safetensors"
    if "history" in said:
        settings["history"] = 10**30
    begin(model).save(path)
    with pytest.raises(InputError, match=said) as error:
        Session.load(path, model)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "wrong", [{"references": -1}, {"preceding": 1.5}, {"lock": 1}, {"conditioning": "magic"}, {"sampler": 3}]
)
def test_settings_check_themselves(wrong):
    with pytest.raises(InputError):
        Settings(**wrong)


@pytest.mark.parametrize("seed", [None, 1.5, "3", True, 2**63])
def test_a_seed_is_a_number_from_the_start(model, seed):
    with pytest.raises(InputError, match="seed"):
        Session(model, torch.rand(3, *SIZE), camera=Camera.looking(aspect=1.5), seed=seed)


def test_a_memory_under_a_budget_remembers_what_was_used_and_not_what_was_looked_at():
    policy = MemoryPolicy(max_bytes=60_000, evict="least_read")
    memory = LatentSpatialMemory(4, policy=policy)
    views = wall_views = Camera.concatenate([PATH[:1], PATH[-1:]])
    depth = wall(_views(wall_views))
    memory.write(torch.randn(2, 4, 8, 12), depth, views)
    before = memory.state()[0]["read"].clone()
    readout = memory.read(views[:1], (8, 12))
    assert torch.equal(memory.state()[0]["read"], before)
    memory.touch(readout)
    assert not torch.equal(memory.state()[0]["read"], before)


def _views(camera):
    from mirage.depth.protocol import Views

    return Views(torch.zeros(len(camera), 4, 8, 12), camera, torch.arange(len(camera)), False, lambda: torch.empty(0))


def test_every_seed_that_people_type_has_its_own_noise():
    """-1 and -2 above all, whose hashes are one in Python."""
    drawn = {noise_seed(seed, index) for seed in (-(2**63), -2, -1, 0, 1, 2, 2**63 - 1) for index in range(3)}
    assert len(drawn) == 7 * 3
