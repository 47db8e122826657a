"""Laws of the cut: every frame once, neighbours share one latent."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirage.errors import InputError
from mirage.rollout.schedule import whole_frames, windows

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
    with pytest.raises(InputError) as caught:
        list(windows(frames, chunk))
    assert "\n" not in str(caught.value)
