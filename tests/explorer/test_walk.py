"""Laws of walking ahead: speeds are per second, the tip is never more than a chunk ahead, no pose is lost."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import refusal
from mirage.explorer.walk import DEGREES, EAGER, FPS, METRES, Walk, pressed
from mirage.geometry.camera import Camera
from mirage.geometry.motion import Motion

START = Camera.looking(c2w=torch.eye(4, dtype=torch.float64))


def test_a_key_is_metres_per_second():
    walk = Walk(START, most=32)
    walk.press(pressed({"forward": 1, "n": 7}))
    walk.advance(FPS - 1)  # a frame was walked when the key went down
    assert walk.tip.center.tolist() == pytest.approx([0, 0, METRES])
    walk.press(pressed({"yaw": 1}))
    walk.advance(8)
    turned = torch.rad2deg(torch.atan2(walk.tip.c2w[0, 2], walk.tip.c2w[2, 2]))
    assert float(turned) == pytest.approx(DEGREES / 2)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.sampled_from([4, 8, 32]))
def test_the_tip_is_a_chunk_ahead_at_most_and_chunks_lead_to_it(steps, most):
    walk, at = Walk(START, most), START
    walk.press(pressed({"forward": 1, "yaw": 0.3}))
    for frames in steps:
        walk.advance(frames)
        assert walk.ahead <= most
        while walk.ready:
            chunk = walk.take()
            assert len(chunk) % 4 == 0
            assert 4 <= len(chunk) <= most
            assert float((chunk[0].center - at.center).norm()) == pytest.approx(METRES / FPS)
            at = chunk[-1]
    walk.press(Motion())
    while walk.ready:
        at = walk.take()[-1]
    assert torch.equal(at.c2w, walk.tip.c2w)  # a released key: what was walked is made, and nothing more
    assert not walk.ahead


def test_a_released_key_stops_the_walk_at_the_next_chunk():
    walk = Walk(START, most=32)
    walk.press(pressed({"forward": 1}))
    walk.advance(500)
    walk.press(Motion())
    assert not walk.advance(500)
    assert walk.take() is not None
    assert not walk.ahead


def test_the_shortest_press_is_a_frame():
    walk = Walk(START, most=32)
    walk.press(pressed({"right": 1}))
    walk.press(Motion())
    assert walk.ahead == 1
    assert walk.ready
    assert len(walk.take()) == 4


def test_somebody_who_still_walks_gets_chunks_that_are_worth_it():
    walk = Walk(START, most=32)
    walk.press(pressed({"forward": 1}))
    walk.advance(EAGER - 2)
    assert not walk.ready
    walk.advance(1)
    assert walk.ready


@settings(deadline=None, max_examples=10)
@given(st.lists(st.floats(-30, 30), min_size=1, max_size=8))
def test_mouse_deltas_add_up(deltas):
    walk = Walk(START, most=10_000)
    for delta in deltas:
        walk.mouse = walk.mouse + Motion(yaw=delta)
    walk.advance(1000)
    turned = torch.rad2deg(torch.atan2(walk.tip.c2w[0, 2], walk.tip.c2w[2, 2]))
    off = (float(turned) - sum(deltas) + 180) % 360 - 180
    assert off == pytest.approx(0, abs=1e-5)


def test_stopping_forgets_what_is_ahead():
    walk = Walk(START, most=32)
    walk.press(pressed({"forward": 1}))
    walk.advance(9)
    walk.reset(START)
    assert walk.ahead == 0
    assert torch.equal(walk.tip.c2w, START.c2w)


@pytest.mark.parametrize("held", [{"forward": 2}, {"yaw": "1"}, {"pace": 0}, {"up": float("nan")}, {"right": True}])
def test_what_is_no_key_is_refused(held):
    refusal(pressed, held)
