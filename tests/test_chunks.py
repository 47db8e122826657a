"""Laws of the cut: every frame once, neighbours share one latent."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import refusal
from mirage.chunks import check_frames, frame_count, latent_count, whole_frames, windows
from mirage.errors import InputError

latent_counts = st.integers(1, 200)


@given(latent_counts, st.integers(1, 12))
def test_windows_cover_every_frame_exactly_once(latents, chunk):
    frames = 1 + 4 * latents
    cut = list(windows(frames, 1 + 4 * chunk))
    new = [0, *(frame for window in cut for frame in range(window.start + 1, window.stop))]
    assert new == list(range(frames))
    assert all((window.stop - window.start - 1) % 4 == 0 for window in cut)
    assert all(before.stop - 1 == after.start for before, after in pairwise(cut))


@given(st.integers(1, 10_000))
def test_whole_frames_is_the_largest_that_fits(frames):
    whole = whole_frames(frames)
    assert whole % 4 == 1
    assert frames - 4 < whole <= frames


@pytest.mark.parametrize(("frames", "chunk"), [(10, 33), (33, 10), (1, 33), (33, 1), (0, 33)])
def test_other_counts_are_refused_in_one_line(frames, chunk):
    refusal(lambda: list(windows(frames, chunk)))


@given(latent_counts)
def test_the_counts_of_latents_and_frames_undo_each_other(latents):
    assert latent_count(frame_count(latents)) == latents
    check_frames(frame_count(latents), "a path", least=1)
    assert whole_frames(frame_count(latents)) == frame_count(latents)


@given(st.integers(-5, 500), st.integers(1, 60))
def test_check_frames_accepts_what_it_says_it_accepts(frames, least):
    if frames >= least and frames % 4 == 1:
        check_frames(frames, "a clip", least=least)
        return
    with pytest.raises(InputError, match=f"got {frames}$") as caught:
        check_frames(frames, "a clip", least=least)
    for count in re.findall(r"\d+", str(caught.value).split("(")[1].split(")")[0]):
        check_frames(int(count), "a clip", least=least)
